"""Script tasks: the interrupt shadow of `sti`."""

from __future__ import annotations

from pagewake.events.types import PageNotPresent, TaskFinished, VcpuResumed
from tests.support.small import SmallRun, event, run_small, script, work

DEVICE = event("200us", "irq", "vcpu = 0")


def halted_with(*steps: str) -> SmallRun:
    """An interrupt arrives while interrupts are off; no tick comes to help."""
    return run_small(
        script("t", "kernel", "cli", "run 400us", *steps, "user", "finish"),
        DEVICE,
        kernel=["hz = 0"],
        duration="5ms",
    )


class TestShadow:
    def test_hlt_right_behind_sti_does_not_lose_a_pending_interrupt(self) -> None:
        run = halted_with("sti", "hlt")
        assert [e.why for e in run.of(VcpuResumed)][-1] == "interrupt"
        assert [e.task for e in run.of(TaskFinished)] == ["t-0"]

    def test_one_step_later_it_does(self) -> None:
        assert halted_with("sti", "run 1us", "hlt").of(TaskFinished) == []

    def test_a_second_sti_casts_none(self) -> None:
        assert halted_with("sti", "sti", "hlt").of(TaskFinished) == []

    def test_a_fault_in_it_is_synchronous(self) -> None:
        run = run_small(
            script("t", "at 2ms kernel", "cli", "sti", "user", "touch 3", "finish"),
            script("s", "at 4ms kernel", "cli", "sti", "touch 3", "finish"),
            work(),
            overrides='send_always = "always", preempt = true',
        )
        by_task = {e.task: (e.delivery, e.why) for e in run.of(PageNotPresent)}
        assert by_task == {"t-0": ("injected", None), "s-0": ("synchronous", "interrupts_off")}

    def test_and_its_interrupt_comes_when_the_touch_is_done(self) -> None:
        """Not lost while the vcpu waited for the page, and not before the touch."""
        run = run_small(
            script("t", "kernel", "cli", "run 400us", "sti", "touch 3", "hlt", "finish"),
            DEVICE,
            kernel=["hz = 0"],
            duration="5ms",
        )
        assert run.of(TaskFinished) == []
        assert run.kernel.vm.vcpus[0].irqs == 0
        assert not run.kernel.cpus[0].shadow
