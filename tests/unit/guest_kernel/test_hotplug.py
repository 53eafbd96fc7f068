"""CPUs of a guest going down and up, and what is executed on a CPU by interrupt."""

from __future__ import annotations

from pagewake.events.types import (
    BroadcastQueued,
    ClearBegun,
    MsrWritten,
    PageNotPresent,
    TaskFinished,
    TaskMoved,
    TaskWoken,
    TrapTaken,
    VcpuHalted,
    VcpuResumed,
)
from tests.support.small import SmallRun, event, run_small, script, work

USER_FAULT = ("at 2ms touch 3", "finish")
BUSY = ("kernel", "preempt-off", "run 3ms", "preempt-on", "user", "run 1ms", "finish")


class TestOffline:
    def offline(self, *more: str, overrides: str = "") -> SmallRun:
        return run_small(
            script("a", *USER_FAULT, vcpu=0),
            script("b", *USER_FAULT, vcpu=1),
            work(count=2),
            event("2100us", "vcpu-offline", "vcpu = 0"),
            *more,
            vcpus=2,
            overrides=overrides,
        )

    def test_disables_first_then_wakes_its_own_sleepers(self) -> None:
        run = self.offline(overrides="clear_waits = false")
        disabled = next(e for e in run.of(MsrWritten) if e.value == 0)
        woken = run.of(TaskWoken)
        assert (disabled.vcpu, disabled.by) == (0, "guest")
        assert next((e.task, e.how) for e in woken) == ("a-0", "offline")
        assert {(e.task, e.how) for e in woken[1:]} == {("b-0", "token"), ("a-0", "token")}
        assert disabled.n < woken[0].n

    def test_wakes_everybody_with_gap_g7_closed(self) -> None:
        run = self.offline(overrides="gap_g7 = false")
        assert {(e.task, e.how) for e in run.of(TaskWoken) if e.how == "offline"} == {
            ("a-0", "offline"),
            ("b-0", "offline"),
        }

    def test_the_host_holds_it_up_until_its_page_ins_have_ended(self) -> None:
        run = self.offline()
        (begun,) = run.of(ClearBegun)
        disabled = next(e for e in run.of(MsrWritten) if e.value == 0)
        assert disabled.at_ns > begun.at_ns + 100_000
        woken = next(e for e in run.of(TaskWoken) if e.task == "a-0")
        assert (woken.how, woken.at_ns > disabled.at_ns) == ("offline", True)
        (halted,) = (e for e in run.of(VcpuHalted) if e.why == "offline")
        assert halted.at_ns >= woken.at_ns

    def test_meanwhile_no_other_goes_down(self) -> None:
        run = self.offline(event("2150us", "vcpu-offline", "vcpu = 1"))
        assert [e.vcpu for e in run.of(VcpuHalted) if e.why == "offline"] == [0]

    def test_its_tasks_go_on_elsewhere_pinned_or_not(self) -> None:
        run = self.offline(overrides="clear_waits = false")
        faults = [e for e in run.of(PageNotPresent) if e.task == "a-0"]
        assert [e.vcpu for e in faults] == [0, 1]
        assert {e.task for e in run.of(TaskFinished)} == {"a-0", "b-0"}

    def test_online_again_it_boots_enables_and_broadcasts(self) -> None:
        run = self.offline(event("5ms", "vcpu-online", "vcpu = 0"))
        assert [e.why for e in run.of(VcpuResumed) if e.why == "online"] == ["online"]
        enabled = [e for e in run.of(MsrWritten) if e.vcpu == 0 and e.value & 1]
        assert len(enabled) == 2
        assert [e.vcpu for e in run.of(BroadcastQueued)] == [0, 1, 0]
        assert run.kernel.cpus[0].online

    def test_online_asked_for_on_the_way_down_brings_it_up_at_once(self) -> None:
        run = self.offline(event("2100us", "vcpu-online", "vcpu = 0"))
        (halted,) = (e for e in run.of(VcpuHalted) if e.why == "offline")
        (resumed,) = (e for e in run.of(VcpuResumed) if e.why == "online")
        assert (resumed.at_ns, resumed.n) == (halted.at_ns, halted.n + 1)
        assert run.kernel.cpus[0].online

    def test_the_last_thing_asked_for_wins(self) -> None:
        again = [event("2100us", do, "vcpu = 0") for do in ("vcpu-online", "vcpu-offline")]
        run = self.offline(*again)
        assert len([e for e in run.of(VcpuHalted) if e.why == "offline"]) == 2
        assert not run.kernel.cpus[0].online

    def test_on_the_way_down_it_reads_no_reason_whatever_a_task_writes_to_the_msr(self) -> None:
        enable = ("wrmsr apf-en 0x0", "wrmsr apf-en 0x1001")
        run = run_small(
            script("a", "preempt-off", "run 1ms", *enable, "run 1ms", "preempt-on", vcpu=0),
            work(),
            event("500us", "vcpu-offline", "vcpu = 0"),
            vcpus=2,
        )
        taken = [e for e in run.of(TrapTaken) if e.vcpu == 0]
        assert [(e.reason, e.handler) for e in taken] == [(2, "wake"), (0, "page_fault")]

    def test_a_refused_offline_does_not_lose_what_was_asked_after_it(self) -> None:
        run = run_small(
            script("a", "kernel", "cli", "run 500us", "sti", "user", "finish", vcpu=0),
            script("b", "kernel", "cli", "run 700us", "sti", "user", "finish", vcpu=1),
            event("100us", "vcpu-offline", "vcpu = 0"),
            event("150us", "vcpu-offline", "vcpu = 1"),
            event("200us", "msr-write", "vcpu = 1", 'msr = "apf-en"', "value = 0"),
            vcpus=2,
        )
        assert [e.vcpu for e in run.of(VcpuHalted) if e.why == "offline"] == [0]
        assert [e.value & 1 for e in run.of(MsrWritten) if e.vcpu == 1] == [1, 0]

    def test_two_calls_while_interrupts_are_off_are_both_made(self) -> None:
        run = run_small(
            script("a", "kernel", "cli", "run 500us", "sti", "user", "finish"),
            event("100us", "msr-write", "vcpu = 0", 'msr = "apf-en"', "value = 0"),
            event("200us", "msr-write", "vcpu = 0", 'msr = "apf-en"'),
        )
        assert [e.value & 1 for e in run.of(MsrWritten)] == [1, 0, 1]

    def test_the_last_cpu_stays(self) -> None:
        run = run_small(work(), event("2ms", "vcpu-offline", "vcpu = 0"))
        assert [e.value & 1 for e in run.of(MsrWritten)] == [1]
        assert run.kernel.cpus[0].online


class TestWhatCannotBePreempted:
    """The stopper has to be scheduled on the CPU that goes down (stop_machine)."""

    def going_down(self, *more: str) -> SmallRun:
        return run_small(
            script("busy", *BUSY, vcpu=0),
            work(more="vcpu = 1"),
            event("1ms", "vcpu-offline", "vcpu = 0"),
            *more,
            vcpus=2,
            overrides="preempt = true",
        )

    def test_keeps_its_cpu_until_preemption_is_on_again(self) -> None:
        run = self.going_down()
        (moved,) = run.of(TaskMoved)
        (halted,) = (e for e in run.of(VcpuHalted) if e.why == "offline")
        assert (moved.task, moved.to, moved.why) == ("busy-0", 1, "offline")
        assert moved.at_ns == halted.at_ns > 3_000_000
        assert not run.kernel.cpus[0].online

    def test_while_apf_is_off_at_once(self) -> None:
        disabled = next(e for e in self.going_down().of(MsrWritten) if e.value == 0)
        assert disabled.at_ns < 1_010_000

    def test_a_task_that_leaves_by_itself_lets_it_go_too(self) -> None:
        run = run_small(
            script("busy", "kernel", "run 3ms", "touch 1", "sleep 1ms", "finish", vcpu=0),
            work(more="vcpu = 1"),
            event("1ms", "vcpu-offline", "vcpu = 0"),
            vcpus=2,
        )
        (halted,) = (e for e in run.of(VcpuHalted) if e.why == "offline")
        assert halted.at_ns > 3_000_000
        assert [e.task for e in run.of(TaskFinished)] == ["busy-0"]

    def test_only_one_cpu_goes_at_a_time_so_the_last_one_stays(self) -> None:
        run = self.going_down(event("2ms", "vcpu-offline", "vcpu = 1"))
        assert [e.vcpu for e in run.of(VcpuHalted) if e.why == "offline"] == [0]
        assert run.kernel.cpus[1].online

    def test_online_meanwhile_brings_it_up_as_soon_as_it_is_down(self) -> None:
        run = self.going_down(
            event("1500us", "vcpu-online", "vcpu = 0"),
            event("1600us", "msr-write", "vcpu = 0", 'msr = "apf-en"', "value = 0"),
        )
        (halted,) = (e for e in run.of(VcpuHalted) if e.why == "offline")
        (resumed,) = (e for e in run.of(VcpuResumed) if e.why == "online")
        assert resumed.at_ns == halted.at_ns > 3_000_000
        written = [e.value & 1 for e in run.of(MsrWritten) if e.vcpu == 0]
        assert written == [1, 0, 1, 0]
