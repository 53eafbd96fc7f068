"""Tasks on the CPUs of a guest: placing, balancing, preemption, who pays for a wait."""

from __future__ import annotations

import pytest

from pagewake.events.types import (
    PageNotPresent,
    TaskFinished,
    TaskMoved,
    VcpuHalted,
    VcpuResumed,
)
from pagewake.guest_kernel.overlays import What
from pagewake.guest_kernel.vcpu import ENDS
from tests.support.small import PAGE_IN_NS, SmallRun, event, run_small, script, work

MS = 1_000_000
FAULTER = """\
[[vm.task]]
name = "faulter"
pattern = "random"
working_set = "6MiB"
access = "write"
populated = true
resident = "0B"
vcpu = 0
"""


def cpu_of(run: SmallRun, name: str) -> int:
    """CPU time of a task, ns."""
    return next(task for task in run.kernel.tasks if task.name == name).cpu_ns


def moves(run: SmallRun) -> list[tuple[str, int, int, str]]:
    return [(e.task, e.vcpu, e.to, e.why) for e in run.of(TaskMoved)]


class TestBalancing:
    def test_an_idle_cpu_pulls_a_waiting_task(self) -> None:
        run = run_small(
            script("short", "run 1ms", "finish", vcpu=1),
            work("first"),
            work("second"),
            vcpus=2,
            duration="5ms",
        )
        assert moves(run) == [("second-0", 0, 1, "idle")]

    def test_never_a_pinned_one(self) -> None:
        run = run_small(
            script("short", "run 1ms", "finish", vcpu=1),
            work("w", 2, "vcpu = 0"),
            vcpus=2,
            duration="5ms",
        )
        assert moves(run) == []
        assert run.of(VcpuHalted)[0].vcpu == 1

    def test_a_busy_cpu_pulls_at_its_balancing_tick_if_the_difference_is_two(self) -> None:
        tunables = ['balance = "4ms"', 'wakeup_granularity = "0ns"']
        run = run_small(
            work("a", 1, "vcpu = 1"),
            script("late", "sleep 2ms", "run 50ms", vcpu=0),
            script("free", "sleep 2ms", "run 50ms", count=1),
            work("b", 1, "vcpu = 0"),
            work("c", 1, "vcpu = 0"),
            vcpus=2,
            scheduler=tunables,
            duration="12ms",
        )
        assert ("free-0", 0, 1, "periodic") in moves(run)

    def test_a_waking_task_goes_to_an_idle_cpu(self) -> None:
        run = run_small(
            script("t", "sleep 1ms", "run 1ms", "finish"),
            work("w", 1, "vcpu = 0"),
            script("nothing", "sleep 8ms", "finish", vcpu=1),
            vcpus=2,
            duration="5ms",
        )
        assert moves(run) == [("t-0", 0, 1, "wake")]

    def test_a_pinned_one_waits_for_its_own(self) -> None:
        run = run_small(
            script("t", "sleep 1ms", "run 1ms", "finish", vcpu=0),
            work("w", 1, "vcpu = 0"),
            script("nothing", "sleep 8ms", "finish", vcpu=1),
            vcpus=2,
            duration="5ms",
        )
        assert moves(run) == []


def test_cr3_is_that_of_the_process_that_ran_last_also_in_idle() -> None:
    run = run_small(script("a", "sleep 1ms", "run 1ms", "finish"), script("b", "sleep 20ms"))
    assert run.kernel.cpus[0].curr is None
    assert run.kernel.cpus[0].cr3 == "task:a"


class TestSharing:
    @pytest.mark.parametrize(("weight", "share"), [(1024, 1 / 2), (3072, 3 / 4)])
    def test_by_weight(self, weight: int, share: float) -> None:
        run = run_small(
            work("a", 1, f"weight = {weight}"), work("b"), kernel=["hz = 1000"], duration="400ms"
        )
        a, b = cpu_of(run, "a-0"), cpu_of(run, "b-0")
        assert a / (a + b) == pytest.approx(share, abs=0.03)

    def test_a_blackout_is_charged_to_whoever_waits(self) -> None:
        """Why half of the CPU is lost without APF: the faulter keeps its share and wastes it."""
        run = run_small(FAULTER, work(), kernel=['apf = "off"'], duration="400ms")
        assert cpu_of(run, "other-0") == pytest.approx(200 * MS, rel=0.05)
        assert {e.delivery for e in run.of(PageNotPresent)} == {"synchronous"}

    def test_a_sleep_in_task_wait_is_not(self) -> None:
        run = run_small(FAULTER, work(), duration="400ms")
        assert cpu_of(run, "other-0") > 370 * MS
        assert {e.delivery for e in run.of(PageNotPresent)} == {"injected"}

    def test_halted_by_the_host_it_is_charged_too(self) -> None:
        run = run_small(FAULTER, work(), kernel=['apf = "nonpv"'], duration="400ms")
        assert cpu_of(run, "other-0") < 260 * MS
        assert {e.delivery for e in run.of(PageNotPresent)} == {"halted"}


class TestPreemption:
    def waking(self, *steps: str, overrides: str = "") -> int:
        """When a task that wakes at 2 ms finishes, beside one that runs the steps from 1 ms on."""
        run = run_small(
            script("sleeper", "at 2ms run 10us", "finish"),
            script("runner", *steps, "run 1us", "finish"),
            overrides=overrides,
        )
        return next(e.at_ns for e in run.of(TaskFinished) if e.task == "sleeper-0")

    def test_user_mode_is_preempted_at_once(self) -> None:
        assert self.waking("at 1ms run 4ms") < 2_100_000

    def test_kernel_mode_only_on_the_way_back_to_user_mode(self) -> None:
        steps = ("at 1ms kernel", "run 4ms", "user")
        assert 5_000_000 < self.waking(*steps) < 5_100_000

    def test_a_preemptible_kernel_at_once(self) -> None:
        steps = ("at 1ms kernel", "run 4ms", "user")
        assert self.waking(*steps, overrides="preempt = true") < 2_100_000

    def test_but_not_with_preemption_off(self) -> None:
        steps = ("at 1ms preempt-off", "kernel", "run 2500us", "preempt-on", "run 2ms", "user")
        done = self.waking(*steps, overrides="preempt = true")
        assert 3_500_000 < done < 3_600_000

    def test_with_interrupts_off_nobody_hears_of_it(self) -> None:
        steps = ("at 1ms kernel", "cli", "run 2500us", "sti", "run 1ms", "user")
        done = self.waking(*steps, overrides="preempt = true")
        assert 3_500_000 < done < 3_600_000


class TestIdle:
    def test_a_cpu_without_tasks_halts_and_an_interrupt_wakes_it(self) -> None:
        run = run_small(
            script("t", "sleep 2ms", "finish"),
            script("nothing", "sleep 9ms", "finish"),
            event("1ms", "irq", "vcpu = 0"),
            kernel=["idle_hz = 0"],
            duration="3ms",
        )
        resumed = [(e.at_ns, e.why) for e in run.of(VcpuResumed)]
        assert [why for _, why in resumed] == ["interrupt", "interrupt"]
        assert resumed[0][0] == 1_002_400

    def test_a_task_that_starts_later_wakes_it(self) -> None:
        run = run_small(work("w", 1, 'start = "2ms"'), kernel=["idle_hz = 0"], duration="5ms")
        assert 2_900_000 < cpu_of(run, "w-0") < 3_000_000


class TestScriptSteps:
    def test_run_counts_cpu_time_not_time(self) -> None:
        run = run_small(
            script("t", "run 2ms", "finish", vcpu=0),
            work("w", 1, "vcpu = 0"),
            scheduler=['latency = "1ms"', 'min_granularity = "500us"'],
            duration="10ms",
        )
        (finished,) = run.of(TaskFinished)
        assert finished.at_ns > 3 * MS
        assert cpu_of(run, "t-0") == 2 * MS

    def test_at_is_an_instant_in_which_it_sleeps(self) -> None:
        run = run_small(script("t", "at 3ms finish"), work())
        assert run.of(TaskFinished)[0].at_ns == pytest.approx(3 * MS, abs=10_000)
        assert cpu_of(run, "other-0") > 2_900_000

    def test_at_with_interrupts_off_spins(self) -> None:
        run = run_small(script("t", "cli", "at 3ms sti", "finish"), work())
        (finished,) = run.of(TaskFinished)
        assert finished.at_ns >= 3 * MS
        assert cpu_of(run, "t-0") > 2_900_000

    def test_a_touch_faults_until_the_page_is_there(self) -> None:
        run = run_small(script("t", "at 1ms touch 3 write", "touch 3", "finish"), work())
        (fault,) = run.of(PageNotPresent)
        assert (fault.access, fault.gfn) == ("write", 3)
        assert run.kernel.vm.pages.dirty[3]
        assert run.of(TaskFinished)[0].at_ns > MS + PAGE_IN_NS

    def test_hlt_waits_for_an_interrupt(self) -> None:
        run = run_small(
            script("t", "hlt", "finish"), event("4ms", "irq", "vcpu = 0"), kernel=["hz = 0"]
        )
        assert run.of(TaskFinished)[0].at_ns == pytest.approx(4 * MS, abs=20_000)


def test_a_vm_freezes_with_its_last_task() -> None:
    run = run_small(
        script("a", "at 1ms finish"), script("b", "at 2ms finish"), kernel=["hz = 1000"]
    )
    last = run.of(TaskFinished)[-1]
    assert run.events[-1] == last
    assert run.kernel.vm.frozen_ns == last.at_ns


def test_every_kind_of_overlay_has_its_end() -> None:
    assert ENDS.keys() == set(What.__subclasses__())
