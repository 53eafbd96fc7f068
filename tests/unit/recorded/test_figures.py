"""What events come to: faults and their stages, what stood still, and what was gained."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.recorded.figures import FigureCounter, Figures, Stage, quantile
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.stitch import IN_GUEST, WANTED
from pagewake.recorded.summary import counted, summary_lines, summary_of

RECORDINGS = Path(__file__).parents[2] / "recordings"
MS = 1_000_000
ALL = dict.fromkeys(set(WANTED) - set(IN_GUEST), 1)
TOKEN, OTHER = Token(0x1000), Token(0x2000)


def started(at_ms: int, token: Token = TOKEN, vcpu: int = 0) -> ev.ApfStarted:
    return ev.ApfStarted(at_ms * MS, "vm", 0, vcpu, Gfn(token), "queued", token)


def told(at_ms: int, token: Token = TOKEN, cpl: int = 3) -> list[ev.Event]:
    absent = ev.PageNotPresent(
        at_ms * MS, "vm", 0, 0, Gfn(token), "write", cpl, 1, 0, "injected", token
    )
    return [absent, ev.ExceptionInjected(at_ms * MS, "vm", 0, 0, token, "not_present", 1)]


def completed(at_ms: int, token: Token = TOKEN) -> ev.WorkerCompleted:
    return ev.WorkerCompleted(at_ms * MS, "vm", 0, 0, Gfn(token), token)


def ready(at_ms: int, token: Token = TOKEN) -> ev.ApfPresented:
    return ev.ApfPresented(at_ms * MS, "vm", 0, 0, "token", token, Gfn(token))


def halted(at_ms: int, why: str = "hlt") -> ev.VcpuHalted:
    return ev.VcpuHalted(at_ms * MS, "vm", 0, 0, why)  # type: ignore[arg-type]


def resumed(at_ms: int) -> ev.VcpuResumed:
    return ev.VcpuResumed(at_ms * MS, "vm", 0, 0, "interrupt")


def synchronous(at_ms: int, took_ms: int, **known: int) -> ev.SyncFault:
    return ev.SyncFault(at_ms * MS, "vm", 0, 0, Gfn(9), "read", 3, took_ms * MS, **known)


def figures(*events: ev.Event | Iterable[ev.Event]) -> Figures:
    counter = FigureCounter()
    for each in events:
        counter.feed([each] if isinstance(each, ev.Event) else each)
    return counter.figures()


def test_the_stages_of_a_fault_are_apart() -> None:
    found = figures(started(0), told(1), completed(4), ready(9))
    assert (found.started, found.injected, found.user, found.writes) == (1, 1, 1, 1)
    stages = (found.submission, found.completion, found.delivery, found.whole)
    assert [stage.p50_ns for stage in stages] == [1 * MS, 4 * MS, 5 * MS, 9 * MS]


def test_a_guest_gains_while_it_runs_and_a_page_is_awaited() -> None:
    found = figures(started(0), told(1), completed(4), ready(9))
    assert (found.gained_ns, found.stood_still_ns, found.blackout_ns) == (3 * MS, 0, 3 * MS)


def test_pages_awaited_at_a_time_count_once() -> None:
    both = [started(0), *told(1), started(2, OTHER), *told(2, OTHER)]
    ends = [completed(6, OTHER), completed(8), ready(8), ready(9, OTHER)]
    found = figures(both, ends)
    assert found.gained_ns == 7 * MS
    assert (found.outstanding_max_vcpu, found.late) == (2, 0)
    assert found.outstanding_mean == pytest.approx((2 * 1 + 6 * 2 + 1 * 1) / 9)


def test_nothing_is_gained_in_hlt_nor_in_a_synchronous_fault() -> None:
    found = figures(
        started(0), told(0), halted(2), resumed(5), synchronous(9, 3), completed(10), ready(10)
    )
    assert found.idle_ns == 3 * MS
    assert found.gained_ns == (10 - 3 - 3) * MS
    assert found.stood_still_ns == (3 + 3) * MS


def test_a_page_that_came_during_a_synchronous_fault_gained_until_that_began() -> None:
    found = figures(started(0), told(0), completed(5), synchronous(9, 6), ready(9))
    assert found.gained_ns == 3 * MS


def test_halts_for_a_page_are_no_idleness() -> None:
    found = figures(started(0), halted(0, "kernel_mode"), completed(7), resumed(8), ready(8))
    assert (found.halts, found.halted_ns) == ({"kernel_mode": 1}, {"kernel_mode": 8 * MS})
    assert (found.for_a_page_ns, found.idle_ns, found.gained_ns) == (8 * MS, 0, 0)


def test_a_synchronous_fault_counts_from_where_it_waited() -> None:
    short = ev.SyncFault(MS, "vm", 0, 0, Gfn(9), "read", 3, 299_999)
    found = figures(short, synchronous(9, 2, off_cpu_ns=MS)).synchronous
    assert (found.count, found.took_ns, found.off_cpu_ns, found.reclaim_ns) == (1, 2 * MS, MS, None)


def test_of_a_run_a_synchronous_fault_lasts_until_its_page_is_ready() -> None:
    absent = ev.PageNotPresent(0, "vm", 0, 1, Gfn(9), "read", 3, 1, 0, "synchronous", why="limit")
    found = figures(absent, ev.PageReady(4 * MS, "vm", 0, 0, Gfn(9), 0))
    assert (found.synchronous.count, found.synchronous.took_ns) == (1, 4 * MS)


def test_a_ready_before_the_guest_was_told_is_early_and_one_out_of_order_late() -> None:
    first, second = told(0), told(1, OTHER)
    found = figures(
        started(0), first[0], started(1, OTHER), second, completed(2, OTHER), ready(3, OTHER),
        completed(4), ready(4),
    )  # fmt: skip
    assert (found.late, found.early) == (1, 1)


def test_behind_lost_lines_nothing_is_open_any_more() -> None:
    counter = FigureCounter()
    counter.feed([started(0), *told(0)])
    counter.forget()
    counter.feed([halted(10), ready(20)])
    found = counter.figures()
    assert (found.open, found.gained_ns, found.idle_ns, found.whole) == (0, 0, 0, Stage(0))


def test_what_lasts_to_the_end_counts_to_the_end() -> None:
    found = figures(started(0), halted(2, "double_fault"), started(6, OTHER, vcpu=1))
    assert found.halted_ns == {"double_fault": 4 * MS}
    assert (found.open, found.outstanding_max_vm, found.outstanding_max_vcpu) == (2, 2, 1)


# ------------------------------------------------------------------ a recording, counted by hand


class Recorded(NamedTuple):
    """A recording's lines, and its figures."""

    lines: list[str]
    figures: Figures


@pytest.fixture(scope="module", params=["burst", "seq"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    path = RECORDINGS / f"{request.param}.txt.gz"
    directory = tmp_path_factory.mktemp("imported") / "dir"
    import_files([str(path)], directory)
    reader = RecordingReader(directory)
    with gzip.open(path, "rt") as file:
        lines = file.read().splitlines()
    return Recorded(lines, counted(reader).figures(reader.recording.length_ns))


def of(lines: list[str], event: str, text: str = "") -> list[tuple[int, str]]:
    """Microseconds and text of the lines of an event."""
    found = (re.search(rf" (\d+)\.(\d{{6}}): {event}: (.*{text}.*)$", line) for line in lines)
    return [(int(each[1] + each[2]), each[3]) for each in found if each]


def test_counts_are_those_of_the_lines(recording: Recorded) -> None:
    lines, recorded = recording
    starts = of(lines, "kvm_async_pf_not_present")
    exceptions = of(lines, "kvm_inj_exception", r"#PF \(0x0\)$")
    injected = [at_us for at_us, _ in exceptions if at_us >= starts[0][0]]
    assert recorded.started == len(starts) > 5
    assert recorded.ready == len(of(lines, "kvm_async_pf_ready"))
    assert recorded.repeated == len(of(lines, "kvm_async_pf_repeated_fault"))
    assert recorded.injected == len(injected)
    assert recorded.acks == len(of(lines, "kvm_msr", "msr_write 4b564d07"))
    assert recorded.interrupts == len(of(lines, "kvm_apic_accept_irq", "vec 243"))


def test_latencies_are_those_of_the_lines(recording: Recorded) -> None:
    lines, recorded = recording
    began = {text.split()[1]: at_us for at_us, text in of(lines, "kvm_async_pf_not_present")}
    readies = [(at_us, text.split()[1]) for at_us, text in of(lines, "kvm_async_pf_ready")]
    took_ns = sorted((at - began[token]) * 1000 for at, token in readies if token in began)
    whole = recorded.whole
    shown = (whole.p10_ns, whole.p50_ns, whole.p90_ns, whole.p99_ns, whole.max_ns)
    assert shown == tuple(quantile(took_ns, each) for each in (100, 500, 900, 990, 1000))


def test_synchronous_faults_are_those_of_the_lines(recording: Recorded) -> None:
    """From kvm_page_fault to kvm_entry of the same thread, without an attempt, and no MMIO."""
    lines, recorded = recording
    began: dict[str, int] = {}
    took_us: list[int] = []
    pattern = re.compile(r" (CPU \d+/KVM)-\d+ .* (\d+)\.(\d{6}): (\w+): (.*)$")
    for line in lines:
        found = pattern.search(line)
        if found is None:
            continue
        thread, at_us = found[1], int(found[2] + found[3])
        if found[4] == "kvm_page_fault" and not int(found[5].rpartition(" ")[2], 16) & 8:
            began[thread] = at_us
        elif found[4] == "kvm_try_async_get_page" and thread in began:
            del began[thread]
        elif found[4] == "kvm_entry" and thread in began:
            took_us.append(at_us - began.pop(thread))
    slow_us = [each for each in took_us if each >= 300]
    assert (recorded.synchronous.count, recorded.synchronous.took_ns) == (
        len(slow_us),
        sum(slow_us) * 1000,
    )


def test_a_person_gets_ten_lines_and_a_program_the_same_figures(recording: Recorded) -> None:
    recorded = recording.figures
    told_lines = dict(summary_lines(recorded, ALL))
    assert len(told_lines) == 10
    assert told_lines["asynchronous"].startswith(f"{recorded.started} of {recorded.waited} faults")
    assert told_lines["gained"].endswith("blacked-out vcpu seconds")
    summary = summary_of(recorded, ALL)
    assert summary.sentence == told_lines["gained"]
    assert summary.asynchronous_share == recorded.started / recorded.waited
    assert summary.blackout_ns == recorded.gained_ns + summary.stood_still_ns


def test_what_was_not_seen_is_said_to_be_so() -> None:
    told_lines = dict(summary_lines(figures(halted(0), resumed(1)), ALL))
    assert told_lines["kernel mode"] == "no asynchronous fault"
    assert told_lines["completion"].startswith("none seen")
    assert summary_of(figures(halted(0)), ALL).kernel_share is None


@pytest.mark.parametrize(
    ("event", "line", "said"),
    [
        ("kvm_entry", "not so", "synchronous unknown (no kvm_entry lines), 0 repeated"),
        ("kvm_page_fault", "stood still", "unknown in synchronous faults"),
        ("kvm_page_fault", "gained", "of at least 0.001 "),
        ("kvm_exit", "halts", "hlt unknown (no kvm_exit lines)"),
        ("kvm_exit", "gained", "at most 0"),
        ("kvm_async_pf_not_present", "not so", "refused unknown (no kvm_async_pf_not_present"),
        ("kvm_async_pf_not_present", "asynchronous", "0 of at least 0 faults"),
    ],
)
def test_what_no_line_would_show_is_unknown(event: str, line: str, said: str) -> None:
    found = figures(halted(0, "kernel_mode"), resumed(1))
    lines = {**ALL, event: 0}
    assert said in dict(summary_lines(found, lines))[line]
    summary = summary_of(found, lines)
    assert any(event in why for why in summary.unknown.values())
    assert summary.sentence == dict(summary_lines(found, lines))["gained"]
    one = figures(started(0))
    assert summary_of(one, lines).asynchronous_share == (1.0 if event == "kvm_exit" else None)


def test_a_recording_without_lines_of_them_says_that_they_may_be_left_out() -> None:
    starts = ("kvm_try_async_get_page", "kvm_async_pf_not_present", "kvm_async_pf_ready")
    lines = {**ALL, **dict.fromkeys(starts, 0)}
    found = dict(summary_lines(figures(), lines))
    assert found["asynchronous"].endswith("none happened, or none were recorded")
    assert summary_of(figures(), lines).unknown == {
        "asynchronous": "no kvm_async_pf_not_present lines"
    }
