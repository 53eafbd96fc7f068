"""What users met after a restore or an SMI: tasks that nobody wakes, and what saves them."""

from __future__ import annotations

import pytest

from pagewake.events.types import (
    InterruptQueued,
    SleeperFreed,
    TaskFinished,
    TaskSlept,
    TaskWoken,
    VcpuResumed,
)
from tests.support.small import SmallRun, event, run_small, script, work

EVERYTHING = ("regs", "lapic", "int", "en", "events", "mp_state")
SLEEPS = ("at 2ms touch 3", "finish")
SLEEPS_LATER = ("at 4ms touch 5", "touch 6", "finish")


def restored(*without: str, then: str = "", more: str = "") -> SmallRun:
    """Four tasks sleep as the VM is restored; later four others touch pages."""
    saves = [each for each in EVERYTHING if each not in without]
    return run_small(
        script("old", *SLEEPS, count=4, more="private = true"),
        script("new", *SLEEPS_LATER, count=4, more="private = true"),
        event("2100us", "restore", f"saves = {saves}"),
        then,
        more,
        vcpus=2,
        profile="6.1",
        overrides="token_nonzero = true",
    )


def finished(run: SmallRun) -> int:
    return len([done for done in run.of(TaskFinished) if not done.task.startswith("other")])


def test_with_the_vector_restored_nobody_is_stuck() -> None:
    run = restored()
    assert finished(run) == 8
    assert run.kernel.sleepers.asleep == []


def test_without_it_every_ready_is_lost_and_every_task_stuck() -> None:
    run = restored("int")
    assert [e.lost for e in run.of(InterruptQueued) if e.at_ns > 2_100_000] == [True, True]
    assert [woken for woken in run.of(TaskWoken) if woken.at_ns > 2_100_000] == []
    took_for_a_dummy = {freed.task for freed in run.of(SleeperFreed)}
    assert {done.task for done in run.of(TaskFinished)} <= took_for_a_dummy
    assert len(run.kernel.sleepers.asleep) == 8 - finished(run) > 4


def test_a_vcpu_with_completions_that_nobody_takes_does_not_stop_in_hlt() -> None:
    """The thread is at 100 % of a CPU of the host."""
    run = restored("int")
    in_vain = [e for e in run.of(VcpuResumed) if e.why == "completion" and e.at_ns > 5_000_000]
    assert len(in_vain) > 1_000


def test_tokens_start_again_and_a_wait_meets_an_old_node() -> None:
    """An old node on a stack is taken for a dummy and freed: the oops in task_wake."""
    freed = restored("int").of(SleeperFreed)
    assert {(each.task[:3], each.victim[:3]) for each in freed} == {("new", "old")}
    assert restored().of(SleeperFreed) == []


def test_without_the_enable_msr_old_sleepers_are_stuck_and_new_faults_halt() -> None:
    run = restored("en")
    assert finished(run) == 4
    assert {name[:3] for name in run.kernel.sleepers.asleep} == {"old"}
    assert {slept.task[:3] for slept in run.of(TaskSlept)} == {"old"}


def test_offline_wakes_what_nothing_else_does() -> None:
    """Of those that fell asleep on that CPU."""
    run = restored("en", then=event("6ms", "vcpu-offline", "vcpu = 1"))
    woken = run.of(TaskWoken)
    assert {each.how for each in woken} == {"offline"}
    assert {each.vcpu for each in woken} == {1}
    on_cpu_1 = [slept for slept in run.of(TaskSlept) if slept.vcpu == 1]
    assert len(woken) == len(on_cpu_1) > 0


def test_without_the_lapic_the_vm_is_deaf_until_it_is_on() -> None:
    run = restored("lapic")
    assert [e for e in run.of(InterruptQueued) if e.at_ns > 2_100_000] == []
    on = [event("3ms", "lapic", f"vcpu = {vcpu}", "on = true") for vcpu in (0, 1)]
    assert finished(restored("lapic", then="\n".join(on))) == 8


@pytest.mark.parametrize(("profile", "woken"), [("3.16", 1), ("6.12", 0), ("6.19", 1)])
def test_an_smi_drops_a_ready_until_6_19(profile: str, woken: int) -> None:
    """Before 4.2 there are none."""
    run = run_small(
        script("t", *SLEEPS),
        work(),
        event("2100us", "smi", "vcpu = 0", 'for = "20us"'),
        profile=profile,
    )
    assert len(run.of(TaskSlept)) == 1
    assert len(run.of(TaskWoken)) == woken


def test_in_smm_nothing_of_the_guest_runs() -> None:
    def done(for_: str) -> int:
        tick = script("t", "at 1ms run 3ms", "finish")
        smi = event("2ms", "smi", "vcpu = 0", f'for = "{for_}"')
        (finished,) = run_small(tick, work(), smi, profile="6.19").of(TaskFinished)
        return finished.at_ns

    assert 200_000 <= done("201us") - done("1us") < 210_000
