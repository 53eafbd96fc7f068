"""Every invariant is kept by a truthful story and broken by a falsified one, which is named."""

from __future__ import annotations

import pytest

from pagewake.events import types as ev
from tests.unit.observe.story import BROADCAST, EN, Story, page_fault_story, violations


def named(story: Story, invariant: str, **rules: object) -> list[int]:
    """Numbers of the events that break an invariant."""
    return [found.n for found in violations(story, **rules) if found.invariant == invariant]


def test_a_truthful_story_breaks_nothing() -> None:
    assert violations(page_fault_story()) == []


def test_a_violation_names_event_time_vm_and_vcpu() -> None:
    story = page_fault_story()
    bad = story.change(ev.ExceptionQueued, if_flag=False)

    (found,) = violations(story)

    assert str(found) == (
        f"I4: ready token 0x0 queued with IF=0 (ExceptionQueued n={bad.n} at {bad.at_ns} ns, "
        "vm-0/vcpu 0)"
    )


# ------------------------------------------------------------------------------ order and tokens


def test_a_number_left_out_breaks_the_order() -> None:
    story = page_fault_story()
    del story.events[-1]
    story.events.append(ev.TaskFinished(story.at_ns, "vm-0", len(story.events) + 2, 0, "task-0"))

    assert named(story, "order") == [story.events[-1].n]


def test_time_that_goes_back_breaks_the_order() -> None:
    story = page_fault_story()
    story.change(ev.WorkerCompleted, at_ns=5)

    assert story.last(ev.WorkerCompleted).n in named(story, "order")


def test_a_token_out_of_turn_is_named() -> None:
    story = page_fault_story()
    story.wait(1_000)
    story.fault(0, 0x2000, 0x11)

    assert named(story, "token") == [story.last(ev.ApfStarted).n]


def test_a_token_of_another_vcpu_is_named() -> None:
    story = Story()
    story.add(ev.ApfStarted, vcpu=1, gfn=1, outcome="queued", token=0x0)

    assert named(story, "token") == [1]


@pytest.mark.parametrize("outcome", ["limit", "no_memory"])
def test_a_refused_setup_consumes_its_token(outcome: str) -> None:
    story = page_fault_story()
    story.add(ev.ApfStarted, vcpu=0, gfn=0x11, outcome=outcome, token=0x1000)
    story.fault(0, 0x2000, 0x12)

    assert named(story, "token") == []


def test_token_counters_may_restart_after_a_migration() -> None:
    story = page_fault_story()
    story.add(ev.VmMigrated)
    story.fault(0, 0x0, 0x12)

    assert named(story, "token") == []


# ------------------------------------------------------------------------------ I1


def outstanding(count: int) -> Story:
    """A vcpu without the MSR, halted for each of `count` outstanding faults in turn."""
    story = Story()
    for index in range(count):
        story.add(ev.ApfStarted, vcpu=0, gfn=index, outcome="queued", token=index << 12)
        story.tell(0, index, "halted", index << 12)
    return story


def test_sixty_four_items_may_be_queued() -> None:
    story = outstanding(64)
    story.add(ev.ApfStarted, vcpu=0, gfn=64, outcome="limit", token=64 << 12)

    assert violations(story) == []


def test_a_sixty_fifth_item_breaks_i1() -> None:
    story = outstanding(65)

    assert named(story, "I1") == [story.last(ev.ApfStarted).n]


def test_a_refusal_below_the_limit_breaks_i1() -> None:
    story = outstanding(3)
    story.add(ev.ApfStarted, vcpu=0, gfn=64, outcome="limit", token=3 << 12)

    assert named(story, "I1") == [story.events[-1].n]


def test_a_broadcast_item_takes_the_place_of_a_sixty_fourth() -> None:
    story = outstanding(63)
    story.add(ev.BroadcastQueued, vcpu=0)
    story.add(ev.ApfStarted, vcpu=0, gfn=63, outcome="limit", token=63 << 12)

    assert violations(story) == []


def test_a_broadcast_behind_a_completion_breaks_i1() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.sleep(0, 0x1000)
    story.wait(600_000)
    story.complete(0, 0x1000, 0x11)
    story.add(ev.BroadcastQueued, vcpu=0)

    assert named(story, "I1") == [story.events[-1].n]


def test_presenting_what_no_worker_finished_breaks_i1() -> None:
    story = page_fault_story()
    story.remove(ev.WorkerCompleted)

    assert story.last(ev.ApfPresented).n in named(story, "I1")


def test_clearing_that_leaves_an_item_breaks_i1() -> None:
    story = outstanding(2)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x0], why="reset")

    assert named(story, "I1") == [story.events[-1].n]


def test_clearing_withdraws_items_and_the_broadcast() -> None:
    story = outstanding(2)
    story.add(ev.BroadcastQueued, vcpu=0)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x0, 0x1000, BROADCAST], why="reset")
    story.add(ev.BroadcastQueued, vcpu=0)

    assert violations(story) == []


# ------------------------------------------------------------------------------ I2


def double_fault(story: Story, gfn: int) -> None:
    story.add(ev.ApfStarted, vcpu=0, gfn=gfn, outcome="double_fault")
    story.add(ev.DoubleFault, vcpu=0, gfn=gfn)


def test_a_double_fault_needs_an_outstanding_item() -> None:
    story = outstanding(1)
    double_fault(story, 0)
    assert violations(story) == []

    double_fault(story, 7)
    assert named(story, "I2") == [story.events[-2].n, story.events[-1].n]


def test_starting_a_gfn_twice_breaks_i2() -> None:
    story = outstanding(1)
    story.add(ev.ApfStarted, vcpu=0, gfn=0, outcome="queued", token=0x1000)

    assert named(story, "I2") == [story.events[-1].n]


def test_a_phantom_double_fault_after_cr0_pg_is_legal_only_before_its_fix() -> None:
    story = outstanding(1)
    story.add(ev.Cr0PgToggled, vcpu=0)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x0], why="cr0-pg")
    double_fault(story, 0)

    assert named(story, "I2", pg_resets_hash=False) == []
    assert named(story, "I2", pg_resets_hash=True) == [story.events[-2].n, story.events[-1].n]


def test_disabling_the_msr_empties_the_hash() -> None:
    story = outstanding(1)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x0], why="cr0-pg")
    story.add(ev.MsrWritten, vcpu=0, msr=EN, value=0, ok=True, stored=True)
    double_fault(story, 0)

    assert len(named(story, "I2", pg_resets_hash=False)) == 2


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


def by_interrupt(story: Story, token: int) -> None:
    story.add(ev.InterruptQueued, vcpu=0, token=token, kind="ready")


def test_a_token_slot_written_twice_breaks_i3() -> None:
    story = Story()
    story.add(ev.MsrWritten, vcpu=0, msr=EN, value=9, ok=True, stored=True)
    by_interrupt(story, 0x0)
    by_interrupt(story, 0x1000)

    assert named(story, "I3", ready_by_interrupt=True) == [3]


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
    story.add(ev.MsrWritten, vcpu=0, msr=EN, value=0, ok=True, stored=True)
    story.fault(0, 0x1000, 0x11)

    assert named(story, "I4") == [story.events[-1].n]


# ------------------------------------------------------------------------------ I5


def two_completions() -> Story:
    story = page_fault_story()
    for token, gfn, task in ((0x1000, 0x11, "task-1"), (0x2000, 0x12, "task-2")):
        story.wait(1_000)
        story.fault(0, token, gfn)
        story.sleep(0, token, task)
    story.wait(600_000)
    story.complete(0, 0x1000, 0x11)
    story.complete(0, 0x2000, 0x12)
    return story


def test_presenting_in_order_of_completion_keeps_i5() -> None:
    story = two_completions()
    story.present(0, 0x1000, 0x11)

    assert violations(story) == []


def test_presenting_out_of_order_breaks_i5() -> None:
    story = two_completions()
    story.present(0, 0x2000, 0x12)

    assert named(story, "I5") == [story.last(ev.ApfPresented).n]


def test_a_not_present_injected_out_of_order_breaks_i5() -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    bad = story.add(ev.ExceptionInjected, vcpu=0, token=0x2000, kind="not_present", level=1)

    assert bad.n in named(story, "I5")


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


@pytest.mark.parametrize("why", ["completion", "boredom", "nmi", "reset", "online"])
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


# ------------------------------------------------------------------------------ page-ins


def test_an_answer_before_the_lookahead_is_named() -> None:
    story = page_fault_story()
    answer = story.last(ev.PageReady)

    assert named(story, "page-in", lookahead_ns=900_000) == [answer.n]


def test_an_answer_that_nobody_asked_for_is_named() -> None:
    story = page_fault_story()
    story.add(ev.PageReady, vcpu=0, gfn=0x77, epoch=0)

    assert named(story, "page-in") == [story.events[-1].n]


def test_joining_needs_a_page_in_in_flight() -> None:
    story = page_fault_story()
    story.tell(0, 0x40, "synchronous", None)
    story.tell(1, 0x40, "synchronous", None, joined=True)
    assert violations(story) == []

    story.tell(1, 0x41, "synchronous", None, joined=True)
    assert named(story, "page-in") == [story.events[-1].n]


def test_asking_twice_for_a_page_is_named() -> None:
    story = page_fault_story()
    story.tell(0, 0x40, "synchronous", None)
    story.tell(1, 0x40, "synchronous", None)

    assert named(story, "page-in") == [story.events[-1].n]


def test_a_worker_that_is_done_before_the_host_answered_is_named() -> None:
    story = page_fault_story()
    story.remove(ev.PageReady)

    assert named(story, "page-in") == [story.last(ev.WorkerCompleted).n]
