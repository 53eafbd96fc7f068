"""Rows 1 to 15 of the scenario table (semantics 11.2), told from the run's log alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    ApfStarted,
    BroadcastQueued,
    ClearBegun,
    DoubleFault,
    DummyConsumed,
    DummyInserted,
    ExceptionInjected,
    ExceptionQueued,
    InterruptQueued,
    MsrWritten,
    PageNotPresent,
    ReasonWritten,
    TaskFinished,
    TaskSlept,
    TaskWoken,
    TrapTaken,
    VcpuHalted,
    VcpuResumed,
    WorkerCompleted,
)
from tests.support.abi import BROADCAST
from tests.support.runs import LoggedRun, run_logged

PAGE_IN_NS = 300_000


def ready(run: LoggedRun) -> list[ApfPresented]:
    """Completions presented after boot, broadcasts of enabling left out."""
    return [event for event in run.of(ApfPresented) if event.gfn is not None]


def halts(run: LoggedRun) -> list[VcpuHalted]:
    return [event for event in run.of(VcpuHalted) if event.why != "hlt"]


def after(run: LoggedRun, event: VcpuHalted) -> VcpuResumed:
    return next(other for other in run.of(VcpuResumed) if other.n > event.n)


class TestRow01UserFault:
    def test_injected_slept_on_and_woken(self, tmp_path: Path) -> None:
        run = run_logged("row-01-user-fault", tmp_path)
        (fault,) = run.of(PageNotPresent)
        assert (fault.delivery, fault.token, fault.cpl, fault.joined) == ("injected", 0, 3, False)
        (slept,) = run.of(TaskSlept)
        assert (slept.task, slept.token, slept.halted) == ("toucher-0", 0, False)
        (done,) = run.of(WorkerCompleted)
        assert done.at_ns == fault.at_ns + PAGE_IN_NS
        (presented,) = ready(run)
        assert (presented.token, presented.prefaulted, presented.reason_written) == (0, True, True)
        (woken,) = run.of(TaskWoken)
        assert (woken.token, woken.how) == (0, "token")
        assert woken.waited_ns == woken.at_ns - slept.at_ns
        traps = [(trap.reason, trap.handler) for trap in run.of(TrapTaken) if trap.cr2 != BROADCAST]
        assert traps == [(1, "wait"), (2, "wake")]
        assert len(run.of(ApfStarted)) == run.result.page_ins == 1

    def test_every_instant_follows_from_the_costs(self, tmp_path: Path) -> None:
        """Exit and entry 500 ns each, 2 us for a fault, 500 ns for the trap; the tick at 3 ms."""
        run = run_logged("row-01-user-fault", tmp_path)
        (fault,), (presented,) = run.of(PageNotPresent), ready(run)
        injected = [event for event in run.of(ExceptionInjected) if event.token != BROADCAST]
        assert injected[0].at_ns == fault.at_ns + 500 + 2_000 + 500
        assert run.of(TaskSlept)[0].at_ns == injected[0].at_ns + 500
        assert presented.at_ns == 3_000_000 + 500
        assert injected[1].at_ns == presented.at_ns + 2_000 + 500
        assert run.of(TaskWoken)[0].at_ns == injected[1].at_ns + 500

    @pytest.mark.parametrize("profile", ["posted-v7", "2.6.39", "3.x", "4.13"])
    def test_is_the_same_in_every_generation_that_delivers_by_exception(
        self, profile: str, tmp_path: Path
    ) -> None:
        run = run_logged("row-01-user-fault", tmp_path, f'kernel.profile="{profile}"')
        first = run_logged("row-01-user-fault", tmp_path)
        assert run.events == first.events

    def test_a_faithful_2_6_38_is_synchronous(self, tmp_path: Path) -> None:
        switch = 'kernel.overrides.gup="v2638_sync"'
        run = run_logged("row-01-user-fault", tmp_path, switch)
        (fault,) = run.of(PageNotPresent)
        assert (fault.delivery, fault.why) == ("synchronous", "gup")
        assert run.of(ApfStarted) == []
        assert run.of(TaskSlept) == []

    def test_since_5_8_ready_is_an_interrupt_and_does_not_wait_for_an_exit(
        self, tmp_path: Path
    ) -> None:
        run = run_logged("row-01-user-fault", tmp_path, 'kernel.profile="5.10"')
        assert [event.delivery for event in run.of(PageNotPresent)] == ["injected"]
        (done,), (woken,) = run.of(WorkerCompleted), run.of(TaskWoken)
        assert [event.token for event in run.of(InterruptQueued)] == [BROADCAST, woken.token]
        assert woken.at_ns - done.at_ns < 10_000


class TestRow02KernelFault:
    def test_halt_and_a_dummy_that_nobody_consumes(self, tmp_path: Path) -> None:
        run = run_logged("row-02-kernel-fault", tmp_path)
        (fault,) = run.of(PageNotPresent)
        assert (fault.delivery, fault.why, fault.cpl) == ("halted", "kernel_mode", 0)
        assert [event.why for event in halts(run)] == ["kernel_mode"]
        assert ready(run)[0].delivery == "token"
        (dummy,) = run.of(DummyInserted)
        assert dummy.token == fault.token
        assert run.of(DummyConsumed) == []
        assert run.result.dummies.left == 1

    def test_ready_only_after_not_present_leaves_no_dummy(self, tmp_path: Path) -> None:
        switch = "kernel.overrides.ready_needs_not_present=true"
        run = run_logged("row-02-kernel-fault", tmp_path, switch)
        assert [event.why for event in halts(run)] == ["kernel_mode"]
        assert (ready(run)[0].delivery, ready(run)[0].why) == ("silent", "not_due")
        assert run.of(DummyInserted) == []

    @pytest.mark.parametrize("switch", ["preempt=true", 'send_always="always"'])
    def test_send_always_gets_it_injected(self, tmp_path: Path, switch: str) -> None:
        run = run_logged("row-02-kernel-fault", tmp_path, f"kernel.overrides.{switch}")
        assert [event.delivery for event in run.of(PageNotPresent)] == ["injected"]
        assert halts(run) == []
        assert len(run.of(TaskSlept)) == len(run.of(TaskWoken)) == 1
        assert run.of(DummyInserted) == []

    @pytest.mark.parametrize(("wait", "halted"), [("halt_unsafe", False), ("halt_kernel", True)])
    def test_since_2017_a_kernel_without_preemption_waits_halted(
        self, wait: str, halted: bool, tmp_path: Path
    ) -> None:
        sets = ['send_always="always"', f'guest_wait="{wait}"']
        run = run_logged("row-02-kernel-fault", tmp_path, *(f"kernel.overrides.{s}" for s in sets))
        assert [event.halted for event in run.of(TaskSlept)] == [halted]
        assert len(run.of(TaskWoken)) == 1

    def test_before_patch_12_the_host_halts_whatever_the_guest_says(self, tmp_path: Path) -> None:
        sets = ["preempt=true", 'host_kernel_rule="halt"']
        run = run_logged("row-02-kernel-fault", tmp_path, *(f"kernel.overrides.{s}" for s in sets))
        assert [event.why for event in halts(run)] == ["kernel_mode"]


def test_row_03_interrupts_off_is_synchronous_and_untraced(tmp_path: Path) -> None:
    run = run_logged("row-03-kernel-fault-irqs-off", tmp_path)
    (fault,) = run.of(PageNotPresent)
    assert (fault.delivery, fault.why, fault.token) == ("synchronous", "interrupts_off", None)
    assert run.of(ApfStarted) == []
    assert run.of(TaskSlept) == []
    assert halts(run) == []
    assert run.result.cpu["blackout"] >= PAGE_IN_NS


def test_row_04_second_task_on_the_same_page_halts_the_vcpu(tmp_path: Path) -> None:
    run = run_logged("row-04-double-fault", tmp_path)
    (fault,) = run.of(PageNotPresent)
    assert [event.outcome for event in run.of(ApfStarted)] == ["queued", "double_fault"]
    (double,) = run.of(DoubleFault)
    assert double.gfn == fault.gfn
    (halt,) = halts(run)
    assert halt.why == "double_fault"
    assert after(run, halt).why == "completion"
    assert run.result.page_ins == 1
    assert {event.task for event in run.of(TaskFinished)} == {"toucher-0", "toucher-1"}


def test_row_04_an_interrupt_ends_the_halt_until_the_next_refault(tmp_path: Path) -> None:
    run = run_logged("row-04-double-fault", tmp_path, "kernel.hz=4000")
    assert [after(run, halt).why for halt in halts(run)] == ["interrupt", "completion"]
    assert len(run.of(DoubleFault)) == 2
    assert run.result.page_ins == 1


def test_row_05_the_65th_outstanding_fault_is_synchronous(tmp_path: Path) -> None:
    run = run_logged("row-05-limit", tmp_path)
    started = run.of(ApfStarted)
    assert [event.outcome for event in started] == ["queued"] * 64 + ["limit"]
    assert [event.token for event in started] == [number << 12 for number in range(65)]
    faults = run.of(PageNotPresent)
    assert (faults[-1].delivery, faults[-1].why, faults[-1].token) == ("synchronous", "limit", None)
    assert {fault.delivery for fault in faults[:-1]} == {"injected"}
    assert run.result.unresolved == 0


class TestRow06TwoCompletionsWhileInterruptsAreOff:
    def test_two_readies_at_two_later_entries(self, tmp_path: Path) -> None:
        run = run_logged("row-06-two-completions", tmp_path)
        done = run.of(WorkerCompleted)
        presented = ready(run)
        assert len(done) == len(presented) == 2
        assert max(event.at_ns for event in done) < min(event.at_ns for event in presented)
        assert [event.token for event in presented] == [event.token for event in done]
        entries = [event.at_ns for event in run.of(ExceptionInjected) if event.kind == "ready"]
        assert entries[0] < presented[1].at_ns < entries[1]
        assert all(event.if_flag for event in run.of(ExceptionQueued))

    def test_without_pv_support_one_check_takes_both(self, tmp_path: Path) -> None:
        run = run_logged("row-06-two-completions", tmp_path, 'kernel.apf="nonpv"')
        first, second = ready(run)
        assert (first.why, second.why) == ("msr_off", "msr_off")
        assert first.at_ns == second.at_ns

    def test_in_the_posted_series_it_took_two(self, tmp_path: Path) -> None:
        sets = ['kernel.profile="posted-v7"', 'kernel.apf="nonpv"']
        first, second = ready(run_logged("row-06-two-completions", tmp_path, *sets))
        assert (first.why, second.why) == ("msr_off", "msr_off")
        assert first.at_ns < second.at_ns


def test_row_07_reserved_bits_are_refused_and_change_nothing(tmp_path: Path) -> None:
    run = run_logged("row-07-msr-reserved-bits", tmp_path)
    refused = run.of(MsrWritten)[-1]
    assert (refused.ok, refused.stored) == (False, False)
    assert len(run.of(BroadcastQueued)) == 1
    assert [event.delivery for event in run.of(PageNotPresent)] == ["injected"]


def test_row_08_bad_address_is_refused_but_apf_counts_as_on(tmp_path: Path) -> None:
    run = run_logged("row-08-msr-bad-address", tmp_path)
    refused = run.of(MsrWritten)[-1]
    assert (refused.ok, refused.stored) == (False, True)
    (fault,) = run.of(PageNotPresent)
    assert fault.delivery == "untold"
    assert len(run.of(DoubleFault)) == 1
    assert [event.why for event in halts(run)] == ["double_fault"]
    assert [event.ok for event in run.of(ReasonWritten)][-2:] == [False, False]
    assert ready(run)[0].why == "write_failed"


def test_row_09_enabling_broadcasts_once_per_vcpu(tmp_path: Path) -> None:
    run = run_logged("row-09-enable", tmp_path)
    assert [event.vcpu for event in run.of(BroadcastQueued)] == [0, 1]
    injected = run.of(ExceptionInjected)
    assert [(event.vcpu, event.token, event.kind) for event in injected] == [
        (0, BROADCAST, "broadcast"),
        (1, BROADCAST, "broadcast"),
    ]
    assert [event.handler for event in run.of(TrapTaken)] == ["wake", "wake"]
    assert run.of(TaskWoken) == []
    assert run.of(DummyInserted) == []


class TestRow10DisableWithThreeOutstanding:
    def test_tasks_sleep_until_the_next_broadcast(self, tmp_path: Path) -> None:
        run = run_logged("row-10-disable-outstanding", tmp_path)
        (cleared,) = run.of(ApfCleared)
        assert (cleared.tokens, cleared.why) == ([0, 1 << 12, 2 << 12], "msr-disable")
        (begun,) = run.of(ClearBegun)
        assert begun.tokens == cleared.tokens
        last = run.of(WorkerCompleted)[-1]
        assert begun.at_ns < last.at_ns < cleared.at_ns
        assert [event.at_ns for event in run.of(MsrWritten) if not event.value] == [cleared.at_ns]
        assert ready(run) == []
        woken = run.of(TaskWoken)
        assert [event.how for event in woken] == ["broadcast"] * 3
        assert all(event.at_ns > 6_000_000 for event in woken)
        assert run.result.unresolved == 0

    def test_going_offline_wakes_them_too(self, tmp_path: Path) -> None:
        text = (
            Path("services/pagewake/scenario/builtin/row-10-disable-outstanding.toml").read_text()
        ).replace("vcpus = 1", "vcpus = 2")
        head, _, _ = text.rpartition("[[event]]")
        offline = '[[event]]\nat = "6ms"\ndo = "vcpu-offline"\nvm = "vm-0"\nvcpu = 0\n'
        scenario = tmp_path / "offline.toml"
        pinned = head.replace("private = true", "vcpu = 0\nprivate = true")
        scenario.write_text(pinned + offline, "utf-8")
        run = run_logged(str(scenario), tmp_path)
        assert [event.how for event in run.of(TaskWoken)] == ["offline"] * 3


class TestRow11MigrationWithSleepersOnTwoVcpus:
    def test_every_vcpu_broadcasts_and_wakes_its_own(self, tmp_path: Path) -> None:
        run = run_logged("row-11-migrate-sleepers", tmp_path)
        assert [(event.vcpu, event.why) for event in run.of(ApfCleared)] == [
            (0, "migration"),
            (1, "migration"),
        ]
        restored = [event for event in run.of(MsrWritten) if event.by == "host"]
        assert [event.vcpu for event in restored] == [0, 1]
        slept_on = {
            event.task: event.vcpu for event in run.of(TaskSlept) if event.n < restored[0].n
        }
        by_broadcast = [event for event in run.of(TaskWoken) if event.how == "broadcast"]
        assert sorted(event.task for event in by_broadcast) == sorted(slept_on)
        assert set(slept_on.values()) == {0, 1}
        assert all(event.vcpu == slept_on[event.task] for event in by_broadcast)

    def test_they_fault_again_in_the_new_epoch_and_finish(self, tmp_path: Path) -> None:
        run = run_logged("row-11-migrate-sleepers", tmp_path)
        assert {event.epoch for event in run.of(PageNotPresent)} == {0, 1}
        assert len(run.of(TaskFinished)) == 4
        assert run.result.page_ins == 4

    def test_with_gap_g7_closed_the_first_broadcast_wakes_all(self, tmp_path: Path) -> None:
        run = run_logged("row-11-migrate-sleepers", tmp_path, "kernel.overrides.gap_g7=false")
        by_broadcast = [event for event in run.of(TaskWoken) if event.how == "broadcast"]
        assert len({event.vcpu for event in by_broadcast}) == 1


def test_row_12_failed_ready_write_loses_the_wake(tmp_path: Path) -> None:
    run = run_logged("row-12-ready-write-fails", tmp_path)
    (presented,) = ready(run)
    assert (presented.delivery, presented.why) == ("silent", "write_failed")
    assert presented.prefaulted
    assert run.of(TaskWoken) == []
    assert run.result.unresolved_tasks == ["vm-0/toucher-0"]


def test_row_13_failed_worker_is_ready_without_prefault(tmp_path: Path) -> None:
    run = run_logged("row-13-gup-fails", tmp_path)
    (done,) = run.of(WorkerCompleted)
    assert not done.page
    (presented,) = ready(run)
    assert (presented.delivery, presented.prefaulted) == ("token", False)
    assert [event.how for event in run.of(TaskWoken)] == ["token"]
    assert len(run.of(PageNotPresent)) == 1
    assert [event.task for event in run.of(TaskFinished)] == ["toucher-0"]


class TestRow14HltAndCompletionInOneExit:
    def test_the_vcpu_blocks_with_a_pending_exception(self, tmp_path: Path) -> None:
        run = run_logged("row-14-hlt-completion", tmp_path)
        queued = next(event for event in run.of(ExceptionQueued) if event.kind == "ready")
        halted = [event for event in run.of(VcpuHalted) if event.n < queued.n][-1]
        resumed = after(run, halted)
        injected = next(event for event in run.of(ExceptionInjected) if event.kind == "ready")
        assert halted.n < queued.n < resumed.n < injected.n
        assert resumed.why == "interrupt"
        assert injected.at_ns - queued.at_ns > 10_000_000

    def test_since_2012_presenting_makes_it_runnable(self, tmp_path: Path) -> None:
        switch = "kernel.overrides.present_makes_runnable=true"
        run = run_logged("row-14-hlt-completion", tmp_path, switch)
        queued = next(event for event in run.of(ExceptionQueued) if event.kind == "ready")
        injected = next(event for event in run.of(ExceptionInjected) if event.kind == "ready")
        assert injected.at_ns - queued.at_ns < 10_000


def test_row_15_halt_requested_before_the_completion_is_honoured_after_it(tmp_path: Path) -> None:
    run = run_logged("row-15-stale-halt", tmp_path)
    (presented,) = ready(run)
    (halt,) = halts(run)
    assert halt.why == "stale"
    assert halt.n > presented.n
    resumed = after(run, halt)
    assert resumed.why == "interrupt"
    assert resumed.at_ns - halt.at_ns > 5_000_000
