"""Worker's end, check_completion, present, the enable MSR, clearing (semantics 3.6 to 3.11)."""

from __future__ import annotations

import pytest

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.kvm.config import NestedConfig
from pagewake.kvm.modes import BLACKOUT, GUEST, OFFLINE
from pagewake.kvm.page_table import ABSENT, MAPPED, PRESENT
from pagewake.kvm.ports import IRQ_APF, IRQ_DEVICE, Step
from tests.support.abi import BROADCAST, MSR_ACK, MSR_EN, MSR_INT
from tests.unit.kvm.scripted import (
    ENABLE,
    ENTRY_NS,
    PASS_NS,
    SEND_ALWAYS,
    Area,
    Machine,
)

AS_INT = 0x1009
BAD_ADDRESS = 0x7F00000001


def two_done_while_interrupts_are_off(
    profile: str = "2.6.39", *, msr_off: bool = False, **switches: object
) -> Machine:
    """Pages 8 and 7 arrive, in this order, while IF=0; the first exit with IF=1 is at 400 us.

    With `msr_off` ENABLED goes away at 250 us without the write that would clear the queue.
    """
    machine = Machine(profile, **switches)  # type: ignore[arg-type]
    machine.touch(1_000, 7)
    machine.touch(50_000, 8)
    machine.sets(90_000, if_flag=False)
    machine.arrives(200_000, 8, token=Token(0x1000))
    machine.arrives(210_000, 7, token=Token(0x0))
    if msr_off:
        machine.plan(250_000, lambda at_ns: _disabled(machine, at_ns))
    machine.exits(300_000)
    machine.sets(400_000, if_flag=True)
    machine.exits(500_000)
    machine.exits(600_000)
    return machine


def _disabled(machine: Machine, at_ns: int) -> Step:
    machine.vcpu.apf.msr_val = 0
    return machine.vcpu.exit_plain(at_ns)


class TestWorker:
    def test_joins_done_and_holds_the_page(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(200_000)
        (done,) = machine.of(ev.WorkerCompleted)
        assert (done.token, done.gfn, done.page, done.at_ns) == (0, 7, True, 100_000)
        assert machine.vm.pages.state[7] == PRESENT
        assert machine.vm.pages.held == {7: 1}

    def test_gup_failure_is_not_reported_and_keeps_no_page(self) -> None:
        machine = Machine()
        machine.deliver(ev.WorkerGupFails(500, "vm", 0, 1))
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.exits(200_000)
        machine.run(300_000)
        assert [e.page for e in machine.of(ev.WorkerCompleted)] == [False]
        (presented,) = machine.of(ev.ApfPresented)
        assert (presented.delivery, presented.prefaulted) == ("token", False)
        assert machine.vm.pages.state[7] == PRESENT
        assert machine.vm.pages.held == {}

    @pytest.mark.parametrize("writes", [True, False])
    def test_asks_for_write_access_so_a_page_only_read_is_dirty(self, writes: bool) -> None:
        machine = Machine(worker_writes=writes)
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(200_000)
        assert machine.vm.pages.dirty[7] == writes

    def test_of_which_a_failed_gup_dirties_nothing(self) -> None:
        machine = Machine()
        machine.deliver(ev.WorkerGupFails(500, "vm", 0, 1))
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(200_000)
        assert not machine.vm.pages.dirty[7]

    def test_of_a_withdrawn_item_only_makes_the_page_present(self) -> None:
        machine = Machine(clear_waits=False)
        machine.touch(1_000, 7)
        machine.wrmsr(50_000, 0)
        machine.arrives(100_000, 7, token=Token(0))
        machine.exits(200_000)
        machine.run(300_000)
        assert machine.of(ev.WorkerCompleted) == []
        assert machine.of(ev.ApfPresented) == []
        assert machine.vm.pages.state[7] == PRESENT
        assert machine.vm.pages.held == {}


class TestPresent:
    def test_prefault_hash_reason_exception(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.exits(200_000)
        machine.run(300_000)
        (presented,) = machine.of(ev.ApfPresented)
        assert (presented.token, presented.gfn, presented.delivery) == (0, 7, "token")
        assert presented.prefaulted
        assert machine.vm.pages.state[7] == MAPPED
        assert not machine.vm.pages.accessed[7]
        assert not machine.vcpu.apf.gfn_hash.find(Gfn(7))
        assert [(e.reason, e.ok) for e in machine.of(ev.ReasonWritten)] == [(1, True), (2, True)]
        assert machine.entered()[-1][1:] == ("ready", 0)
        assert machine.vm.pages.held == {}

    def test_a_page_mapped_meanwhile_needs_no_prefault(self) -> None:
        machine = Machine(vcpus=2)
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.touch(150_000, 7, vcpu=1)
        machine.exits(200_000)
        machine.run(300_000)
        assert [e.prefaulted for e in machine.of(ev.ApfPresented)] == [False]
        assert machine.of(ev.ApfPresented)[0].delivery == "token"

    @pytest.mark.parametrize(
        ("cr3", "profile", "prefaulted"),
        [
            ("process", "2.6.39", True),
            ("other", "2.6.39", False),
            ("process", "posted-v7", False),
        ],
    )
    def test_under_shadow_paging_prefault_needs_the_cr3_of_the_fault(
        self, cr3: str, profile: str, prefaulted: bool
    ) -> None:
        machine = Machine(profile, config={"nested": NestedConfig(npt=False)})
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.sets(200_000, root=cr3)
        machine.run(300_000)
        (presented,) = machine.of(ev.ApfPresented)
        assert (presented.prefaulted, presented.delivery) == (prefaulted, "token")

    def test_under_nested_paging_cr3_is_not_looked_at(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.sets(200_000, root="other")
        machine.run(300_000)
        assert machine.of(ev.ApfPresented)[0].prefaulted

    def test_one_ready_per_pass_in_order_of_completion(self) -> None:
        machine = two_done_while_interrupts_are_off()
        machine.run(900_000)
        first, second = machine.of(ev.ApfPresented)
        assert (first.token, second.token) == (0x1000, 0x0)
        assert first.at_ns == 400_500
        assert second.at_ns == 500_500
        ready = [seen for seen in machine.entered() if seen[1] == "ready"]
        assert [token for _, _, token in ready] == [0x1000, 0x0]

    def test_in_4_14_a_second_ready_in_a_pass_is_a_double_fault(self) -> None:
        machine = two_done_while_interrupts_are_off("4.14")
        machine.run(700_000)
        (panic,) = machine.of(ev.GuestPanicked)
        assert panic.why == "double_fault"
        assert machine.vm.frozen_ns == panic.at_ns
        assert [e.token for e in machine.of(ev.ApfPresented)] == [0x1000, 0]
        assert machine.of(ev.ExceptionInjected)[2:] == []
        machine = two_done_while_interrupts_are_off("4.14", pending_blocks_apf=True)
        machine.run(700_000)
        assert machine.of(ev.GuestPanicked) == []

    @pytest.mark.parametrize(
        ("present_all", "at_ns"), [(False, (250_500, 300_500)), (True, (250_500,))]
    )
    def test_with_the_msr_off_if_does_not_matter(
        self, present_all: bool, at_ns: tuple[int, ...]
    ) -> None:
        """All in one pass; the posted series took one per call in every case (15096ffceab)."""
        machine = two_done_while_interrupts_are_off(
            "posted-v7", msr_off=True, present_all=present_all
        )
        machine.run(900_000)
        presented = machine.of(ev.ApfPresented)
        assert [(e.token, e.why) for e in presented] == [(0x1000, "msr_off"), (0x0, "msr_off")]
        assert tuple(dict.fromkeys(e.at_ns for e in presented)) == at_ns

    def test_failed_write_loses_ready_for_good(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.deliver(ev.AreaWriteFails(50_000, "vm", 0, 0, 1))
        machine.arrives(100_000, 7, token=Token(0))
        machine.exits(200_000)
        machine.exits(300_000)
        machine.run(400_000)
        (presented,) = machine.of(ev.ApfPresented)
        assert (presented.delivery, presented.why) == ("silent", "write_failed")
        assert presented.prefaulted
        assert (machine.vcpu.apf.queued, len(machine.vcpu.apf.done)) == (0, 0)
        assert not machine.vcpu.apf.gfn_hash.find(Gfn(7))
        assert machine.vcpu.exc is None

    def test_a_failed_write_does_not_stop_the_pass(self) -> None:
        machine = two_done_while_interrupts_are_off()
        machine.deliver(ev.AreaWriteFails(250_000, "vm", 0, 0, 1))
        machine.run(900_000)
        first, second = machine.of(ev.ApfPresented)
        assert (first.why, second.why) == ("write_failed", None)
        assert first.at_ns == second.at_ns

    @pytest.mark.parametrize("needs", [False, True])
    def test_ready_for_what_the_guest_was_not_told(self, needs: bool) -> None:
        """Semantics 0, fact 2; 2a18b7e7cd88 (5.8) keeps quiet."""
        machine = Machine(ready_needs_not_present=needs)
        machine.guest.cpl = 0
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(300_000)
        (presented,) = machine.of(ev.ApfPresented)
        said = ("silent", "not_due") if needs else ("token", None)
        assert (presented.delivery, presented.why) == said
        assert presented.prefaulted
        assert machine.vcpu.mode is GUEST

    def test_ready_for_what_it_was_told_is_always_due(self) -> None:
        machine = Machine(ready_needs_not_present=True)
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.exits(200_000)
        machine.run(300_000)
        assert [e.delivery for e in machine.of(ev.ApfPresented)] == ["token"]


class TestReadyOverNotPresent:
    """4.14: page 7 is in when the fault on page 8 is told, in the same exit."""

    def machine(self, gfn: int, **switches: object) -> Machine:
        machine = Machine("4.14", **switches)  # type: ignore[arg-type]
        machine.touch(1_000, 7)
        machine.stalls(99_000, 5_000)
        machine.touch(100_000, gfn)
        machine.arrives(90_000, 7, token=Token(0))
        machine.run(150_000)
        return machine

    def test_both_are_dropped_whatever_their_tokens(self) -> None:
        machine = self.machine(8)
        (dropped,) = machine.of(ev.ExceptionDropped)
        assert (dropped.token, dropped.kind, dropped.why) == (0x1000, "not_present", "ready")
        (ready,) = machine.of(ev.ApfPresented)
        assert (ready.token, ready.delivery, ready.why) == (0, "silent", "cancelled")
        assert machine.guest.area.reason == 0
        assert machine.vm.silent == {"cancelled": 1}
        assert [e.token for e in machine.of(ev.ExceptionInjected)] == [0]

    def test_of_one_page_nothing_is_lost(self) -> None:
        machine = Machine("4.14")
        machine.stalls(99_000, 5_000)
        machine.touch(100_000, 7)
        machine.arrives(102_000, 7, token=Token(0))
        machine.run(150_000)
        assert [e.why for e in machine.of(ev.ApfPresented)] == ["cancelled"]
        assert machine.vm.silent == {}

    def test_without_the_cancelling_it_is_a_double_fault(self) -> None:
        machine = self.machine(8, ready_cancels_not_present=False)
        assert [e.why for e in machine.of(ev.GuestPanicked)] == ["double_fault"]

    def test_a_ready_by_interrupt_takes_nothing_away(self) -> None:
        machine = Machine("6.1", ready_cancels_not_present=True, msr=AS_INT)
        machine.touch(1_000, 7)
        machine.stalls(99_000, 5_000)
        machine.touch(100_000, 8)
        machine.arrives(102_000, 7, token=Token(0x1000))
        machine.run(150_000)
        assert [e.delivery for e in machine.of(ev.ApfPresented)] == ["token"]
        assert machine.of(ev.ExceptionDropped) == []
        assert [e.token for e in machine.of(ev.ExceptionInjected)] == [0x1000, 0x2000]

    def test_nor_does_a_reason_that_cannot_be_cleared_cancel(self) -> None:
        machine = Machine("4.14")
        machine.touch(1_000, 7)
        machine.stalls(99_000, 5_000)
        machine.touch(100_000, 8)
        machine.arrives(90_000, 7, token=Token(0))
        machine.deliver(ev.AreaWriteFails(101_000, "vm", 0, 0, 2))
        machine.run(150_000)
        assert [e.why for e in machine.of(ev.ApfPresented)] == ["write_failed"]
        assert [e.token for e in machine.of(ev.ExceptionInjected)] == [0, 0x1000]


class TestPages:
    """What becomes of a page between its completion and READY (semantics 3.6)."""

    def evicted(self, profile: str = "3.16", *, written: bool = True, **more: object) -> Machine:
        """Page 7 came at 100 us while no READY could be sent; it goes; at 200 us one can.

        Interrupts are off so long, and from 5.8 on another token is in the slot.
        """
        machine = Machine(profile, **more)  # type: ignore[arg-type]
        machine.guest.area.token = Token(0x9000)
        machine.touch(1_000, 7)
        machine.sets(90_000, if_flag=False)
        machine.arrives(100_000, 7, token=Token(0x1000 if profile == "6.12" else 0))
        machine.deliver(ev.PageUnmapped(120_000, "vm", 0, [Gfn(7)]))
        if written:
            machine.deliver(ev.PageDropped(150_000, "vm", 0, [Gfn(7)]))
        machine.sets(200_000, if_flag=True, area=Area())
        return machine

    def test_up_to_3_12_is_pinned(self) -> None:
        machine = self.evicted("3.10", written=False)
        machine.run(190_000)
        assert machine.of(ev.PagesEvicted)[0].refused == [7]
        assert machine.vm.pages.held == {7: 1}

    @pytest.mark.parametrize("profile", ["3.16", "6.12"])
    def test_one_that_is_gone_is_read_again_by_the_vcpu_thread(self, profile: str) -> None:
        machine = self.evicted(profile, msr=AS_INT if profile == "6.12" else ENABLE)
        machine.run(300_000)
        _, again = machine.of(ev.PageNotPresent)
        assert (again.delivery, again.why, again.joined) == ("synchronous", "prefault", False)
        assert machine.vcpu.mode is BLACKOUT
        assert machine.of(ev.ApfPresented) == []
        machine.arrives(400_000, 7)
        machine.run(500_000)
        (presented,) = machine.of(ev.ApfPresented)
        assert presented.delivery == "token"
        assert presented.at_ns > 400_000
        assert machine.vm.pages.state[7] == MAPPED
        assert machine.vm.pages.held == {}
        assert machine.vcpu.cpu["blackout"].ns == 402_400 - again.at_ns

    def test_one_under_write_back_is_still_there(self) -> None:
        machine = self.evicted(written=False)
        machine.run(300_000)
        assert machine.of(ev.PagesEvicted)[0].dirty == [7]
        assert machine.of(ev.ApfPresented)[0].prefaulted
        assert machine.vm.pages.state[7] == MAPPED

    def test_one_that_another_vcpu_reads_again_is_waited_for_with_it(self) -> None:
        machine = self.evicted(vcpus=2)
        machine.touch(160_000, 7, vcpu=1)
        machine.arrives(400_000, 7, vcpu=1, token=Token(1))
        machine.run(500_000)
        again = machine.of(ev.PageNotPresent)[-1]
        assert (again.why, again.joined) == ("prefault", True)
        assert machine.of(ev.ApfPresented)[0].delivery == "token"

    def test_one_in_zram_takes_its_time_and_a_frame(self) -> None:
        machine = self.evicted(stock=8)
        machine.run(150_500)
        machine.vm.synchronous, machine.vm.medium_cost_ns = True, 1_500
        machine.run(300_000)
        again = machine.of(ev.PageNotPresent)[-1]
        assert (again.why, again.served) == ("medium", True)
        assert machine.vm.stock == 7
        assert machine.entered()[-1] == (200_500 + 2_000 + 1_500 + 2_000 + ENTRY_NS, "ready", 0)

    def test_with_another_mmu_there_is_nothing_to_map_ahead(self) -> None:
        machine = self.evicted(config={"nested": NestedConfig(npt=False)})
        machine.guest.plan.pop()
        machine.sets(200_000, if_flag=True, root="other")
        machine.run(300_000)
        assert len(machine.of(ev.PageNotPresent)) == 1
        assert not machine.of(ev.ApfPresented)[0].prefaulted

    @pytest.mark.parametrize(("profile", "prefaulted"), [("3.10", False), ("3.16", True)])
    def test_since_3_13_a_failed_gup_is_tried_again(self, profile: str, prefaulted: bool) -> None:
        machine = Machine(profile)
        machine.deliver(ev.WorkerGupFails(500, "vm", 0, 1))
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.exits(200_000)
        machine.run(300_000)
        assert machine.of(ev.ApfPresented)[0].prefaulted is prefaulted


class TestEnableMsr:
    def write(self, machine: Machine, value: int, at_ns: int = 1_000) -> ev.MsrWritten:
        machine.wrmsr(at_ns, value)
        machine.run(at_ns + 200_000)
        return machine.of(ev.MsrWritten)[-1]

    @pytest.mark.parametrize("bit", [2, 3, 4, 5])
    def test_reserved_bits_change_nothing(self, bit: int) -> None:
        machine = Machine(msr=SEND_ALWAYS)
        written = self.write(machine, ENABLE | 1 << bit)
        assert (written.ok, written.stored) == (False, False)
        assert machine.vcpu.apf.msr_val == SEND_ALWAYS
        assert not machine.vcpu.apf.send_user_only
        assert machine.of(ev.BroadcastQueued) == []

    def test_bit_1_was_reserved_in_the_seed(self) -> None:
        machine = Machine(msr=ENABLE, msr_reserved=0x3E)
        assert not self.write(machine, SEND_ALWAYS).ok
        assert machine.vcpu.apf.send_user_only

    def test_bad_address_is_stored_all_the_same(self) -> None:
        machine = Machine(msr=None)
        machine.vcpu.apf.send_user_only = True
        written = self.write(machine, 0x7F_0000_0003)
        assert (written.ok, written.stored) == (False, True)
        assert machine.vcpu.apf.enabled
        assert machine.vcpu.apf.send_user_only
        assert machine.of(ev.BroadcastQueued) == []

    def test_behind_a_bad_address_nothing_can_be_told(self) -> None:
        machine = Machine(msr=None)
        machine.wrmsr(1_000, 0x7F_0000_0001)
        machine.touch(50_000, 7)
        machine.run(400_000)
        assert [e.delivery for e in machine.of(ev.PageNotPresent)] == ["untold"]

    def test_a_good_address_afterwards_repairs_it(self) -> None:
        machine = Machine(msr=None)
        machine.wrmsr(1_000, 0x7F_0000_0001)
        machine.wrmsr(50_000, ENABLE)
        machine.touch(100_000, 7)
        machine.run(400_000)
        assert [e.delivery for e in machine.of(ev.PageNotPresent)] == ["injected"]

    def test_enabling_broadcasts_in_the_same_exit(self) -> None:
        machine = Machine(msr=None)
        machine.wrmsr(1_000, ENABLE)
        machine.run(400_000)
        (presented,) = machine.of(ev.ApfPresented)
        assert (presented.token, presented.gfn, presented.delivery) == (
            BROADCAST,
            None,
            "broadcast",
        )
        (entry,) = machine.entered()
        assert entry[1:] == ("broadcast", BROADCAST)
        assert not presented.prefaulted

    @pytest.mark.parametrize("needs", [False, True])
    def test_a_broadcast_without_memory_is_lost(self, needs: bool) -> None:
        machine = Machine(msr=None, broadcast_needs_memory=needs)
        machine.deliver(ev.AllocationFails(500, "vm", 0, "host", 1))
        assert self.write(machine, ENABLE).ok
        machine.run(100_000)
        assert len(machine.of(ev.BroadcastLost)) == needs
        assert len(machine.of(ev.BroadcastQueued)) == (not needs)
        assert len(machine.of(ev.ApfPresented)) == (not needs)
        assert machine.vm.host_alloc_failures == (not needs)
        assert machine.vcpu.apf.enabled

    def test_no_broadcast_while_a_completion_waits(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.wrmsr(200_000, ENABLE)
        machine.run(400_000)
        assert machine.of(ev.BroadcastQueued) == []
        assert [e.delivery for e in machine.of(ev.ApfPresented)] == ["token"]

    @pytest.mark.parametrize(("value", "user_only"), [(ENABLE, True), (SEND_ALWAYS, False)])
    def test_send_always(self, value: int, user_only: bool) -> None:
        machine = Machine(msr=None)
        self.write(machine, value)
        assert machine.vcpu.apf.send_user_only is user_only

    def test_other_msrs_are_refused(self) -> None:
        machine = Machine()
        machine.wrmsr(1_000, 1, msr=MSR_INT)
        machine.wrmsr(50_000, 1, msr=MSR_ACK)
        machine.run(200_000)
        assert [(e.ok, e.stored) for e in machine.of(ev.MsrWritten)] == [(False, False)] * 2


class TestDisable:
    """Nobody's end is waited for: of the kernel's other case see `TestClearingWaits`."""

    def disabled_with_three(self) -> Machine:
        machine = Machine(clear_waits=False)
        for number, gfn in enumerate((7, 8, 9)):
            machine.touch(1_000 + 20_000 * number, gfn)
        machine.arrives(90_000, 8, token=Token(0x1000))
        machine.sets(80_000, if_flag=False)
        machine.wrmsr(100_000, 0)
        return machine

    def test_withdraws_what_is_queued_in_order_of_start(self) -> None:
        machine = self.disabled_with_three()
        machine.run(200_000)
        (cleared,) = machine.of(ev.ApfCleared)
        assert (cleared.tokens, cleared.why) == ([0x0, 0x1000, 0x2000], "msr-disable")
        assert machine.vm.pages.held == {}

    def test_nothing_is_presented_and_the_pages_come_in(self) -> None:
        machine = self.disabled_with_three()
        machine.arrives(300_000, 7, token=Token(0x0))
        machine.arrives(300_000, 9, token=Token(0x2000))
        machine.exits(400_000)
        machine.run(500_000)
        assert machine.of(ev.ApfPresented) == []
        assert {int(machine.vm.pages.state[gfn]) for gfn in (7, 8, 9)} == {PRESENT}
        assert machine.vm.in_flight == {}

    def test_empties_the_hash(self) -> None:
        machine = self.disabled_with_three()
        machine.run(200_000)
        assert not any(machine.vcpu.apf.gfn_hash.find(Gfn(gfn)) for gfn in (7, 8, 9))

    def test_the_counter_goes_on(self) -> None:
        machine = self.disabled_with_three()
        machine.run(200_000)
        assert machine.vcpu.apf.next_token() == 0x3000

    def test_with_nothing_queued_nobody_is_told(self) -> None:
        machine = Machine()
        machine.wrmsr(1_000, 0)
        machine.run(50_000)
        assert machine.of(ev.ApfCleared) == []


class TestReset:
    def test_clears_msr_queue_hash_and_halt_but_not_the_counter(self) -> None:
        machine = Machine(msr=SEND_ALWAYS, host_kernel_rule="halt")
        machine.guest.cpl = 0
        machine.touch(1_000, 7)
        machine.deliver(ev.VcpuReset(100_000, "vm", 0, 0))
        machine.arrives(150_000, 7, token=Token(0))
        machine.run(300_000)
        apf = machine.vcpu.apf
        assert [e.why for e in machine.of(ev.ApfCleared)] == ["reset"]
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["reset"]
        assert (apf.msr_val, apf.halted, apf.queued, apf.id) == (0, False, 0, 1)
        assert not apf.gfn_hash.find(Gfn(7))
        assert not apf.send_user_only

    @pytest.mark.parametrize("drops", [False, True])
    def test_drops_what_was_pending_since_4_2(self, drops: bool) -> None:
        machine = Machine(reset_drops_exception=drops)
        machine.stalls(500, 100_000)
        machine.touch(1_000, 7)
        machine.deliver(ev.VcpuReset(50_000, "vm", 0, 0))
        machine.arrives(60_000, 7, token=Token(0))
        machine.run(300_000)
        assert [e.why for e in machine.of(ev.ExceptionDropped)] == ["reset"] * drops
        assert [e.token for e in machine.of(ev.ExceptionInjected)] == [0] * (not drops)


class TestClearingWaits:
    """cancel_work_sync() waits for a worker that runs (semantics 3.11)."""

    def two_outstanding(self, **more: object) -> Machine:
        """Pages 7 and 8 are read, by tokens 0 and 0x1000; the vcpu is in the guest."""
        machine = Machine(**more)  # type: ignore[arg-type]
        machine.touch(1_000, 7)
        machine.touch(20_000, 8)
        return machine

    def ends(self, machine: Machine) -> None:
        """The workers end, the second first; the last at 300 us."""
        machine.arrives(200_000, 8, token=Token(0x1000))
        machine.arrives(300_000, 7, token=Token(0))
        machine.exits(900_000)
        machine.run(1_000_000)

    def test_an_msr_write_lasts_until_the_slowest_has_ended(self) -> None:
        machine = self.two_outstanding()
        machine.wrmsr(100_000, 0)
        machine.run(150_000)
        assert machine.vcpu.mode is BLACKOUT
        (begun,) = machine.of(ev.ClearBegun)
        assert (begun.at_ns, begun.why, begun.tokens) == (100_000, "msr-disable", [0, 0x1000])
        assert machine.of(ev.MsrWritten) == []
        assert machine.of(ev.ApfCleared) == []
        self.ends(machine)
        (cleared,) = machine.of(ev.ApfCleared)
        assert (cleared.at_ns, cleared.tokens) == (302_400, [0, 0x1000])
        (written,) = machine.of(ev.MsrWritten)
        assert (written.at_ns, written.value, written.ok, written.by) == (302_400, 0, True, "guest")
        assert machine.vcpu.cpu["blackout"].ns == 202_400
        assert (302_400 + PASS_NS, "runs") in machine.entered()

    def test_what_ends_meanwhile_is_dropped_with_the_rest(self) -> None:
        machine = self.two_outstanding()
        machine.wrmsr(100_000, 0)
        self.ends(machine)
        assert [e.token for e in machine.of(ev.WorkerCompleted)] == [0x1000, 0]
        assert machine.of(ev.ApfPresented) == []
        assert machine.vm.silent == {"msr-disable": 2}
        assert machine.vm.pages.held == {}
        assert {int(machine.vm.pages.state[gfn]) for gfn in (7, 8)} == {PRESENT}

    def test_interrupts_wait_too(self) -> None:
        machine = self.two_outstanding()
        machine.wrmsr(100_000, 0)
        machine.deliver(ev.IrqArrived(150_000, "vm", 0, 0))
        self.ends(machine)
        assert (302_400 + PASS_NS, "irq", IRQ_DEVICE) in machine.entered()

    def test_with_all_of_them_ended_it_takes_no_time(self) -> None:
        machine = self.two_outstanding()
        machine.sets(90_000, if_flag=False)
        machine.wrmsr(400_000, 0)
        self.ends(machine)
        assert machine.of(ev.ClearBegun) == []
        assert machine.of(ev.ApfCleared)[0].at_ns == 400_000

    @pytest.mark.parametrize("halted", [True, False])
    def test_a_reset_of_a_vcpu_wherever_it_is(self, halted: bool) -> None:
        machine = self.two_outstanding()
        if halted:
            machine.hlt(90_000)
        machine.deliver(ev.VcpuReset(100_000, "vm", 0, 0))
        self.ends(machine)
        assert [e.why for e in machine.of(ev.ClearBegun)] == ["reset"]
        assert [e.at_ns for e in machine.of(ev.ApfCleared)] == [302_400]
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["reset"] * halted
        assert machine.vcpu.apf.msr_val == 0
        assert (302_400 + PASS_NS, "runs") in machine.entered()

    @pytest.mark.parametrize("behind", [True, False])
    def test_init_between_a_fault_and_its_halt(self, behind: bool) -> None:
        """Up to 3.9 the request outlives the reset, and halts for a page that nobody reads."""
        machine = Machine(init_behind_halt=behind, clear_waits=False)
        machine.sets(500, cpl=0)
        machine.touch(10_000, 7)
        machine.deliver(ev.VcpuReset(10_500, "vm", 0, 0))
        machine.run(50_000)
        assert [e.why for e in machine.of(ev.VcpuHalted)] == ["stale"] * (not behind)

    def test_an_smi_between_a_fault_and_its_halt_ends_the_halt(self) -> None:
        machine = Machine(profile="4.4", clear_waits=False)
        machine.sets(500, cpl=0)
        machine.touch(10_000, 7)
        machine.deliver(ev.SmiArrived(10_500, "vm", 0, 0, 10_000))
        machine.run(50_000)
        assert machine.of(ev.ApfCleared) != []
        assert machine.of(ev.VcpuHalted) == []

    def reset_while_it_reads(self, until_ns: int) -> Machine:
        """The thread waits for page 9 itself as it is reset."""
        machine = self.two_outstanding()
        machine.sets(80_000, if_flag=False)
        machine.touch(90_000, 9)
        machine.deliver(ev.VcpuReset(100_000, "vm", 0, 0))
        machine.arrives(until_ns, 9)
        self.ends(machine)
        return machine

    def test_a_reset_while_the_thread_reads_a_page_itself_comes_behind_it(self) -> None:
        machine = self.reset_while_it_reads(250_000)
        assert [e.at_ns for e in machine.of(ev.ClearBegun)] == [252_400]
        assert [e.at_ns for e in machine.of(ev.ApfCleared)] == [302_400]
        assert machine.vm.pages.mapped[9]

    def test_or_finds_nothing_left_to_wait_for(self) -> None:
        machine = self.reset_while_it_reads(400_000)
        assert machine.of(ev.ClearBegun) == []
        assert [e.at_ns for e in machine.of(ev.ApfCleared)] == [402_400]

    def test_a_second_reason_comes_behind_the_first(self) -> None:
        machine = self.two_outstanding()
        machine.wrmsr(100_000, 0)
        machine.deliver(ev.VcpuReset(150_000, "vm", 0, 0))
        self.ends(machine)
        assert [e.why for e in machine.of(ev.ClearBegun)] == ["msr-disable"]
        assert [e.why for e in machine.of(ev.ApfCleared)] == ["msr-disable"]
        assert [e.at_ns for e in machine.of(ev.MsrWritten)] == [302_400]

    @pytest.mark.parametrize(("profile", "begun"), [("6.12", ["cr0-pg"]), ("6.19", [])])
    def test_cr0_pg_while_it_clears(self, profile: str, begun: list[str]) -> None:
        machine = Machine(profile, msr=AS_INT)
        machine.touch(1_000, 7)
        machine.deliver(ev.Cr0PgToggled(100_000, "vm", 0, 0, 50_000))
        machine.arrives(300_000, 7, token=Token(0x1000))
        machine.run(400_000)
        assert [e.why for e in machine.of(ev.ClearBegun)] == begun
        assert len(machine.of(ev.ApfPresented)) == (not begun)

    def test_an_smi_stays_in_smm_as_long_as_it_would(self) -> None:
        machine = Machine("6.12", msr=AS_INT)
        machine.touch(1_000, 7)
        machine.hlt(50_000)
        machine.deliver(ev.SmiArrived(100_000, "vm", 0, 0, 400_000))
        machine.arrives(300_000, 7, token=Token(0x1000))
        machine.run(900_000)
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["smi"]
        assert machine.entered()[-1] == (500_000 + PASS_NS, "runs")

    def test_a_cpu_that_comes_up(self) -> None:
        machine = self.two_outstanding()
        machine.run(50_000)
        vcpu = machine.vcpu
        vcpu.park(50_000)
        vcpu.init_sipi(100_000, 0)
        assert vcpu.mode is BLACKOUT
        self.ends(machine)
        assert [e.at_ns for e in machine.of(ev.ApfCleared)] == [302_400]
        assert machine.entered()[-2] == (302_400 + PASS_NS, "runs")

    def test_a_reset_of_a_cpu_that_is_offline_stops_nobody(self) -> None:
        machine = self.two_outstanding()
        machine.run(50_000)
        vcpu = machine.vcpu
        vcpu.park(50_000)
        machine.deliver(ev.VcpuReset(100_000, "vm", 0, 0))
        machine.run(250_000)
        self.ends(machine)
        assert machine.of(ev.ClearBegun) == []
        assert [e.at_ns for e in machine.of(ev.ApfCleared)] == [300_000]
        assert vcpu.mode is OFFLINE

    def test_which_comes_up_behind_the_same_workers(self) -> None:
        machine = self.two_outstanding()
        machine.run(50_000)
        vcpu = machine.vcpu
        vcpu.park(50_000)
        machine.deliver(ev.VcpuReset(100_000, "vm", 0, 0))
        machine.run(150_000)
        vcpu.init_sipi(150_000, 0)
        self.ends(machine)
        assert [e.at_ns for e in machine.of(ev.ClearBegun)] == [150_000]
        assert [e.at_ns for e in machine.of(ev.ApfCleared)] == [302_400]

    @pytest.mark.parametrize("at_ns", [150_000, 301_000])
    def test_a_migration_takes_the_thread_out(self, at_ns: int) -> None:
        machine = self.two_outstanding()
        machine.wrmsr(100_000, 0)
        machine.deliver(ev.VmMigrated(at_ns, "vm", 0, 10_000))
        self.ends(machine)
        assert [e.why for e in machine.of(ev.ApfCleared)] == ["migration"]
        assert [e.value for e in machine.of(ev.MsrWritten)] == [0, 0]
        assert machine.vcpu.mode is GUEST
        assert machine.vm.pages.held == {}


class TestMigration:
    def migrated(self) -> Machine:
        machine = Machine(vcpus=2)
        machine.touch(1_000, 7)
        machine.touch(2_000, 8, vcpu=1)
        machine.deliver(ev.VmMigrated(100_000, "vm", 0, 50_000))
        return machine

    def test_every_vcpu_is_restored_and_broadcasts_after_its_next_exit(self) -> None:
        machine = self.migrated()
        machine.exits(200_000)
        machine.exits(200_000, vcpu=1)
        machine.run(400_000)
        assert [(e.vcpu, e.tokens) for e in machine.of(ev.ApfCleared)] == [(0, [0x0]), (1, [0x1])]
        restored = machine.of(ev.MsrWritten)
        assert [(e.vcpu, e.by, e.ok) for e in restored] == [(0, "host", True), (1, "host", True)]
        for vcpu in (0, 1):
            assert [seen[1] for seen in machine.entered(vcpu)] == [
                "not_present",
                "runs",
                "broadcast",
            ]

    def test_stands_still_for_the_pause(self) -> None:
        machine = self.migrated()
        machine.run(400_000)
        assert machine.entered()[-1][0] >= 150_000

    def test_counters_start_again_in_a_new_epoch(self) -> None:
        machine = self.migrated()
        machine.touch(300_000, 9)
        machine.run(400_000)
        fault = machine.of(ev.PageNotPresent)[-1]
        assert (fault.token, fault.epoch) == (0x0, 1)

    def test_what_no_msr_carries_is_that_of_a_new_vcpu(self) -> None:
        """MSR on at a bad address: the restore is refused, so send_user_only is not set again."""
        machine = Machine(msr=0)
        machine.wrmsr(1_000, ENABLE)
        machine.wrmsr(20_000, BAD_ADDRESS)
        machine.sets(40_000, cpl=0)
        machine.touch(50_000, 7)
        machine.deliver(ev.VmMigrated(100_000, "vm", 0, 10_000))
        machine.touch(200_000, 8)
        machine.run(400_000)
        assert [e.delivery for e in machine.of(ev.PageNotPresent)] == ["halted", "untold"]

    def test_a_completion_of_the_old_epoch_tells_nobody(self) -> None:
        machine = self.migrated()
        machine.deliver(ev.PageReady(200_000, "vm", 0, 0, Gfn(7), 0, Token(0x0)))
        machine.run(400_000)
        assert machine.of(ev.WorkerCompleted) == []
        assert machine.vm.pages.state[7] == PRESENT

    def test_asking_for_the_same_page_again_joins_what_is_under_way(self) -> None:
        machine = self.migrated()
        machine.touch(200_000, 7)
        machine.deliver(ev.PageReady(300_000, "vm", 0, 0, Gfn(7), 0, Token(0x0)))
        machine.run(400_000)
        fault = machine.of(ev.PageNotPresent)[-1]
        assert (fault.token, fault.epoch, fault.joined) == (0x0, 1, True)
        (done,) = machine.of(ev.WorkerCompleted)
        assert done.at_ns == 302_400

    def test_of_a_halted_guest_without_apf(self) -> None:
        machine = Machine(msr=None, config={"apf": "nonpv"})
        machine.touch(1_000, 7)
        machine.deliver(ev.VmMigrated(100_000, "vm", 0, 0))
        machine.run(400_000)
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["signal"]
        assert machine.of(ev.MsrWritten) == []
        assert machine.vcpu.mode is GUEST


class TestReadyByInterrupt:
    """5.8: a token slot, a vector, and an acknowledgement."""

    def machine(self, profile: str = "5.8") -> Machine:
        machine = Machine(profile, msr=AS_INT)
        machine.vcpu.apf.id = 1
        machine.guest.apf_vector = machine.vcpu.apf.int_vector = 0xF3
        machine.touch(1_000, 7)
        machine.touch(50_000, 8)
        machine.arrives(200_000, 7, token=Token(0x1000))
        machine.arrives(210_000, 8, token=Token(0x2000))
        return machine

    def test_one_token_until_it_is_acknowledged(self) -> None:
        machine = self.machine()
        machine.run(400_000)
        assert [e.token for e in machine.of(ev.InterruptQueued)] == [0x1000]
        assert machine.guest.area.token == 0x1000
        assert len(machine.vcpu.apf.done) == 1

    def test_the_acknowledgement_lets_the_next_one_through(self) -> None:
        machine = self.machine()
        machine.run(400_000)
        machine.guest.area.token = Token(0)
        machine.wrmsr(410_000, 1, msr=MSR_ACK)
        machine.vcpu.kick(405_000)
        machine.run(600_000)
        assert [e.token for e in machine.of(ev.InterruptQueued)] == [0x1000, 0x2000]
        (written,) = machine.of(ev.MsrWritten)
        assert (written.msr, written.value, written.ok, written.stored) == (MSR_ACK, 1, True, False)

    def test_without_the_slot_zeroed_it_does_not(self) -> None:
        machine = self.machine()
        machine.run(400_000)
        machine.wrmsr(410_000, 1, msr=MSR_ACK)
        machine.vcpu.kick(405_000)
        machine.run(600_000)
        assert [e.token for e in machine.of(ev.InterruptQueued)] == [0x1000]

    def test_on_another_vector_it_is_an_interrupt_like_any_other(self) -> None:
        machine = self.machine()
        machine.vcpu.apf.int_vector = 0x21
        machine.run(400_000)
        assert [e.token for e in machine.of(ev.InterruptQueued)] == [0x1000]
        assert [seen[2] for seen in machine.entered() if seen[1] == "irq"] == [IRQ_DEVICE]

    @pytest.mark.parametrize("vector", [0, 15])
    def test_a_vector_of_the_lowest_priority_class_is_never_delivered(self, vector: int) -> None:
        machine = self.machine()
        machine.vcpu.apf.int_vector = vector
        machine.run(400_000)
        assert [(e.token, e.lost) for e in machine.of(ev.InterruptQueued)] == [(0x1000, True)]
        assert [seen[2] for seen in machine.entered() if seen[1] == "irq"] == []

    def test_on_the_one_with_the_handler_it_is_page_ready(self) -> None:
        machine = self.machine()
        machine.run(400_000)
        assert [seen[2] for seen in machine.entered() if seen[1] == "irq"] == [IRQ_APF]

    def lapic(self, profile: str) -> Machine:
        """Off while both pages come; on again from 300 us on."""
        machine = self.machine(profile)
        machine.deliver(ev.LapicSwitched(100_000, "vm", 0, 0, on=False))
        machine.deliver(ev.LapicSwitched(300_000, "vm", 0, 0, on=True))
        return machine

    def test_a_lapic_that_is_off_loses_the_interrupt_and_the_slot_stays_taken(self) -> None:
        """Before 2f15d027c05f; whatever completes from then on waits."""
        machine = self.lapic("5.8")
        machine.hlt(350_000)
        machine.hlt(360_000)
        machine.run(400_000)
        assert [(e.token, e.lost) for e in machine.of(ev.InterruptQueued)] == [(0x1000, True)]
        assert machine.guest.area.token == 0x1000
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["completion", "completion"]

    def test_since_5_13_a_ready_waits_for_the_lapic(self) -> None:
        machine = self.lapic("5.14")
        machine.run(400_000)
        (queued,) = machine.of(ev.InterruptQueued)
        assert (queued.token, queued.lost) == (0x1000, False)
        assert queued.at_ns > 300_000
        assert [seen[2] for seen in machine.entered() if seen[1] == "irq"] == [IRQ_APF]

    @pytest.mark.parametrize("wakes", [True, False])
    def test_a_ready_that_waits_for_the_lapic_ends_hlt_though_nothing_comes(
        self, wakes: bool
    ) -> None:
        """Any kernel looks at `done` alone; what mends it also asks whether READY may go."""
        machine = Machine(profile="5.14", held_back_wakes=wakes)
        machine.wrmsr(100, 0xEC, MSR_INT)
        machine.wrmsr(1_000, 0x1009)
        machine.deliver(ev.LapicSwitched(4_000, "vm", 0, 0, False))
        machine.touch(10_000, 7)
        machine.hlt(20_000)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(200_000)
        assert [e.why for e in machine.of(ev.VcpuResumed)] == ["completion"] * wakes
        assert "token" not in {e.delivery for e in machine.of(ev.ApfPresented)}

    def test_a_lapic_that_is_off_takes_no_other_interrupt_either(self) -> None:
        machine = self.machine()
        machine.deliver(ev.LapicSwitched(60_000, "vm", 0, 0, on=False))
        machine.deliver(ev.IrqArrived(70_000, "vm", 0, 0))
        machine.run(150_000)
        assert "irq" not in [seen[1] for seen in machine.entered()]

    @pytest.mark.parametrize(
        ("profile", "value", "ok"),
        [
            ("5.10", AS_INT, False),
            ("5.10", 0x1000, False),
            ("5.10", 0, True),
            ("5.8", 0, False),
            ("5.4", ENABLE, True),
        ],
    )
    def test_without_a_lapic_in_the_kernel_the_enable_msr_takes_0_alone_in_5_8_nothing(
        self, profile: str, value: int, ok: bool
    ) -> None:
        machine = Machine(profile, msr=None, config={"irqchip": False})
        machine.wrmsr(1_000, value)
        machine.run(50_000)
        assert [(e.ok, e.stored) for e in machine.of(ev.MsrWritten)] == [(ok, ok)]
        assert machine.vcpu.apf.msr_val == (value if ok else 0)

    def test_without_a_lapic_in_the_kernel_there_is_no_vector(self) -> None:
        machine = Machine("5.8", msr=None, config={"irqchip": False})
        machine.wrmsr(1_000, 0xF3, msr=MSR_INT)
        machine.run(50_000)
        assert [(e.ok, e.stored) for e in machine.of(ev.MsrWritten)] == [(False, False)]

    def test_vectors_are_8_bits(self) -> None:
        machine = Machine("5.8", msr=AS_INT)
        machine.wrmsr(1_000, 0xF3, msr=MSR_INT)
        machine.wrmsr(50_000, 0x100, msr=MSR_INT)
        machine.run(100_000)
        assert [e.ok for e in machine.of(ev.MsrWritten)] == [True, False]
        assert machine.vcpu.apf.int_vector == 0xF3


def test_reads_go_on_after_a_withdrawal_until_nobody_needs_them() -> None:
    machine = Machine(clear_waits=False)
    machine.touch(1_000, 7)
    machine.wrmsr(50_000, 0)
    machine.run(90_000)
    assert machine.vm.in_flight[Gfn(7)].waiters == []
    assert machine.vm.pages.state[7] != ABSENT
    assert machine.of(ev.MsrWritten)[-1].msr == MSR_EN
    assert machine.entered()[-1][0] == 50_000 + PASS_NS
