"""What L0 keeps of a vcpu: every invariant holds in a truthful story, not in a falsified one."""

from __future__ import annotations

import pytest

from pagewake.events import types as ev
from tests.support.abi import BROADCAST, MSR_EN
from tests.unit.verify.story import (
    Story,
    named,
    outstanding,
    page_fault_story,
    two_completions,
    violations,
)


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


def test_no_token_is_0_where_0_means_a_free_slot() -> None:
    story = Story()
    story.add(ev.ApfStarted, vcpu=0, gfn=1, outcome="queued", token=0x1000)

    assert named(story, "token", token_nonzero=True) == []
    assert named(story, "token", token_nonzero=False) == [1]


def test_token_counters_may_restart_after_a_migration() -> None:
    story = page_fault_story()
    story.add(ev.VmMigrated)
    story.fault(0, 0x0, 0x12)

    assert named(story, "token") == []


# ------------------------------------------------------------------------------ I1


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


def test_clearing_before_the_last_worker_has_ended_breaks_i1() -> None:
    story = outstanding(2)
    story.add(ev.WorkerCompleted, vcpu=0, gfn=0x10, token=0x0)
    story.add(ev.ClearBegun, vcpu=0, tokens=[0x1000], why="reset")
    cleared = story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x0, 0x1000], why="reset")

    assert named(story, "I1") == []
    assert named(story, "I1", clear_waits=True) == [cleared.n]


def test_a_migration_waits_for_nobody() -> None:
    story = outstanding(2)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x0, 0x1000], why="migration")

    assert named(story, "I1", clear_waits=True) == []


def test_clearing_that_waits_for_others_than_run_breaks_i1() -> None:
    story = outstanding(2)
    begun = story.add(ev.ClearBegun, vcpu=0, tokens=[0x1000], why="reset")

    assert named(story, "I1") == [begun.n]


def test_a_vcpu_that_waits_for_workers_executes_nothing() -> None:
    story = outstanding(2)
    story.add(ev.ClearBegun, vcpu=0, tokens=[0x0, 0x1000], why="cr0-pg")
    touched = story.add(ev.ApfStarted, vcpu=0, gfn=0x99, outcome="queued", token=0x2000)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x0, 0x1000, 0x2000], why="cr0-pg")
    story.add(ev.ApfStarted, vcpu=0, gfn=0x98, outcome="queued", token=0x3000)

    assert named(story, "I7") == [touched.n]


def test_a_vcpu_that_waits_for_a_frame_executes_nothing() -> None:
    story = outstanding(1)
    story.add(ev.FrameAwaited, vcpu=0, gfn=0x99)
    touched = story.add(ev.ApfStarted, vcpu=0, gfn=0x98, outcome="queued", token=0x1000)
    story.add(ev.FrameFound, vcpu=0, gfn=0x99)
    story.add(ev.ApfStarted, vcpu=0, gfn=0x99, outcome="queued", token=0x2000)
    again = story.add(ev.FrameFound, vcpu=0, gfn=0x99)

    assert named(story, "I7") == [touched.n, again.n]


def test_a_vcpu_that_waits_for_a_cpu_executes_and_presents_nothing() -> None:
    story = outstanding(1)
    story.add(ev.CpuAwaited, vcpu=0, preempted=True)
    touched = story.add(ev.ApfStarted, vcpu=0, gfn=0x98, outcome="queued", token=0x1000)
    story.add(ev.WorkerCompleted, vcpu=0, gfn=0x10, token=0x0)
    presented = story.add(
        ev.ApfPresented, vcpu=0, delivery="silent", token=0x0, gfn=0x10, why="msr_off"
    )
    twice = story.add(ev.CpuAwaited, vcpu=0)
    story.add(ev.CpuFound, vcpu=0)
    story.add(ev.ApfStarted, vcpu=0, gfn=0x99, outcome="queued", token=0x2000)
    again = story.add(ev.CpuFound, vcpu=0)

    assert named(story, "I7") == [touched.n, presented.n, twice.n, again.n]


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
    story.add(ev.MsrWritten, vcpu=0, msr=MSR_EN, value=0, ok=True, stored=True, by="guest")
    double_fault(story, 0)

    assert len(named(story, "I2", pg_resets_hash=False)) == 2


# ------------------------------------------------------------------------------ I5


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
