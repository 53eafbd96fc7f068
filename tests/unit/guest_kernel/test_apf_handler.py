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
    GuestPanicked,
    InterruptQueued,
    MsrWritten,
    ProtocolFault,
    ReasonWritten,
    TaskFinished,
    TaskSlept,
    TaskWoken,
    TrapTaken,
    VcpuHalted,
    VcpuResumed,
    WakeSpun,
)
from tests.support.abi import BROADCAST, MSR_ACK, MSR_EN, MSR_INT
from tests.support.small import PAGE_IN_NS, SmallRun, event, run_small, script, work

TRAP_NS = 500
SPIN_NS = 10_000
KERNEL_FAULT = ("at 2ms kernel", "touch 3", "user", "finish")
USER_FAULT = ("at 2ms touch 3", "finish")


def traps(run: SmallRun) -> list[TrapTaken]:
    """Those that are not about the broadcast of enabling."""
    return [trap for trap in run.of(TrapTaken) if trap.cr2 != BROADCAST]


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

    @pytest.mark.parametrize(
        ("profile", "features", "msrs"),
        [
            ("5.4", '"async_pf"', [(MSR_EN, 0x1001)]),
            ("5.4", '"async_pf_int"', []),
            ("6.1", '"async_pf", "async_pf_int"', [(MSR_INT, 0xF3), (MSR_EN, 0x1009)]),
            ("6.1", '"async_pf"', []),
            ("6.1", '"async_pf_int"', []),
        ],
    )
    def test_a_guest_uses_what_cpuid_shows_it(
        self, profile: str, features: str, msrs: list[tuple[int, int]]
    ) -> None:
        run = run_small(work(), kernel=[f"cpuid = {{ l1 = [{features}] }}"], profile=profile)
        written = [(write.msr, write.value) for write in run.of(MsrWritten)]
        assert [write for write in written if write[0] != MSR_ACK] == msrs

    @pytest.mark.parametrize(("feature", "value"), [("", 0x1009), (', "async_pf_vmexit"', 0x100D)])
    def test_a_hypervisor_opts_in_where_cpuid_bit_10_is_shown(
        self, feature: str, value: int
    ) -> None:
        nested = 'nested = 1\nl2 = { memory = "8MiB" }'
        cpuid = f'cpuid = {{ l1 = ["async_pf", "async_pf_int"{feature}] }}'
        run = run_small(nested, work(), kernel=[cpuid], profile="6.1")
        assert [write.value for write in run.of(MsrWritten) if write.msr == MSR_EN] == [value]

    def test_a_5_8_guest_on_an_older_host_stays_without(self) -> None:
        run = run_small(work(), kernel=['l0 = "2.6.39"'], profile="5.10")
        assert run.of(MsrWritten) == []


class TestAreaElsewhere:
    """The MSR's address bits are where the host writes; the kernel reads its own area."""

    def test_the_reason_is_written_where_nobody_reads_it(self) -> None:
        run = run_small(script("t", "at 2ms wrmsr apf-en 0x9001", "touch 3", "finish"), work())
        written = [e for e in run.of(ReasonWritten) if e.at_ns > 2_000_000]
        assert {e.ok for e in written} == {True}
        assert {(trap.reason, trap.handler) for trap in run.of(TrapTaken)[1:]} == {
            (0, "page_fault")
        }
        assert run.of(TaskSlept) == []

    def test_nor_64_bytes_behind_its_area(self) -> None:
        run = run_small(script("t", "at 2ms wrmsr apf-en 0x1041", "touch 3", "finish"), work())
        assert run.of(TaskSlept) == []

    def test_another_cpus_area_is_that_cpus(self) -> None:
        run = run_small(
            script("t", "at 2ms wrmsr apf-en 0x2001", "touch 3", "finish", vcpu=0),
            work(more="vcpu = 1"),
            vcpus=2,
        )
        assert run.of(TaskSlept) == []
        assert [cpu.area.reason for cpu in run.kernel.cpus] == [0, 2]

    def test_5_8_finds_no_token_and_gets_no_second_page_ready(self) -> None:
        run = run_small(
            script("t", "at 2ms wrmsr apf-en 0x9009", "touch 3", "finish"), work(), profile="5.10"
        )
        assert [e.token for e in run.of(InterruptQueued)] == [BROADCAST, BROADCAST]
        assert next((e.handler, e.cr2) for e in traps(run)) == ("wake", 0)
        assert [e.token for e in run.of(DummyInserted)] == [0]
        assert run.of(TaskSlept) == []


class TestTrap:
    def test_reason_is_read_once_the_handler_runs(self) -> None:
        run = run_small(script("t", *USER_FAULT), work())
        injected = [e for e in run.of(ExceptionInjected) if e.token != BROADCAST]
        taken = traps(run)
        assert [trap.at_ns for trap in taken] == [e.at_ns + TRAP_NS for e in injected]
        assert [(trap.reason, trap.handler) for trap in taken] == [(1, "wait"), (2, "wake")]
        assert (taken[0].cpl, taken[0].task) == (3, "t-0")

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

    @pytest.mark.parametrize("panics", [False, True])
    def test_since_5_8_a_not_present_in_kernel_mode_is_a_panic(self, panics: bool) -> None:
        overrides = f'guest_wait = "user_only", kernel_mode_panics = {str(panics).lower()}'
        run = run_small(
            script("t", "wrmsr apf-en 0x1003", *KERNEL_FAULT), work(), overrides=overrides
        )
        (fault,) = run.of(ProtocolFault)
        assert fault.what == "not_present_in_kernel"
        assert [over.at_ns for over in run.of(GuestPanicked)] == [fault.at_ns] * panics
        assert (run.events[-1].at_ns == fault.at_ns) is panics
        assert (run.kernel.vm.frozen_ns == fault.at_ns) is panics


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
        assert unlinked.how == "broadcast"
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

    def test_how_long_one_spin_takes_is_said_by_the_scenario(self) -> None:
        run = run_small(
            script("t", *KERNEL_FAULT),
            work(),
            event("1ms", "alloc-fails", 'where = "guest"', "count = 3"),
            event("2400us", "irq", "vcpu = 0"),
            kernel=['costs.spin = "40us"'],
        )
        (spun,), (inserted,) = run.of(WakeSpun), run.of(DummyInserted)
        assert inserted.at_ns == spun.at_ns + 3 * 40_000

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


class TestReadyByInterrupt:
    def test_on_another_vector_nobody_takes_the_token(self) -> None:
        run = run_small(
            script("t", "at 1ms wrmsr apf-int 0x21", "at 2ms touch 3", "finish"),
            work(),
            profile="6.x",
        )
        assert len(run.of(TaskSlept)) == 1
        assert run.of(InterruptQueued)[-1].token == 0x1000
        assert run.of(TaskWoken) == []
        assert run.kernel.cpus[0].area.token == 0x1000

    def test_nothing_happens_on_a_cpu_that_is_not_enabled(self) -> None:
        run = run_small(
            script("t", "at 1ms wrmsr apf-int 0xf3", "wrmsr apf-en 0x1009", "run 1ms", "finish"),
            work(),
            profile="6.x",
            kernel=['apf = "nonpv"'],
        )
        assert len(run.of(InterruptQueued)) == 1
        assert run.of(TrapTaken) == []

    @pytest.mark.parametrize(("zeroes", "queued"), [("true", 2), ("false", 1)])
    def test_a_token_that_nobody_took_blocks_a_slot_that_nothing_zeroes(
        self, zeroes: str, queued: int
    ) -> None:
        run = run_small(
            work(count=2),
            event("3us", "vcpu-offline", "vcpu = 1"),
            event("442us", "vcpu-online", "vcpu = 1"),
            profile="6.x",
            overrides=f"online_zeroes_slot = {zeroes}",
            vcpus=2,
        )
        tokens = [e.token for e in run.of(InterruptQueued) if e.vcpu == 1]
        assert tokens == [BROADCAST] * queued

    @pytest.mark.parametrize(("profile", "woken"), [("5.10", 0), ("5.14", 2)])
    def test_enabled_before_its_lapic_a_guest_loses_every_ready(
        self, profile: str, woken: int
    ) -> None:
        """As a VMM without firmware boots it: the broadcast is lost, or waits (2f15d027c05f)."""
        run = run_small(
            script("t", "at 2ms touch 3", "finish", count=2, more="private = true"),
            script("idle", "sleep 9ms"),
            event("0ns", "lapic", "vcpu = 0", "on = false"),
            event("1ms", "lapic", "vcpu = 0", "on = true"),
            profile=profile,
            overrides="token_nonzero = true",
        )
        assert len(run.of(TaskSlept)) == 2
        assert len(run.of(TaskWoken)) == woken
        in_vain = [e for e in run.of(VcpuResumed) if e.why == "completion"]
        assert (len(in_vain) > 1_000) == (not woken), "HLT returns at once"

    def test_a_cpu_that_comes_up_turns_its_lapic_on(self) -> None:
        run = run_small(
            work(count=2),
            event("1ms", "vcpu-offline", "vcpu = 1"),
            event("2ms", "lapic", "vcpu = 1", "on = false"),
            event("3ms", "vcpu-online", "vcpu = 1"),
            profile="5.10",
            vcpus=2,
        )
        assert [e.lost for e in run.of(InterruptQueued) if e.vcpu == 1] == [False, False]

    @pytest.mark.parametrize(("nonzero", "woken"), [("true", 2), ("false", 1)])
    def test_a_token_of_0_is_lost_to_the_next_one(self, nonzero: str, woken: int) -> None:
        run = run_small(
            script("t", *USER_FAULT, count=2, more="private = true"),
            script("busy", "at 2050us kernel", "cli", "run 1ms", "sti", "user", "run 1ms"),
            work(),
            profile="5.10",
            overrides=f"token_nonzero = {nonzero}",
        )
        assert len(run.of(TaskSlept)) == 2
        assert len(run.of(TaskWoken)) == woken

    def test_each_interrupt_is_acknowledged_in_the_log(self) -> None:
        run = run_small(
            script("t", *USER_FAULT, count=8, more="private = true"), work(), profile="6.x"
        )
        acks = [written for written in run.of(MsrWritten) if written.msr == MSR_ACK]
        assert len(acks) == len(run.of(InterruptQueued)) == 9, "eight, and the broadcast"
        assert {(ack.value, ack.ok, ack.stored, ack.by) for ack in acks} == {
            (1, True, False, "guest")
        }

    def test_the_interrupt_takes_the_token_and_acknowledges(self) -> None:
        run = run_small(
            script("t", *USER_FAULT, count=2, more="private = true"), work(), profile="6.x"
        )
        assert [trap.handler for trap in traps(run)] == ["wait", "wait", "wake", "wake"]
        assert [woken.token for woken in run.of(TaskWoken)] == [0x1000, 0x2000]
        assert {e.delivery for e in run.of(ApfPresented)} == {"token", "broadcast"}
        assert [e.kind for e in run.of(ExceptionInjected)] == ["not_present"] * 2

    def test_a_running_vcpu_is_kicked(self) -> None:
        run = run_small(script("t", *USER_FAULT), work(), profile="6.x", kernel=["hz = 0"])
        (slept,), (woken,) = run.of(TaskSlept), run.of(TaskWoken)
        assert woken.at_ns - slept.at_ns < PAGE_IN_NS + 10_000

    def test_before_5_8_it_waits_for_an_exit(self) -> None:
        run = run_small(script("t", *USER_FAULT), work(), kernel=["hz = 0"])
        assert len(run.of(TaskSlept)) == 1
        assert run.of(TaskWoken) == []
