"""What reaches the guest: every invariant holds in a truthful story, not in a falsified one."""

from __future__ import annotations

from collections import Counter

import pytest

from pagewake.events import types as ev
from pagewake.verify.invariants import Reporter, Rules, VmChecks
from tests.support.abi import MSR_ACK, MSR_EN
from tests.unit.verify.story import (
    VM,
    Story,
    named,
    page_fault_story,
    two_completions,
    violations,
)

# ------------------------------------------------------------------------------ I3


def test_a_second_pending_exception_breaks_i3() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.queue(0, 0x0, "ready")

    assert named(story, "I3") == [story.events[-1].n]


def test_an_injection_of_nothing_breaks_i3() -> None:
    story = page_fault_story()
    story.add(ev.ExceptionInjected, vcpu=0, token=0x0, kind="ready", level=1)

    assert named(story, "I3") == [story.events[-1].n]


def test_a_reason_written_over_another_breaks_i3() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.ReasonWritten, vcpu=0, reason=2, ok=True)

    assert named(story, "I3") == [story.events[-1].n]


def test_a_reason_that_nobody_wrote_breaks_i3() -> None:
    story = page_fault_story()
    bad = story.change(ev.TrapTaken, reason=1)

    assert named(story, "I3") == [bad.n]


def test_a_dropped_exception_leaves_a_reason_that_may_be_covered() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.ExceptionDropped, vcpu=0, token=0x1000, kind="not_present", why="registers_set")
    story.wait(600_000)
    story.complete(0, 0x1000, 0x11)
    story.present(0, 0x1000, 0x11)

    assert violations(story) == []


def test_a_stolen_reason_is_read() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.ProtocolFault, vcpu=0, what="reason_stolen", detail="reason 1")
    story.trap(0, 0, 0x1000, "page_fault", "not_present")

    assert violations(story) == []


def test_the_trap_that_stole_it_tells_it_once_more() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.ProtocolFault, vcpu=0, what="reason_stolen", detail="reason 1")
    stolen = {"vcpu": 0, "level": 1, "reason": 1, "cr2": 0x5FF8, "handler": "wait", "cpl": 0}
    story.add(ev.TrapTaken, **stolen)
    story.trap(0, 0, 0x1000, "page_fault", "not_present")
    assert violations(story) == []

    story.add(ev.TrapTaken, **stolen)
    assert named(story, "I3") == [story.events[-1].n]


@pytest.mark.parametrize(("address", "broken"), [(0x1001, 1), (0x2001, 0), (0x9001, 0)])
def test_only_a_reason_written_to_the_cpus_own_area_has_to_be_read(
    address: int, broken: int
) -> None:
    story = Story()
    story.add(ev.MsrWritten, vcpu=0, msr=MSR_EN, value=address, ok=True, stored=True, by="guest")
    for _ in range(2):
        story.add(ev.ReasonWritten, vcpu=0, reason=1, ok=True)
    assert len(named(story, "I3")) == broken


def test_a_reason_that_another_vcpu_left_in_the_area_is_read_there() -> None:
    story = Story()
    story.add(ev.MsrWritten, vcpu=1, msr=MSR_EN, value=0x1001, ok=True, stored=True, by="guest")
    story.add(ev.ReasonWritten, vcpu=1, reason=2, ok=True)
    story.add(ev.TrapTaken, vcpu=0, level=1, reason=2, cr2=0x1000, handler="wake", cpl=3, task="t")
    assert named(story, "I3") == []


def test_and_may_be_written_over_before_its_own_vcpu_read_it() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.MsrWritten, vcpu=1, msr=MSR_EN, value=0x1001, ok=True, stored=True, by="guest")
    story.add(ev.ReasonWritten, vcpu=1, reason=2, ok=True)
    story.trap(0, 2, 0x1000, "wake", "not_present")
    story.add(ev.DummyInserted, vcpu=0, token=0x1000)
    story.fault(0, 0x2000, 0x12)
    story.sleep(0, 0x2000)
    assert violations(story) == []


def by_interrupt(story: Story, token: int) -> None:
    story.add(ev.InterruptQueued, vcpu=0, token=token, kind="ready")


def acknowledged(story: Story, token: int) -> None:
    """The handler took the token, and acknowledges it."""
    fields = {"level": 1, "reason": 2, "cr2": token, "handler": "wake", "cpl": 3}
    story.add(ev.TrapTaken, vcpu=0, **fields)
    story.add(ev.MsrWritten, vcpu=0, msr=MSR_ACK, value=1, ok=True, stored=False, by="guest")


def enabled_by_interrupt(value: int = 0x1009) -> Story:
    story = Story()
    story.add(ev.MsrWritten, vcpu=0, msr=MSR_EN, value=value, ok=True, stored=True, by="guest")
    return story


def two_readies(first: int, *, acked: bool, value: int = 0x1009) -> Story:
    story = enabled_by_interrupt(value)
    by_interrupt(story, first)
    if acked:
        acknowledged(story, first)
    by_interrupt(story, 0x2000)
    return story


def test_each_ready_is_acknowledged_before_the_next_one() -> None:
    def ack(story: Story, **rules: object) -> list[int]:
        return named(story, "ack", ready_by_interrupt=True, **rules)

    assert ack(two_readies(0x1000, acked=True)) == []
    assert ack(two_readies(0x1000, acked=False)) == [3]
    assert ack(two_readies(0, acked=False)) == [], "a slot of 0 is free"
    assert ack(two_readies(0x1000, acked=False, value=0x9009)) == [], "not the vcpu's own area"
    assert ack(two_readies(0x1000, acked=False), acks_in_log=False) == []


def test_a_handler_writes_one_ack_for_each_token_that_it_takes() -> None:
    story = two_readies(0x1000, acked=True)
    acknowledged(story, 0x2000)
    story.remove(ev.MsrWritten, 1)
    assert named(story, "ack", ready_by_interrupt=True) == [4, 5]


@pytest.mark.parametrize(
    ("restores", "zeroes", "broken"), [(True, False, []), (False, True, []), (False, False, [4])]
)
def test_what_else_frees_a_slot(restores: bool, zeroes: bool, broken: list[int]) -> None:
    story = enabled_by_interrupt()
    by_interrupt(story, 0x1000)
    if restores:
        story.add(ev.VmMigrated)
    else:
        story.add(ev.VcpuResumed, vcpu=0, why="online")
    by_interrupt(story, 0x2000)
    found = named(story, "ack", ready_by_interrupt=True, online_zeroes_slot=zeroes)
    assert found == broken


@pytest.mark.parametrize(("first", "broken"), [(0x1000, [3]), (0x0, [])])
def test_a_token_slot_written_twice_breaks_i3_unless_it_held_0(
    first: int, broken: list[int]
) -> None:
    story = Story()
    story.add(ev.MsrWritten, vcpu=0, msr=MSR_EN, value=0x1009, ok=True, stored=True, by="guest")
    by_interrupt(story, first)
    by_interrupt(story, 0x2000)

    assert named(story, "I3", ready_by_interrupt=True) == broken


@pytest.mark.parametrize(("earlier", "broken"), [(0x0, []), (0x1000, [5])])
def test_a_slot_reads_0_only_where_a_token_of_0_was(earlier: int, broken: list[int]) -> None:
    """A handler of it may have erased what came meanwhile."""
    story = Story()
    story.add(ev.MsrWritten, vcpu=0, msr=MSR_EN, value=0x1009, ok=True, stored=True, by="guest")
    for token, read in ((earlier, earlier), (0x2000, 0x0)):
        by_interrupt(story, token)
        story.add(
            ev.TrapTaken, vcpu=0, level=1, reason=2, cr2=read, handler="wake", cpl=3, task="t"
        )
    assert named(story, "I3", ready_by_interrupt=True) == broken


# ------------------------------------------------------------------------------ I4


@pytest.mark.parametrize(
    "change", [{"if_flag": False}, {"gif": False}, {"shadow": True}, {"reinjecting": True}]
)
def test_an_exception_queued_where_none_is_allowed_breaks_i4(change: dict[str, bool]) -> None:
    story = page_fault_story()
    bad = story.change(ev.ExceptionQueued, **change)

    assert named(story, "I4") == [bad.n]


def test_a_not_present_at_cpl_0_needs_send_always() -> None:
    story = page_fault_story()
    bad = story.change(ev.ExceptionQueued, 1, cpl=0)
    assert named(story, "I4") == [bad.n]

    story.change(ev.MsrWritten, value=0x1003)
    assert named(story, "I4") == []
    assert named(story, "I4", kernel_mode_sends=False) == [bad.n]


def test_telling_a_guest_without_the_msr_breaks_i4() -> None:
    story = page_fault_story()
    story.add(ev.MsrWritten, vcpu=0, msr=MSR_EN, value=0, ok=True, stored=True, by="guest")
    story.fault(0, 0x1000, 0x11)

    assert named(story, "I4") == [story.events[-1].n]


# ------------------------------------------------------------------------------ I6


def test_a_queued_exception_that_no_fault_announced_breaks_i6() -> None:
    story = page_fault_story()
    story.queue(0, 0x1000, "not_present")

    assert named(story, "I6") == [story.events[-1].n]


def test_a_fault_that_was_announced_but_never_queued_breaks_i6() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.remove(ev.ExceptionQueued)

    assert named(story, "I6") == [story.events[-1].n]


def test_a_wait_that_no_trap_brought_breaks_i6() -> None:
    story = page_fault_story()
    story.add(ev.TaskSlept, vcpu=0, task="task-1", token=0x5000)

    assert named(story, "I6") == [story.events[-1].n]


def test_a_not_present_that_no_trap_took_breaks_i6() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.trap(0, 1, 0x1000, "wait", "not_present")
    story.add(ev.TaskSlept, vcpu=0, task="task-1", token=0x1000)
    story.wait(1_000)
    story.fault(0, 0x2000, 0x12)
    story.trap(0, 1, 0x2000, "wait", "not_present")
    story.remove(ev.TrapTaken, -2)

    assert story.last(ev.ExceptionInjected).n in named(story, "I6")


# ------------------------------------------------------------------------------ I6, nested


def counts(story: Story) -> Counter[str]:
    checks = VmChecks(VM, Rules(), Reporter())
    for event in story.events:
        checks.feed(event)
    checks.finish()
    return +checks.ledger


def test_a_token_that_lands_in_l2_is_misrouted() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.ExceptionInjected, vcpu=0, token=0x1000, kind="not_present", level=2)
    story.add(ev.TaskKilled, vcpu=0, task="l2/task-0", level=2, token=0x1000)
    story.wait(600_000)
    story.complete(0, 0x1000, 0x11)
    story.present(0, 0x1000, 0x11)

    assert violations(story) == []
    assert counts(story) == {"injected": 2, "woken_token": 1, "misrouted": 1}


def latched(story: Story) -> None:
    story.fault(0, 0x1000, 0x11)
    story.add(ev.ExceptionInjected, vcpu=0, token=0x1000, kind="not_present", level=1)
    story.add(ev.NestedVmexit, vcpu=0, level=1, exit_code=0x4E, reason="apf", info2=0x1000)
    story.add(ev.ReasonLatched, vcpu=0, level=1, apf_reason=1, token=0x1000)


def intercepted(story: Story, address: int) -> ev.TrapTaken:
    """L1's pf_interception acts on a latched reason 1, on the vcpu its thread was moved to."""
    return story.add(
        ev.TrapTaken, vcpu=1, level=1, reason=1, cr2=address, handler="wait", cpl=0, task="l2/0"
    )


def test_a_latched_token_puts_the_vcpu_thread_of_l2_to_sleep() -> None:
    story = page_fault_story()
    latched(story)
    intercepted(story, 0x1000)
    story.add(ev.TaskSlept, vcpu=1, task="l2/0", token=0x1000)

    assert violations(story) == []
    assert counts(story) == {"injected": 2, "woken_token": 1, "asleep": 1}


def test_a_token_routed_to_a_nested_hypervisor_is_misrouted_and_leaves_a_stale_latch() -> None:
    story = page_fault_story()
    latched(story)
    story.add(
        ev.ExitRouted,
        vcpu=0,
        level=1,
        exit_code=0x4E,
        route="done",
        apf_reason=1,
        info2=0x1000,
    )
    intercepted(story, 0xABC000)
    story.add(ev.TaskSlept, vcpu=1, task="l2/0", token=0xABC000)

    assert violations(story) == []
    assert counts(story) == {"injected": 2, "woken_token": 1, "misrouted": 1, "bogus_waits": 1}

    bad = intercepted(story, 0xDEF000)
    assert named(story, "I3") == [bad.n]


# ------------------------------------------------------------------------------ the sleeper table


def test_waking_a_task_that_does_not_sleep_is_named() -> None:
    story = page_fault_story()
    story.remove(ev.TaskSlept)

    assert named(story, "sleepers") == [story.last(ev.TaskWoken).n]


def test_a_wake_that_nobody_asked_for_is_named() -> None:
    story = page_fault_story()
    story.remove(ev.TrapTaken)

    assert named(story, "sleepers") == [story.last(ev.TaskWoken).n]


def test_a_wrong_waiting_time_is_named() -> None:
    story = page_fault_story()
    bad = story.change(ev.TaskWoken, waited_ns=1)

    assert named(story, "sleepers") == [bad.n]


def test_a_wake_that_finds_nobody_leaves_a_dummy_which_a_wait_consumes() -> None:
    story = page_fault_story()
    story.trap(0, 0, 0x0, "wake", "ready")
    story.events = story.events[:-2]
    story.add(ev.ReasonWritten, vcpu=0, reason=2, ok=True)
    story.queue(0, 0x7000, "ready")
    story.trap(0, 2, 0x7000, "wake", "ready")
    story.add(ev.DummyInserted, vcpu=0, token=0x7000)
    assert violations(story) == []

    bad = story.add(ev.DummyConsumed, vcpu=0, task="task-1", token=0x8000)
    assert named(story, "sleepers") == [bad.n]


def test_a_broadcast_wakes_only_what_slept_on_its_vcpu() -> None:
    story = page_fault_story()
    story.enable(1)
    story.fault(0, 0x1000, 0x11)
    story.sleep(0, 0x1000, "task-1")
    story.wait(1_000)
    story.enable(1)
    waited_ns = story.at_ns - story.last(ev.TaskSlept).at_ns
    bad = story.add(
        ev.TaskWoken, vcpu=1, task="task-1", token=0x1000, how="broadcast", waited_ns=waited_ns
    )

    assert named(story, "sleepers") == [bad.n]
    assert named(story, "sleepers", wake_all_everywhere=True) == []


def test_going_offline_wakes_what_slept_on_that_vcpu() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.sleep(0, 0x1000, "task-1")
    story.add(ev.VcpuOffline, vcpu=0)
    story.add(ev.TaskWoken, vcpu=0, task="task-1", token=0x1000, how="offline", waited_ns=0)

    assert violations(story) == []


# ------------------------------------------------------------------------------ I7


def test_halts_end_by_their_cause() -> None:
    story = page_fault_story()
    story.add(ev.VcpuHalted, vcpu=0, why="hlt")
    story.add(ev.VcpuResumed, vcpu=0, why="interrupt")
    story.add(ev.VcpuHalted, vcpu=0, why="offline")
    story.add(ev.VcpuOnline, vcpu=0)
    story.add(ev.VcpuResumed, vcpu=0, why="online")

    assert violations(story) == []


@pytest.mark.parametrize("why", ["completion", "nmi", "reset", "online"])
def test_a_halt_that_ends_without_its_cause_breaks_i7(why: str) -> None:
    story = page_fault_story()
    story.wait(1_000)
    story.add(ev.VcpuHalted, vcpu=0, why="hlt")
    story.add(ev.VcpuResumed, vcpu=0, why=why)

    assert named(story, "I7") == [story.events[-1].n]


def test_a_completion_that_waits_in_done_ends_a_halt() -> None:
    story = two_completions()
    story.add(ev.VcpuHalted, vcpu=0, why="double_fault")
    story.add(ev.VcpuResumed, vcpu=0, why="completion")

    assert violations(story) == []


def test_a_halt_on_top_of_a_halt_breaks_i7() -> None:
    story = page_fault_story()
    story.add(ev.VcpuHalted, vcpu=0, why="hlt")
    story.add(ev.VcpuHalted, vcpu=0, why="apf_off")

    assert named(story, "I7") == [story.events[-1].n]


def test_a_halted_vcpu_executes_nothing() -> None:
    story = page_fault_story()
    story.add(ev.VcpuHalted, vcpu=0, why="hlt")
    story.tell(0, 0x20, "synchronous", None)

    assert named(story, "I7") == [story.events[-1].n]


def test_an_exit_to_a_kernel_that_latches_no_reason_loses_its_token_and_no_other_does() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.ExceptionInjected, vcpu=0, token=0x1000, kind="not_present", level=1)
    story.add(ev.NestedVmexit, vcpu=0, level=1, exit_code=78, reason="apf", info2=0x1000)
    story.fault(0, 0x2000, 0x12)
    story.add(ev.ExceptionInjected, vcpu=0, token=0x2000, kind="not_present", level=1)

    assert named(story, "I6", guest_reads_reason=False) == []
    assert named(story, "I3", guest_reads_reason=False) == []
    assert named(story, "I6") == [story.events[-1].n]
    assert story.last(ev.ReasonWritten).n in named(story, "I3")


def test_so_does_one_whose_host_writes_to_another_area() -> None:
    story = page_fault_story()
    story.add(ev.MsrWritten, vcpu=0, msr=MSR_EN, value=0x5001, ok=True, stored=True, by="guest")
    for token, gfn in ((0x1000, 0x11), (0x2000, 0x12)):
        story.fault(0, token, gfn)
        story.add(ev.ExceptionInjected, vcpu=0, token=token, kind="not_present", level=1)
        story.add(ev.NestedVmexit, vcpu=0, level=1, exit_code=78, reason="apf", info2=token)

    assert named(story, "I6") == []
    assert counts(story)["lost"] == 2


# ------------------------------------------------------------------------------ requests


def answered(story: Story, at_ns: int, task: str, request: int, *arrived_taken_ns: int) -> None:
    story.at_ns = at_ns
    arrived_ns, taken_ns = arrived_taken_ns
    story.add(
        ev.RequestDone,
        vcpu=0,
        task=task,
        request=request,
        arrived_ns=arrived_ns,
        taken_ns=taken_ns,
    )


@pytest.mark.parametrize(
    ("task", "request_", "arrived_ns", "taken_ns"),
    [
        ("server-0", 1, 950, 920),  # taken before it came
        ("server-0", 1, 400, 1_500),  # taken after it was answered
        ("server-0", 1, 400, 800),  # taken while the server had another
        ("server-1", 0, 400, 400),  # answered twice
    ],
)
def test_a_request_that_cannot_be_is_named(
    task: str, request_: int, arrived_ns: int, taken_ns: int
) -> None:
    story = Story()
    answered(story, 900, "server-0", 0, 100, 100)
    answered(story, 1_000, task, request_, arrived_ns, taken_ns)

    assert named(story, "request") == [2]


def test_servers_of_a_group_take_turns() -> None:
    story = Story()
    answered(story, 900, "server-0", 1, 150, 200)
    answered(story, 950, "server-1", 0, 100, 100)
    answered(story, 990, "server-0", 2, 300, 900)

    assert named(story, "request") == []
