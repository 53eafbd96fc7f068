"""Lines of vcpu threads and workers as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import pytest

from pagewake.errors import DataError
from pagewake.events import types as ev
from pagewake.recorded.check import RecordedChecks, rules_for
from pagewake.recorded.era import era_of
from pagewake.recorded.lines import Line, Lost
from pagewake.recorded.placed import Found, Span
from pagewake.recorded.stitch import Stitcher
from pagewake.verify.log_run import PlacedEvent

Kind = TypeVar("Kind", bound=ev.Event)

USER = "rip 0x401853"
KERNEL = "rip 0xffffffff81c00be0"
EXIT = "kvm_exit", f"vcpu 0 reason npf {USER}"
FAULT = "kvm_page_fault", f"vcpu 0 {USER} address 0x5000 error_code 0x6"
TRY = "kvm_try_async_get_page", "gva = 0x5000, gfn = 0x5"
START = "kvm_async_pf_not_present", "token 0x1000 gva 0x5000"
TOLD = "kvm_inj_exception", "#PF (0x0)"
ENTRY = "kvm_entry", "vcpu 0, rip 0x401853"
DONE = "kvm_async_pf_completed", "gva 0x5000 address 0x7f0000005000"
READY = "kvm_async_pf_ready", "token 0x1000 gva 0x5000"
IRQ = "kvm_apic_accept_irq", "apicid 0 vec 243 (Fixed|edge)"
MSR_EXIT = "kvm_exit", f"vcpu 0 reason msr {KERNEL}"
ACK = "kvm_msr", "msr_write 4b564d07 = 0x1"
HLT = "kvm_exit", f"vcpu 0 reason hlt {KERNEL}"

Told = tuple[str, str]


def stitched(*lines: Told | Lost, groups: Sequence[Sequence[int]] = ()) -> list[Found]:
    """Lines of vcpu 0, 100 us apart; completions are a worker's."""
    stitcher = Stitcher(groups)
    found: list[Found] = []
    for number, line in enumerate(lines, 1):
        found += stitcher.feed(line if isinstance(line, Lost) else placed(number, *line))
    return found + stitcher.finish()


def placed(number: int, event: str, text: str, comm: str = "CPU 0/KVM", pid: int = 7) -> Line:
    if event == DONE[0]:
        comm, pid = "kworker/0:0", 99
    return Line(number * 100_000, comm, pid, None, 0, event, text, number, "a.txt")


def of(found: Sequence[Found], kind: type[Kind]) -> list[Kind]:
    return [
        one.event for one in found if isinstance(one, PlacedEvent) and isinstance(one.event, kind)
    ]


def kinds(found: Sequence[Found]) -> list[str]:
    return [type(one.event).__name__ for one in found if isinstance(one, PlacedEvent)]


def rules(found: Sequence[Found], profile: str = "6.1") -> list[str]:
    checks = RecordedChecks(rules_for(profile))
    checks.take(found)
    return [one.rule for one in checks.finish()]


def test_a_fault_that_the_guest_is_told_of_until_its_ready() -> None:
    found = stitched(EXIT, FAULT, TRY, START, TOLD, ENTRY, DONE, EXIT, READY, IRQ, ENTRY)
    assert kinds(found) == [
        "ApfStarted", "PageNotPresent", "ExceptionQueued", "ExceptionInjected",
        "WorkerCompleted", "ApfPresented", "InterruptQueued",
    ]  # fmt: skip
    (told,) = of(found, ev.PageNotPresent)
    assert (told.delivery, told.access, told.cpl, told.token) == ("injected", "write", 3, 0x1000)
    assert [one.event.n for one in found if isinstance(one, PlacedEvent)] == list(range(1, 8))
    assert rules(found) == []


def test_without_lines_of_exceptions_it_is_not_known_what_the_guest_was_told() -> None:
    found = stitched(EXIT, TRY, START, ENTRY, DONE, EXIT, READY, IRQ, ENTRY)
    assert of(found, ev.PageNotPresent) == []
    assert [one.outcome for one in of(found, ev.ApfStarted)] == ["queued"]


def test_a_halt_has_no_known_reason_until_it_is_known_whether_they_are_on() -> None:
    other = "kvm_inj_exception", "#PF (0x0)"
    found = stitched(EXIT, other, ENTRY, EXIT, TRY, START, DONE, READY, ENTRY)
    (told,) = of(found, ev.PageNotPresent)
    assert (told.delivery, told.cpl, told.why) == ("halted", 3, "unknown")
    off = "kvm_msr", "msr_write 4b564d02 = 0x0"
    found = stitched(MSR_EXIT, off, other, ENTRY, EXIT, TRY, START, DONE, READY, ENTRY)
    assert [one.why for one in of(found, ev.VcpuHalted)] == ["apf_off"]


def test_injections_that_are_recorded_say_that_the_others_were_halts() -> None:
    first = stitched(EXIT, TRY, START, TOLD, ENTRY, DONE, EXIT, READY, IRQ, ENTRY)
    assert of(first, ev.VcpuHalted) == []
    left = "kvm_exit", f"vcpu 0 reason npf {KERNEL}"
    second = "kvm_async_pf_not_present", "token 0x2000 gva 0x5000"
    ready = "kvm_async_pf_ready", "token 0x2000 gva 0x5000"
    found = stitched(
        EXIT, TRY, START, TOLD, ENTRY, DONE, EXIT, READY, IRQ, ENTRY,
        left, TRY, second, DONE, ready, ENTRY,
    )  # fmt: skip
    assert [one.why for one in of(found, ev.VcpuHalted)] == ["kernel_mode"]
    assert [one.why for one in of(found, ev.VcpuResumed)] == ["completion"]


def test_an_ack_stands_where_its_exit_does() -> None:
    again = "kvm_async_pf_not_present", "token 0x2000 gva 0x6000"
    done = "kvm_async_pf_completed", "gva 0x6000 address 0x7f0000006000"
    ready = "kvm_async_pf_ready", "token 0x2000 gva 0x6000"
    found = stitched(
        EXIT, TRY, START, TOLD, ENTRY, EXIT, ("kvm_try_async_get_page", "gva = 0x6000, gfn = 0x6"),
        again, TOLD, ENTRY, DONE, done, EXIT, READY, IRQ, ENTRY, MSR_EXIT, ready, IRQ, ACK, ENTRY,
    )  # fmt: skip
    order = [name for name in kinds(found) if name in ("ApfPresented", "MsrWritten")]
    assert order == ["ApfPresented", "MsrWritten", "ApfPresented"]
    assert rules(found) == []


def test_a_recording_that_ends_within_an_ack_is_not_called_wrong() -> None:
    start = "kvm_async_pf_not_present", "token 0x2000 gva 0x6000"
    ready = "kvm_async_pf_ready", "token 0x2000 gva 0x6000"
    lines = [
        EXIT, START, TOLD, ENTRY, EXIT, start, TOLD, ENTRY, EXIT, READY, IRQ, ENTRY, MSR_EXIT,
        ready, IRQ, ACK, ENTRY,
    ]  # fmt: skip
    assert [rules(stitched(*lines[:end])) for end in range(len(lines))] == [[]] * len(lines)
    assert rules(stitched(*lines[:-2], ENTRY)) == ["ack"]


def test_a_completion_that_is_logged_behind_its_ready_has_no_known_place() -> None:
    found = stitched(EXIT, TRY, START, TOLD, ENTRY, EXIT, READY, IRQ, DONE, ENTRY)
    assert [one.doubt for one in of(found, ev.WorkerCompleted)] == ["unseen"]


def test_one_of_two_page_ins_of_a_page_is_ambiguous() -> None:
    stitcher = Stitcher()
    found: list[Found] = []
    for vcpu in (0, 1):
        who = {"comm": f"CPU {vcpu}/KVM", "pid": 7 + vcpu}
        for event, text in (EXIT, TRY, (START[0], f"token {0x1000 + vcpu:#x} gva 0x5000"), TOLD):
            found += stitcher.feed(placed(1, event, text, **who))  # type: ignore[arg-type]
    found += stitcher.feed(placed(2, *DONE)) + stitcher.feed(placed(3, *DONE)) + stitcher.finish()
    assert {one.doubt for one in of(found, ev.WorkerCompleted)} <= {"ambiguous"}


def test_a_fault_that_takes_long_and_is_not_asynchronous() -> None:
    switched = "sched_switch", "prev_comm=CPU 0/KVM prev_pid=7 prev_prio=120 prev_state=D ==> "
    out = switched[0], switched[1] + "next_comm=a next_pid=1 next_prio=120"
    back = "sched_switch", "prev_comm=a prev_pid=1 ==> next_comm=CPU 0/KVM next_pid=7 next_prio=120"
    begin = "mm_vmscan_memcg_reclaim_begin", "order=0"
    end = "mm_vmscan_memcg_reclaim_end", "nr_reclaimed=1"
    stitcher = Stitcher()
    found: list[Found] = []
    lines = [EXIT, FAULT, out, back, begin, end, ENTRY]
    for number, (event, text) in enumerate(lines, 1):
        comm, pid = ("a", 1) if (event, text) == back else ("CPU 0/KVM", 7)
        found += stitcher.feed(placed(number, event, text, comm, pid))
    (fault,) = of(found, ev.SyncFault)
    assert (fault.took_ns, fault.off_cpu_ns, fault.reclaim_ns) == (500_000, 100_000, 100_000)
    assert (fault.gfn, fault.access) == (5, "write")
    short = stitched(EXIT, FAULT, ENTRY)
    assert of(short, ev.SyncFault) == []
    read = "kvm_page_fault", f"vcpu 0 {USER} address 0x5000 error_code 0x4"
    (fault,) = of(stitched(EXIT, read, IRQ, IRQ, IRQ, ENTRY), ev.SyncFault)
    assert (fault.access, fault.off_cpu_ns, fault.reclaim_ns) == ("read", None, None)
    other = "sched_switch", "prev_comm=a prev_pid=1 ==> next_comm=b next_pid=2 next_prio=120"
    elsewhere = Stitcher()
    for number, (event, text) in enumerate([EXIT, other, FAULT], 1):
        comm, pid = ("a", 1) if (event, text) == other else ("CPU 0/KVM", 7)
        elsewhere.feed(placed(number, event, text, comm, pid))
    (fault,) = of(elsewhere.feed(placed(9, *ENTRY)), ev.SyncFault)
    assert fault.off_cpu_ns is None, "no line of this vcpu, so how long is not known"


def test_a_repeated_fault_halts_the_vcpu_under_both_its_names() -> None:
    for name in ("kvm_async_pf_repeated_fault", "kvm_async_pf_doublefault"):
        found = stitched(EXIT, TRY, START, TOLD, ENTRY, EXIT, TRY, (name, TRY[1]), IRQ, ENTRY)
        assert [one.why for one in of(found, ev.VcpuHalted)] == ["double_fault"]
        assert [one.outcome for one in of(found, ev.ApfStarted)] == ["queued", "double_fault"]


def test_a_try_without_an_outcome_had_no_memory() -> None:
    other = "kvm_try_async_get_page", "gva = 0x6000, gfn = 0x6"
    found = stitched(EXIT, TRY, START, TOLD, ENTRY, EXIT, other, ENTRY)
    _, started = of(found, ev.ApfStarted)
    assert (started.outcome, started.token) == ("no_memory", None)


def test_without_lines_of_starts_a_try_has_no_known_outcome() -> None:
    assert of(stitched(EXIT, TRY, ENTRY, EXIT, READY), ev.ApfStarted) == []


def test_a_ready_by_exception_is_one_of_an_old_kernel() -> None:
    stitcher = Stitcher()
    found: list[Found] = []
    left, entry = ("kvm_exit", f"reason npf {USER} info 0 0"), ("kvm_entry", "vcpu 0")
    lines = (left, TRY, START, TOLD, entry, DONE, left, READY, TOLD, entry)
    for number, line in enumerate(lines, 1):
        found += stitcher.feed(placed(number, *line))
    assert [one.kind for one in of(found, ev.ExceptionInjected)] == ["not_present", "ready"]
    assert rules(found, "4.4") == []
    assert era_of(stitcher.sight).profile == "5.4"


def test_what_was_outstanding_before_it_began_is_adopted() -> None:
    found = stitched(EXIT, ("kvm_async_pf_ready", "token 0x9000 gva 0x9000"), IRQ, ENTRY)
    assert rules(found) == []
    assert [one.what for one in found if isinstance(one, Span)] == [
        "1 page-in was outstanding as it began, whose READY came later"
    ]


def test_lost_lines_are_a_span_behind_which_nothing_is_known() -> None:
    lost = Lost(700_000, 0, 12, 7, "a.txt")
    found = stitched(EXIT, TRY, START, TOLD, ENTRY, lost, EXIT, READY, IRQ, ENTRY)
    spans = [one for one in found if isinstance(one, Span)]
    assert (spans[0].why, spans[0].what) == ("lost", "12 events of CPU 0 are lost")
    assert rules(found) == []


def test_two_threads_of_one_number_that_go_on_are_refused() -> None:
    stitcher = Stitcher()
    stitcher.feed(placed(1, *ENTRY, pid=7))
    stitcher.feed(placed(2, *ENTRY, pid=8))
    with pytest.raises(DataError, match=r"a.txt:3: threads 7 and 8 both are vcpu 0.*--vm 7"):
        stitcher.feed(placed(3, *EXIT, pid=7))


def test_groups_say_which_threads_are_a_vm() -> None:
    stitcher = Stitcher([[7], [8]])
    for number, pid in enumerate((7, 8, 7, 8, 9), 1):
        stitcher.feed(placed(number, *ENTRY, pid=pid))
    assert [vm.name for vm in stitcher.vms] == ["vm-0", "vm-1"]


def test_threads_without_a_name_are_known_by_what_they_log() -> None:
    stitcher = Stitcher()
    stitcher.feed(placed(1, "kvm_entry", "vcpu 3, rip 0x1", comm="qemu-kvm"))
    assert stitcher.threads.pids == [{3: 7}]


def test_while_a_nested_guest_runs_a_halt_is_for_that() -> None:
    run = "kvm_nested_vmrun", "rip: 0x1 vmcb: 0x2 nrip: 0x3 int_ctl: 0x4 event_inj: 0x5 npt: on"
    left = (
        "kvm_nested_vmexit_inject",
        (
            "reason: npf ext_inf1: 0x0000000100000006 ext_inf2: 0x0000000000005000"
            " ext_int: 0x00000000 ext_int_err: 0x00000000"
        ),
    )
    other = "kvm_inj_exception", "#PF (0x0)"
    found = stitched(EXIT, other, run, ENTRY, EXIT, TRY, START, DONE, READY, ENTRY, EXIT, left)
    assert [one.why for one in of(found, ev.VcpuHalted)] == ["nested"]
    assert [(one.exit_code, one.reason, one.info2) for one in of(found, ev.NestedVmexit)] == [
        (0x400, "intercept", 0x5000)
    ]
