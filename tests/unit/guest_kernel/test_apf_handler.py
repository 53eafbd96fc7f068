"""The guest's side of an asynchronous page fault on tasks and CPUs (semantics 2.1 to 2.4)."""

from __future__ import annotations

import pytest

from pagewake.events.types import (
    ApfPresented,
    BroadcastQueued,
    DummyConsumed,
    DummyInserted,
    DummyUnlinked,
    ExceptionInjected,
    InterruptQueued,
    MsrWritten,
    PageNotPresent,
    ProtocolFault,
    TaskFinished,
    TaskSlept,
    TaskWoken,
    TrapTaken,
    VcpuHalted,
    VcpuResumed,
    WakeSpun,
)
from pagewake.kvm.async_pf import BROADCAST_TOKEN
from tests.support.small import PAGE_IN_NS, SmallRun, event, run_small, script, work

TRAP_NS = 500
SPIN_NS = 10_000
KERNEL_FAULT = ("at 2ms kernel", "touch 3", "user", "finish")
USER_FAULT = ("at 2ms touch 3", "finish")


def traps(run: SmallRun) -> list[TrapTaken]:
    """Those that are not about the broadcast of enabling."""
    return [trap for trap in run.of(TrapTaken) if trap.cr2 != BROADCAST_TOKEN]


class TestEnabling:
    @pytest.mark.parametrize(
        ("overrides", "low_bits"),
        [
            ("", 1),
            ("preempt = true", 3),
            ('send_always = "always"', 3),
            ('preempt = true, send_always = "never"', 1),
        ],
    )
    def test_every_cpu_writes_its_own_area(self, overrides: str, low_bits: int) -> None:
        run = run_small(work(), vcpus=2, overrides=overrides)
        written = run.of(MsrWritten)
        assert [event.value & 63 for event in written] == [low_bits] * 2
        assert len({event.value >> 6 for event in written}) == 2
        assert [event.vcpu for event in run.of(BroadcastQueued)] == [0, 1]

    @pytest.mark.parametrize("apf", ["nonpv", "off"])
    def test_a_guest_without_support_writes_nothing(self, apf: str) -> None:
        run = run_small(work(), kernel=[f'apf = "{apf}"'])
        assert run.of(MsrWritten) == []

    def test_a_5_8_guest_on_an_older_host_stays_without(self) -> None:
        run = run_small(work(), kernel=['l0 = "2.6.39"'], profile="5.8")
        assert run.of(MsrWritten) == []


class TestTrap:
    def test_reason_is_read_once_the_handler_runs(self) -> None:
        run = run_small(script("t", *USER_FAULT), work())
        injected = [e for e in run.of(ExceptionInjected) if e.token != BROADCAST_TOKEN]
        taken = traps(run)
        assert [trap.at_ns for trap in taken] == [e.at_ns + TRAP_NS for e in injected]
        assert [(trap.reason, trap.handler) for trap in taken] == [(1, "wait"), (2, "wake")]
        assert (taken[0].cpl, taken[0].task) == (3, "t-0")

    def test_a_stolen_reason_makes_an_ordinary_fault_of_it(self) -> None:
        """The NMI race of semantics 2.2: the task faults again, and halts as a double fault."""
        run = run_small(
            script("t", "at 2ms run 50us", "touch 3", "finish"),
            work(),
            event("2020us", "vcpu-stall", "vcpu = 0", 'for = "100us"'),
            event("2100us", "nmi", "vcpu = 0", "faults = true"),
        )
        assert [fault.what for fault in run.of(ProtocolFault)] == ["reason_stolen"]
        first, *_ = traps(run)
        assert (first.reason, first.handler, first.cr2) == (0, "page_fault", 0)
        assert run.of(TaskSlept) == []
        assert next(halt.why for halt in run.of(VcpuHalted)) == "double_fault"
        assert run.of(DummyInserted)[0].token == 0

    def test_a_second_trap_of_reason_2_needs_a_second_ready(self) -> None:
        run = run_small(script("t", *USER_FAULT, count=3, more="private = true"), work())
        assert [trap.cr2 for trap in traps(run) if trap.reason == 2] == [0x0, 0x1000, 0x2000]


class TestWaitingOutsideOfTheIdleTask:
    def sleeps(self, overrides: str, *steps: str, preempt: bool = False) -> TaskSlept:
        switches = f"{overrides}, preempt = {str(preempt).lower()}, " + 'send_always = "always"'
        run = run_small(script("t", *steps), work(), overrides=switches)
        (slept,) = run.of(TaskSlept)
        assert [woken.token for woken in run.of(TaskWoken)] == [slept.token]
        assert len(run.of(TaskFinished)) == 1
        return slept

    @pytest.mark.parametrize(
        ("guest_wait", "steps", "preempt", "halted"),
        [
            ("schedule", USER_FAULT, False, False),
            ("halt_unsafe", USER_FAULT, False, False),
            ("halt_kernel", USER_FAULT, False, False),
            ("schedule", KERNEL_FAULT, False, False),
            ("halt_unsafe", KERNEL_FAULT, False, False),
            ("halt_kernel", KERNEL_FAULT, False, True),
            ("halt_kernel", KERNEL_FAULT, True, False),
            ("halt_unsafe", ("at 2ms preempt-off", "touch 3", "preempt-on"), True, True),
            ("halt_kernel", ("at 2ms preempt-off", "touch 3", "preempt-on"), True, True),
        ],
    )
    def test_schedules_or_halts(
        self, guest_wait: str, steps: tuple[str, ...], preempt: bool, halted: bool
    ) -> None:
        slept = self.sleeps(f'guest_wait = "{guest_wait}"', *steps, preempt=preempt)
        assert slept.halted is halted

    def test_halted_the_cpu_takes_interrupts_and_runs_nobody_else(self) -> None:
        overrides = 'preempt = true, guest_wait = "halt_unsafe"'
        run = run_small(
            script("t", "at 2ms preempt-off", "touch 3", "preempt-on", "finish"),
            work(),
            overrides=overrides,
            kernel=["hz = 4000"],
        )
        (slept,), (woken,) = run.of(TaskSlept), run.of(TaskWoken)
        resumed = [e for e in run.of(VcpuResumed) if slept.n < e.n < woken.n]
        assert [e.why for e in resumed][-1] == "completion"
        assert [e.why for e in resumed][:-1] == ["interrupt"] * (len(resumed) - 1)
        assert len(resumed) > 1
        halts = [e for e in run.of(VcpuHalted) if slept.n < e.n < woken.n]
        assert {e.why for e in halts} == {"hlt"}

    def test_the_seed_schedules_with_preemption_off_which_is_wrong(self) -> None:
        run = run_small(
            script("t", "at 2ms preempt-off", "touch 3", "preempt-on", "finish"),
            work(),
            overrides='guest_wait = "schedule", preempt = true',
        )
        assert [fault.what for fault in run.of(ProtocolFault)] == ["scheduling_while_atomic"]
        assert [slept.halted for slept in run.of(TaskSlept)] == [False]

    def test_since_5_8_a_not_present_in_kernel_mode_is_a_panic(self) -> None:
        overrides = 'guest_wait = "user_only", host_kernel_rule = "send_user_only"'
        run = run_small(
            script("t", "wrmsr apf-en 0x1003", *KERNEL_FAULT), work(), overrides=overrides
        )
        assert [fault.what for fault in run.of(ProtocolFault)] == ["not_present_in_kernel"]


class TestWaking:
    def test_a_sleeper_is_woken_by_its_token_where_ready_arrives(self) -> None:
        run = run_small(script("t", *USER_FAULT), work())
        (slept,), (woken,) = run.of(TaskSlept), run.of(TaskWoken)
        assert (woken.how, woken.task, woken.token) == ("token", "t-0", slept.token)
        assert PAGE_IN_NS - 10_000 < woken.waited_ns == woken.at_ns - slept.at_ns

    def test_a_dummy_is_unlinked_and_leaked_by_the_next_broadcast(self) -> None:
        run = run_small(
            script("t", *KERNEL_FAULT),
            work(),
            event("5ms", "msr-write", "vcpu = 0", 'msr = "apf-en"'),
        )
        (inserted,), (unlinked,) = run.of(DummyInserted), run.of(DummyUnlinked)
        assert inserted.token == unlinked.token == 0
        assert (unlinked.how, unlinked.leaked) == ("broadcast", True)
        assert run.of(DummyConsumed) == []

    def test_a_dummy_of_another_cpu_stays(self) -> None:
        run = run_small(
            script("t", *KERNEL_FAULT, vcpu=0),
            work(count=2),
            event("5ms", "msr-write", "vcpu = 1", 'msr = "apf-en"'),
            vcpus=2,
        )
        assert [dummy.vcpu for dummy in run.of(DummyInserted)] == [0]
        assert run.of(DummyUnlinked) == []

    def test_without_memory_for_the_dummy_it_spins_with_interrupts_off(self) -> None:
        run = run_small(
            script("t", *KERNEL_FAULT),
            work(),
            event("1ms", "alloc-fails", 'where = "guest"', "count = 3"),
            event("2400us", "irq", "vcpu = 0"),
        )
        (spun,), (inserted,) = run.of(WakeSpun), run.of(DummyInserted)
        assert inserted.spins == 3
        assert inserted.at_ns == spun.at_ns + 3 * SPIN_NS

    def test_without_any_memory_it_spins_for_ever(self) -> None:
        run = run_small(
            script("t", *KERNEL_FAULT),
            work(),
            event("1ms", "alloc-fails", 'where = "guest"', "count = -1"),
            event("5ms", "irq", "vcpu = 0"),
        )
        assert len(run.of(WakeSpun)) == 1
        assert run.of(DummyInserted) == []
        assert run.of(TaskFinished) == []
        assert run.kernel.vm.vcpus[0].irqs
        assert not run.kernel.cpus[0].if_flag

    def test_a_sleeper_needs_no_memory(self) -> None:
        run = run_small(
            script("t", *USER_FAULT),
            work(),
            event("1ms", "alloc-fails", 'where = "guest"', "count = -1"),
        )
        assert run.of(WakeSpun) == []
        assert len(run.of(TaskWoken)) == 1


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
        run = self.offline()
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

    def test_its_tasks_go_on_elsewhere_pinned_or_not(self) -> None:
        run = self.offline()
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


class TestReadyByInterrupt:
    @pytest.mark.parametrize("do", ["vcpu-reset", "vcpu-offline"])
    def test_a_token_that_nobody_took_does_not_block_the_slot(self, do: str) -> None:
        run = run_small(
            work(count=2),
            event("3us", do, "vcpu = 1"),
            event("442us", "vcpu-online", "vcpu = 1"),
            profile="5.8",
            vcpus=2,
        )
        assert next(e.token for e in run.of(InterruptQueued) if e.vcpu == 1) == BROADCAST_TOKEN

    def test_the_interrupt_takes_the_token_and_acknowledges(self) -> None:
        run = run_small(
            script("t", *USER_FAULT, count=2, more="private = true"), work(), profile="5.8"
        )
        assert [trap.handler for trap in traps(run)] == ["wait", "wait", "wake", "wake"]
        assert [woken.token for woken in run.of(TaskWoken)] == [0x1000, 0x2000]
        assert {e.delivery for e in run.of(ApfPresented)} == {"token", "broadcast"}
        assert [e.kind for e in run.of(ExceptionInjected)] == ["not_present"] * 2

    def test_a_running_vcpu_is_kicked(self) -> None:
        run = run_small(script("t", *USER_FAULT), work(), profile="5.8", kernel=["hz = 0"])
        (slept,), (woken,) = run.of(TaskSlept), run.of(TaskWoken)
        assert woken.at_ns - slept.at_ns < PAGE_IN_NS + 10_000

    def test_before_5_8_it_waits_for_an_exit(self) -> None:
        run = run_small(script("t", *USER_FAULT), work(), kernel=["hz = 0"])
        assert len(run.of(TaskSlept)) == 1
        assert run.of(TaskWoken) == []
