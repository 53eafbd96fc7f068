"""Pages that user space brings: ring, exit and handler of one VM (semantics 6.1)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pagewake.events import types as ev
from pagewake.events.ids import Gfn
from pagewake.kvm.config import Userfault
from pagewake.kvm.modes import BLACKOUT, BLOCKED
from pagewake.kvm.page_table import ABSENT, MAPPED
from tests.unit.kvm.scripted import Machine

COSTS = Userfault(
    signal_ns=1_000, wake_ns=5_000, take_ns=1_000, copy_ns=2_000, exit_ns=3_000, local=0.0
)
EXIT_NS = 500
FAULT_NS = 2_000
HOP_NS = 2_400
VCPU_WAKE_NS = 2_400
AS_INT = 0x1009
WOKEN_NS = 1_000 + 1_000 + 5_000
"""A handler that slept runs, when the fault at 1,000 ns has signalled it."""
TAKEN_NS = WOKEN_NS + 1_000


def user_vm(apf: str = "ring", vcpus: int = 1, *, local: float = 0.0, **switches: Any) -> Machine:
    costs = msgspec.structs.replace(COSTS, local=local)
    machine = Machine(
        "6.12", vcpus=vcpus, msr=AS_INT, config={"userfault": costs}, user_apf=apf, **switches
    )
    for thread, guest in zip(machine.vm.vcpus, machine.guests, strict=True):
        thread.apf.int_vector = guest.apf_vector = 0xF3
    return machine


def crashes(machine: Machine, at_ns: int, for_ns: int, keeps: bool = False) -> None:
    machine.deliver(ev.HandlerCrashed(at_ns, "vm", 0, for_ns, keeps))


def told(machine: Machine) -> list[tuple[Any, ...]]:
    return [
        (fault.gfn, fault.token >> 12, fault.ring, fault.accepted, fault.signalled)
        for fault in machine.of(ev.UserFault)
    ]


def completions(machine: Machine) -> list[tuple[int, int]]:
    return [(done.at_ns, done.gfn) for done in machine.of(ev.WorkerCompleted)]


class TestRing:
    def test_a_fault_is_accepted_as_it_is_written_and_the_guest_is_told(self) -> None:
        machine = user_vm()
        machine.touch(1_000, 7)
        machine.run(500_000)
        assert told(machine) == [(7, 1, True, True, True)]
        (fault,) = machine.of(ev.PageNotPresent)
        assert (fault.delivery, fault.user, fault.joined) == ("injected", True, False)
        entered_ns = 1_000 + EXIT_NS + FAULT_NS + COSTS.signal_ns + 500
        assert machine.entered()[0] == (entered_ns, "not_present", fault.token)

    def test_the_handler_takes_it_and_completes_it_through_the_workqueue(self) -> None:
        machine = user_vm()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7)
        machine.run(500_000)
        (taken,) = machine.of(ev.PageRequested)
        assert (taken.at_ns, taken.joined, taken.served) == (TAKEN_NS, False, False)
        assert completions(machine) == [(100_000 + COSTS.wake_ns + COSTS.copy_ns + HOP_NS, 7)]
        assert machine.vm.pages.state[7] == MAPPED
        (ready,) = machine.of(ev.ApfPresented)
        assert (ready.delivery, ready.token) == ("token", taken.token)

    def test_one_signal_is_enough_until_the_handler_sleeps_again(self) -> None:
        machine = user_vm()
        machine.touch(1_000, 7)
        machine.touch(2_000, 8)
        machine.touch(60_000, 9)
        machine.run(500_000)
        assert [fault[-1] for fault in told(machine)] == [True, False, True]

    def test_before_it_could_be_armed_every_entry_was_signalled(self) -> None:
        machine = user_vm(user_apf_armed=False)
        machine.touch(1_000, 7)
        machine.touch(2_000, 8)
        machine.run(500_000)
        assert [fault[-1] for fault in told(machine)] == [True, True]

    @pytest.mark.parametrize(("ring", "entries"), [("32", 31), ("64", 64)])
    def test_a_full_ring_is_an_exit(self, ring: str, entries: int) -> None:
        machine = user_vm(user_apf_ring=ring)
        crashes(machine, 500, 10_000_000)
        for number in range(entries):
            machine.touch(1_000 + number, number)
        if entries == 64:  # as many as may be outstanding: only withdrawn ones leave room for more
            machine.wrmsr(300_000, 0)
            machine.wrmsr(300_001, AS_INT)
        machine.touch(400_000, 200)
        machine.run(9_000_000)
        rings = [fault[2] for fault in told(machine)]
        assert rings == [True] * entries + [False]

    def test_a_second_fault_on_the_page_spends_a_token_and_halts(self) -> None:
        machine = user_vm()
        machine.touch(1_000, 7)
        machine.touch(60_000, 7)
        machine.touch(70_000, 8)
        machine.run(65_000)
        started = machine.of(ev.ApfStarted)
        assert [start.outcome for start in started] == ["queued", "duplicate"]
        assert [start.token >> 12 for start in started if start.token] == [1, 2]
        assert machine.vcpu.apf.halted
        machine.arrives(100_000, 7)
        machine.run(500_000)
        assert [fault[:2] for fault in told(machine)] == [(7, 1), (8, 3)]

    def test_at_the_limit_a_second_fault_is_waited_for_instead(self) -> None:
        machine = user_vm()
        for number in range(64):
            machine.touch(1_000 + number, number)
        machine.touch(400_000, 7)
        machine.run(500_000)
        assert machine.of(ev.ApfStarted)[-1].outcome == "limit"
        assert machine.vcpu.mode is BLACKOUT

    def test_two_vcpus_ask_for_one_page_and_it_is_read_once(self) -> None:
        machine = user_vm(vcpus=2)
        machine.touch(1_000, 7)
        machine.touch(1_500, 7, vcpu=1)
        machine.arrives(100_000, 7)
        machine.run(500_000)
        assert [one.joined for one in machine.of(ev.PageRequested)] == [False, True]
        in_ns = 100_000 + COSTS.wake_ns + COSTS.copy_ns + HOP_NS
        assert completions(machine) == [(in_ns, 7), (in_ns, 7)]

    def test_what_came_meanwhile_is_said_to_be_there_at_once(self) -> None:
        machine = user_vm(vcpus=2)
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7)
        machine.touch(106_500, 7, vcpu=1)  # while it is copied in for the first
        machine.run(500_000)
        first, second = machine.of(ev.PageRequested)
        assert (first.joined, second.joined) == (False, True)
        copied_ns = 100_000 + COSTS.wake_ns + COSTS.copy_ns
        assert completions(machine) == [
            (copied_ns + HOP_NS, 7), (copied_ns + COSTS.take_ns + HOP_NS, 7)
        ]  # fmt: skip


class TestExit:
    def test_the_vmm_accepts_what_it_does_not_have(self) -> None:
        machine = user_vm("exit")
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7)
        machine.run(500_000)
        assert told(machine) == [(7, 1, False, True, False)]
        entered_ns = 1_000 + EXIT_NS + FAULT_NS + COSTS.exit_ns + 500
        assert machine.entered()[0][:2] == (entered_ns, "not_present")
        assert completions(machine) == [(100_000 + COSTS.wake_ns + COSTS.copy_ns, 7)]

    def test_what_it_has_is_brought_in_the_exit_and_complete_as_it_comes_back(self) -> None:
        machine = user_vm("exit", local=1.0)
        machine.touch(1_000, 7)
        machine.exits(20_000)
        machine.run(500_000)
        assert told(machine) == [(7, 1, False, False, False)]
        back_ns = 1_000 + FAULT_NS + COSTS.exit_ns + COSTS.copy_ns
        assert completions(machine) == [(back_ns, 7)]
        assert machine.vm.stock == 7
        kinds = [entry[1] for entry in machine.entered()]
        assert kinds[:2] == ["not_present", "irq"], "told for nothing: two switches"

    def test_a_fault_that_may_not_be_told_waits_in_user_space(self) -> None:
        machine = user_vm("exit")
        machine.guest.if_flag = False
        machine.touch(1_000, 7)
        machine.run(90_000)
        (fault,) = machine.of(ev.PageNotPresent)
        assert (fault.delivery, fault.why) == ("synchronous", "interrupts_off")
        assert machine.vcpu.mode is BLACKOUT
        machine.arrives(100_000, 7)
        machine.run(500_000)
        assert machine.vm.pages.state[7] == MAPPED
        there_ns = 100_000 + COSTS.wake_ns + COSTS.copy_ns
        back_ns = there_ns + VCPU_WAKE_NS + FAULT_NS + COSTS.exit_ns
        assert machine.entered()[0] == (back_ns + 500, "runs")

    def test_a_kernel_without_it_waits_in_user_space(self) -> None:
        machine = user_vm("none")
        machine.touch(1_000, 7)
        machine.run(90_000)
        (fault,) = machine.of(ev.PageNotPresent)
        assert (fault.delivery, fault.why, fault.user) == ("synchronous", "user_space", True)
        assert machine.of(ev.ApfStarted) == []


class TestCrash:
    def test_what_was_taken_is_lost_and_the_page_asked_for_anew(self) -> None:
        machine = user_vm(vcpus=2)
        machine.touch(1_000, 7)
        machine.touch(300_000, 7)
        machine.touch(350_000, 7, vcpu=1)
        crashes(machine, 50_000, 10_000)
        machine.arrives(100_000, 7)
        machine.run(200_000)
        (lost,) = machine.of(ev.UserFaultLost)
        assert (lost.gfn, lost.vcpu) == (7, 0)
        assert machine.vm.silent == {"handler_crash": 1}
        assert machine.vm.pages.state[7] == ABSENT
        machine.arrives(400_000, 7)
        machine.run(500_000)
        assert machine.vcpu.mode is BLOCKED, "halted for what nobody will say"
        assert [done.vcpu for done in machine.of(ev.WorkerCompleted)] == [1]

    def test_what_stands_in_the_ring_waits_for_the_next(self) -> None:
        machine = user_vm()
        machine.touch(1_000, 7)
        crashes(machine, WOKEN_NS + 1, 100_000)
        machine.arrives(300_000, 7)
        machine.run(500_000)
        assert machine.of(ev.UserFaultLost) == []
        (taken,) = machine.of(ev.PageRequested)
        assert taken.at_ns == WOKEN_NS + 1 + 100_000 + COSTS.take_ns
        assert [gfn for _, gfn in completions(machine)] == [7]

    def test_one_that_keeps_a_journal_loses_nothing(self) -> None:
        machine = user_vm()
        machine.touch(1_000, 7)
        crashes(machine, 50_000, 100_000, keeps=True)
        machine.arrives(100_000, 7)
        machine.run(500_000)
        assert machine.of(ev.UserFaultLost) == []
        assert completions(machine) == [(150_000 + COSTS.copy_ns + HOP_NS, 7)]

    def test_a_page_that_was_being_copied_goes_with_it(self) -> None:
        machine = user_vm()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7)
        crashes(machine, 100_000 + COSTS.wake_ns + 1, 10_000)
        machine.run(500_000)
        assert len(machine.of(ev.UserFaultLost)) == 1
        assert completions(machine) == []

    def test_who_waits_in_user_space_asks_again(self) -> None:
        machine = user_vm("none")
        machine.touch(1_000, 7)
        crashes(machine, 50_000, 10_000)
        machine.arrives(100_000, 7)
        machine.run(500_000)
        assert [one.joined for one in machine.of(ev.PageRequested)] == [False, True]
        assert machine.vm.pages.state[7] == MAPPED

    def test_what_a_migration_withdrew_is_nobodys(self) -> None:
        machine = user_vm()
        machine.touch(1_000, 7)
        machine.deliver(ev.VmMigrated(20_000, "vm", 0))
        machine.arrives(100_000, 7)
        machine.run(500_000)
        assert completions(machine) == []
        assert machine.vm.pages.held == {}
        assert machine.vm.is_present(Gfn(7))
