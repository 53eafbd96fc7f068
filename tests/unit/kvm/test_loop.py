"""The run loop (semantics 3.9): when completions are noticed, what an entry injects, who wakes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pagewake.events import types as ev
from pagewake.events.ids import Token
from pagewake.kvm import completion
from pagewake.kvm.modes import BLOCKED, GUEST, HLT
from pagewake.kvm.ports import IRQ_DEVICE, Step
from tests.support.abi import MSR_EN
from tests.unit.kvm.scripted import ENTRY_NS, PASS_NS, Machine

WAKE_NS = 2_400
FAULT_NS = 2_000
EXIT_NS = 500


def halted_on_a_page(profile: str = "2.6.39", **switches: Any) -> Machine:
    """A guest without APF whose vcpu halts on gfn 7; the fault is at 1000 ns."""
    machine = Machine(profile, msr=None, **switches)
    machine.touch(1_000, 7)
    return machine


class TestOnePass:
    def test_the_guest_runs_again_after_exit_and_entry(self) -> None:
        machine = Machine()
        machine.exits(10_000)
        machine.run(50_000)
        assert machine.entered() == [(10_000 + PASS_NS, "runs")]

    def test_completion_check_is_behind_handle_exit_and_before_entry(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.exits(200_000)
        machine.run(300_000)
        (presented,) = machine.of(ev.ApfPresented)
        (injected,) = [e for e in machine.of(ev.ExceptionInjected) if e.kind == "ready"]
        assert presented.at_ns == 200_000 + EXIT_NS
        assert injected.at_ns == presented.at_ns + FAULT_NS + ENTRY_NS

    def test_a_stall_falls_between_handle_exit_and_the_check(self) -> None:
        machine = Machine()
        machine.stalls(5_000, 40_000)
        machine.exits(10_000)
        machine.exits(90_000)
        machine.run(200_000)
        assert [at for at, *_ in machine.entered()] == [50_000 + PASS_NS, 90_000 + PASS_NS]


class TestWhoNoticesACompletion:
    def test_a_running_vcpu_is_not_kicked(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(900_000)
        assert len(machine.of(ev.WorkerCompleted)) == 1
        assert machine.of(ev.ApfPresented) == []
        assert machine.vcpu.mode is GUEST

    def test_from_5_8_it_is(self) -> None:
        machine = Machine(completion_kicks=True)
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(900_000)
        (presented,) = machine.of(ev.ApfPresented)
        assert presented.at_ns == 100_000 + EXIT_NS + ENTRY_NS // 2

    def test_a_blocked_one_wakes(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.hlt(20_000)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(900_000)
        (presented,) = machine.of(ev.ApfPresented)
        assert presented.at_ns == 100_000 + WAKE_NS
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["completion"]

    def test_a_blocked_one_wakes_with_interrupts_off_too_but_is_told_nothing(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.sets(20_000, if_flag=False)
        machine.hlt(30_000)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(900_000)
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["completion"]
        assert machine.of(ev.ApfPresented) == []


class TestSyntheticHalt:
    def test_is_a_request_honoured_at_the_top_of_the_loop(self) -> None:
        machine = halted_on_a_page()
        machine.run(50_000)
        (halt,) = machine.of(ev.VcpuHalted)
        assert (halt.why, halt.at_ns) == ("apf_off", 1_000 + EXIT_NS + FAULT_NS + ENTRY_NS // 2)
        assert machine.vcpu.mode is BLOCKED
        assert not machine.vcpu.mp_halted

    def test_ends_by_completion(self) -> None:
        machine = halted_on_a_page()
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(900_000)
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["completion"]
        assert machine.vcpu.mode is GUEST

    def test_ends_by_an_interrupt_and_the_retry_is_a_double_fault(self) -> None:
        machine = halted_on_a_page()
        machine.touch(1_000, 7)
        machine.deliver(ev.IrqArrived(50_000, "vm", 0, 0))
        machine.run(900_000)
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["interrupt"]
        assert machine.entered()[0][1:] == ("irq", IRQ_DEVICE)
        assert [e.why for e in machine.of(ev.VcpuHalted)] == ["apf_off", "double_fault"]

    def test_an_interrupt_that_cannot_be_taken_does_not_end_it_but_an_nmi_does(self) -> None:
        machine = halted_on_a_page()
        machine.run(20_000)
        machine.guest.if_flag = False
        machine.deliver(ev.IrqArrived(50_000, "vm", 0, 0))
        machine.run(100_000)
        assert machine.vcpu.mode is BLOCKED
        machine.deliver(ev.NmiArrived(120_000, "vm", 0, 0))
        machine.run(200_000)
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["nmi"]

    def test_completion_before_it_is_honoured_leaves_a_stale_halt(self) -> None:
        machine = halted_on_a_page()
        machine.stalls(500, 200_000)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(900_000)
        (presented,), (halt,) = machine.of(ev.ApfPresented), machine.of(ev.VcpuHalted)
        assert presented.n < halt.n
        assert halt.why == "stale"
        assert machine.vcpu.mode is BLOCKED

    @pytest.mark.parametrize("unhalts", [False, True])
    def test_completion_right_after_it_was_honoured(self, unhalts: bool) -> None:
        """The posted series forgot to lift the halt in present() (e6d53e3b0db)."""
        machine = halted_on_a_page("posted-v7", present_unhalts=unhalts)
        honoured_ns = 1_000 + EXIT_NS + FAULT_NS + ENTRY_NS // 2
        machine.arrives(honoured_ns + 1, 7, token=Token(0))
        machine.run(900_000)
        assert machine.of(ev.VcpuHalted)[0].at_ns == honoured_ns
        assert len(machine.of(ev.ApfPresented)) == 1
        assert machine.vcpu.mode is (GUEST if unhalts else BLOCKED)

    def test_msr_off_does_not_end_it(self) -> None:
        machine = Machine()
        machine.guest.cpl = 0
        machine.touch(1_000, 7)
        machine.run(50_000)
        completion.write_msr(machine.vcpu, 60_000, MSR_EN, 0, "host")
        machine.run(900_000)
        assert machine.vcpu.apf.halted
        assert machine.of(ev.VcpuResumed) == []


class TestExitToUserspace:
    @pytest.mark.parametrize(("profile", "checked"), [("5.4", False), ("5.8", True)])
    def test_checks_no_completions_but_where_that_is_a_request(
        self, profile: str, checked: bool
    ) -> None:
        machine = Machine(profile, msr=0x1009 if checked else 0x1001)
        machine.touch(1_000, 7)
        machine.sets(50_000, if_flag=True)
        machine.vcpu.apf.pageready_pending = True  # or 5.8 kicked
        machine.arrives(100_000, 7, token=Token(0))
        machine.deliver(ev.LeftForUserspace(200_000, "vm", 0, 0, 3_000))
        machine.run(300_000)
        assert bool(machine.of(ev.ApfPresented)) == checked
        assert machine.entered()[-1][0] >= 203_000 + EXIT_NS

    def test_is_nothing_to_a_vcpu_that_is_not_in_its_guest(self) -> None:
        machine = Machine()
        machine.hlt(10_000)
        machine.deliver(ev.LeftForUserspace(50_000, "vm", 0, 0))
        machine.run(100_000)
        assert machine.vcpu.mode is BLOCKED


class TestHltThatDoesNotExit:
    def machine(self, profile: str = "5.4") -> Machine:
        machine = Machine(profile, config={"hlt_exits": False})
        machine.hlt(100_000)
        return machine

    def test_is_nothing_that_the_host_sees(self) -> None:
        machine = self.machine()
        machine.run(200_000)
        assert machine.vcpu.mode is HLT
        assert machine.of(ev.VcpuHalted) == []
        assert machine.entered() == []

    @pytest.mark.parametrize(
        "event", [ev.IrqArrived(150_000, "vm", 0, 0), ev.NmiArrived(150_000, "vm", 0, 0)]
    )
    def test_ends_by_an_exit_as_an_interrupt_comes(self, event: ev.Control) -> None:
        machine = self.machine()
        machine.deliver(event)
        machine.run(200_000)
        assert [at for at, *_ in machine.entered()] == [150_000 + PASS_NS]
        assert machine.vcpu.mode is GUEST
        assert machine.vcpu.cpu["idle"].ns == 50_000

    def test_an_interrupt_that_is_pending_ends_it_at_once(self) -> None:
        machine = Machine("5.4", config={"hlt_exits": False})
        machine.sets(90_000, if_flag=False)
        machine.deliver(ev.IrqArrived(95_000, "vm", 0, 0))

        def sti_hlt(at_ns: int) -> Step:
            machine.guest.if_flag = True
            return machine.vcpu.exit_hlt(at_ns)

        machine.plan(100_000, sti_hlt)
        machine.run(200_000)
        assert machine.entered()[-1][1:] == ("irq", IRQ_DEVICE)

    @pytest.mark.parametrize(("profile", "noticed"), [("5.4", False), ("5.8", True)])
    def test_a_completion_is_noticed_if_it_kicks(self, profile: str, noticed: bool) -> None:
        machine = Machine(profile, msr=0x1009, config={"hlt_exits": False})
        machine.touch(1_000, 7)
        machine.hlt(100_000)
        machine.arrives(150_000, 7, token=Token(0))
        machine.run(200_000)
        assert bool(machine.of(ev.ApfPresented)) == noticed

    @pytest.mark.parametrize(
        ("profile", "delivery"),
        [("4.19", "halted"), ("5.4", "synchronous"), ("6.12", "synchronous")],
    )
    def test_what_cannot_be_told_is_synchronous_since_5_3(
        self, profile: str, delivery: str
    ) -> None:
        machine = Machine(profile, msr=None, config={"hlt_exits": False})
        machine.touch(1_000, 7)
        machine.run(50_000)
        assert [e.delivery for e in machine.of(ev.PageNotPresent)] == [delivery]

    def test_what_can_be_told_is_asynchronous_all_the_same(self) -> None:
        machine = Machine("5.4", config={"hlt_exits": False})
        machine.touch(1_000, 7)
        machine.run(50_000)
        assert [e.delivery for e in machine.of(ev.PageNotPresent)] == ["injected"]


class TestHalt:
    @pytest.mark.parametrize("runnable", [False, True])
    def test_completion_consumed_in_the_exit_of_hlt(self, runnable: bool) -> None:
        """Until 2012 (a4fa16353108) mp_state stays HALTED with the exception pending."""
        machine = Machine(present_makes_runnable=runnable)
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.hlt(200_000)
        machine.run(900_000)
        ready = [seen for seen in machine.entered() if seen[1] == "ready"]
        assert len(machine.of(ev.ApfPresented)) == 1
        assert bool(ready) == runnable
        assert machine.vcpu.mode is (GUEST if runnable else BLOCKED)
        assert (machine.vcpu.exc is None) == runnable

    def test_the_pending_exception_comes_first_when_something_wakes_it(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.hlt(200_000)
        machine.deliver(ev.IrqArrived(500_000, "vm", 0, 0))
        machine.run(900_000)
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["interrupt"]
        assert machine.entered()[-1][1:] == ("ready", 0)


class TestEntry:
    def everything_pending(self, machine: Machine) -> None:
        """A stalled exit after a fault, so that an NMI and an interrupt join the exception."""
        machine.stalls(500, 100_000)
        machine.touch(1_000, 7)
        machine.deliver(ev.IrqArrived(20_000, "vm", 0, 0))

    def test_exception_before_interrupt(self) -> None:
        machine = Machine()
        self.everything_pending(machine)
        machine.exits(300_000)
        machine.run(900_000)
        assert [seen[1] for seen in machine.entered()] == ["not_present", "irq"]

    def test_exception_before_nmi_which_then_has_a_window_of_its_own(self) -> None:
        machine = Machine()
        self.everything_pending(machine)
        machine.deliver(ev.NmiArrived(30_000, "vm", 0, 0))
        machine.exits(300_000)
        machine.run(900_000)
        first, second, third = machine.entered()
        assert [first[1], second[1], third[1]] == ["not_present", "nmi", "irq"]
        assert second[0] == first[0] + PASS_NS

    def test_interrupts_wait_for_if(self) -> None:
        machine = Machine()
        machine.sets(10_000, if_flag=False)
        machine.exits(30_000)
        machine.sets(60_000, if_flag=True)
        machine.deliver(ev.IrqArrived(20_000, "vm", 0, 0))
        machine.run(900_000)
        assert machine.entered() == [
            (10_000 + PASS_NS, "runs"),
            (30_000 + PASS_NS, "runs"),
            (60_000 + PASS_NS, "irq", IRQ_DEVICE),
        ]

    def test_an_interrupt_makes_a_running_vcpu_exit(self) -> None:
        machine = Machine()
        machine.deliver(ev.IrqArrived(20_000, "vm", 0, 0))
        machine.run(900_000)
        assert machine.entered() == [(20_000 + PASS_NS, "irq", IRQ_DEVICE)]

    def test_set_regs_drops_the_exception(self) -> None:
        machine = Machine()
        machine.stalls(500, 100_000)
        machine.touch(1_000, 7)
        machine.deliver(ev.RegistersSet(20_000, "vm", 0, 0))
        machine.run(900_000)
        (dropped,) = machine.of(ev.ExceptionDropped)
        assert (dropped.token, dropped.kind, dropped.why) == (0, "not_present", "registers_set")
        assert [seen[1] for seen in machine.entered()] == ["runs"]


class TestExitsOfTheHost:
    def test_background_exits_are_periodic_while_the_guest_runs(self) -> None:
        machine = Machine(config={"background_exit_ns": 100_000})
        machine.run(1_000_000)
        ends = [at for at, *_ in machine.entered()]
        assert len(ends) == 10
        assert {b - a for a, b in itertools.pairwise(ends)} == {100_000}

    def test_they_notice_completions(self) -> None:
        machine = Machine(config={"background_exit_ns": 100_000})
        machine.touch(1_000, 7)
        machine.arrives(150_000, 7, token=Token(0))
        machine.run(300_000)
        (presented,) = machine.of(ev.ApfPresented)
        assert 150_000 < presented.at_ns < 250_000

    def test_a_blocked_vcpu_has_none(self) -> None:
        machine = Machine(config={"background_exit_ns": 100_000})
        machine.hlt(1_000)
        machine.run(1_000_000)
        assert machine.entered() == []
