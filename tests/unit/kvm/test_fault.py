"""What a nested page fault becomes: synchronous, injected, halted, or neither (3.1 to 3.5)."""

from __future__ import annotations

import pytest

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.kvm.gfn_hash import SLOTS
from pagewake.kvm.modes import BLACKOUT
from pagewake.kvm.page_table import MAPPED, PRESENT, UNTOUCHED
from pagewake.kvm.ports import WAIT, FaultContext, NestedPort, PendingException
from tests.unit.kvm.scripted import ENABLE, ENTRY_NS, SEND_ALWAYS, Machine

EXIT_NS = 500
FAULT_NS = 2_000
FIRST_TOUCH_NS = 3_300
HOP_NS = 2_400
WAKE_NS = 2_400


def one_fault(machine: Machine) -> ev.PageNotPresent:
    machine.touch(1_000, 7)
    machine.run(500_000)
    (fault,) = machine.of(ev.PageNotPresent)
    return fault


class TestStateOfThePage:
    def test_mapped_by_another_vcpu_meanwhile_costs_the_exit(self) -> None:
        machine = Machine()
        machine.vm.pages.state[7] = MAPPED
        machine.touch(1_000, 7)
        machine.run(500_000)
        assert machine.of(ev.PageNotPresent) == []
        assert machine.entered() == [(1_000 + EXIT_NS + ENTRY_NS, "runs")]

    def test_present_is_a_minor_fault(self) -> None:
        machine = Machine()
        machine.vm.pages.state[7] = PRESENT
        machine.touch(1_000, 7)
        machine.run(500_000)
        assert machine.of(ev.PageNotPresent) == []
        assert machine.entered() == [(1_000 + EXIT_NS + FAULT_NS + ENTRY_NS, "runs")]
        assert machine.vm.pages.mapped[7]

    def test_untouched_takes_a_frame_of_the_stock(self) -> None:
        machine = Machine(stock=8)
        machine.vm.pages.state[7] = UNTOUCHED
        machine.touch(1_000, 7)
        machine.run(500_000)
        assert machine.of(ev.PageNotPresent) == []
        assert machine.vm.stock == 7
        assert machine.entered() == [(1_000 + EXIT_NS + FIRST_TOUCH_NS + ENTRY_NS, "runs")]

    def test_untouched_without_stock_waits_and_is_never_asynchronous(self) -> None:
        machine = Machine(stock=0)
        machine.vm.pages.state[7] = UNTOUCHED
        fault = one_fault(machine)
        assert (fault.delivery, fault.why, fault.first_touch) == ("synchronous", "stock", True)
        assert machine.vcpu.mode is BLACKOUT
        assert machine.of(ev.ApfStarted) == []

    def test_a_first_touch_in_flight_cannot_be_joined_asynchronously(self) -> None:
        machine = Machine(stock=0, vcpus=2)
        machine.vm.pages.state[7] = UNTOUCHED
        machine.touch(1_000, 7)
        machine.touch(2_000, 7, vcpu=1)
        machine.run(500_000)
        second = machine.of(ev.PageNotPresent)[1]
        assert (second.why, second.joined) == ("first_touch", True)


class TestSynchronousMedium:
    def zram(self, stock: int, **switches: object) -> Machine:
        config = {"medium": "zram", "media": {"zram": 1_500}}
        return Machine(stock=stock, config=config, **switches)  # type: ignore[arg-type]

    def test_is_served_at_its_cost_in_the_shard(self) -> None:
        machine = self.zram(stock=8)
        fault = one_fault(machine)
        assert (fault.delivery, fault.why, fault.served) == ("synchronous", "medium", True)
        assert machine.entered() == [(1_000 + EXIT_NS + FAULT_NS + 1_500 + ENTRY_NS, "runs")]
        assert not machine.vm.pages.dirty[7]

    def test_asks_for_write_access_too_in_the_posted_series(self) -> None:
        machine = self.zram(stock=8, sync_writes=True)
        one_fault(machine)
        assert machine.vm.pages.dirty[7]

    def test_without_stock_it_waits_for_a_frame(self) -> None:
        machine = self.zram(stock=0)
        fault = one_fault(machine)
        assert (fault.why, fault.served) == ("medium", False)
        assert machine.vcpu.mode is BLACKOUT


class TestCannotDoAsyncPf:
    def synchronous(self, machine: Machine) -> str | None:
        fault = one_fault(machine)
        assert (fault.delivery, fault.token) == ("synchronous", None)
        assert machine.of(ev.ApfStarted) == []
        assert machine.vcpu.apf.id == 0
        assert machine.vcpu.mode is BLACKOUT
        return fault.why

    def test_a_faithful_2_6_38_never_does(self) -> None:
        assert self.synchronous(Machine("2.6.38")) == "gup"

    def test_switched_off_at_the_host(self) -> None:
        assert self.synchronous(Machine(config={"apf": "off"})) == "off"

    def test_interrupt_controller_in_userspace(self) -> None:
        assert self.synchronous(Machine(config={"irqchip": False})) == "irqchip"

    def test_interrupts_off(self) -> None:
        machine = Machine()
        machine.guest.if_flag = False
        assert self.synchronous(machine) == "interrupts_off"

    def test_interrupt_shadow(self) -> None:
        machine = Machine()
        machine.guest.shadow = True
        assert self.synchronous(machine) == "interrupts_off"

    def test_an_exception_is_pending(self) -> None:
        machine = Machine()
        machine.run(500)
        machine.vcpu.exc = PendingException(Token(0x5000), "ready", 1)
        step = machine.vcpu.exit_fault(1_000, FaultContext(Gfn(7), False, 3, 1, "task"))
        assert step == WAIT
        (fault,) = machine.of(ev.PageNotPresent)
        assert (fault.delivery, fault.why) == ("synchronous", "reinjection")

    def test_what_does_not_matter_is_the_msr(self) -> None:
        assert one_fault(Machine(msr=None)).delivery == "halted"

    def test_nor_an_nmi_that_only_waits(self) -> None:
        machine = Machine()
        machine.run(500)
        machine.vcpu.nmi = False
        machine.vcpu.exit_fault(1_000, FaultContext(Gfn(7), False, 3, 1, "task"))
        assert machine.of(ev.PageNotPresent)[0].delivery == "injected"


class TestReclaim:
    """A VM at its limit, from 5.8: the frame comes before the asynchronous fault (3.3)."""

    def full(self, vcpus: int = 1, **switches: object) -> Machine:
        """Its limit is 2 pages, and both are in memory."""
        machine = Machine(
            "6.12",
            msr=0x1009,
            stock=0,
            limit=2,
            vcpus=vcpus,
            **switches,  # type: ignore[arg-type]
        )
        for gfn in (100, 101):
            machine.vm.pages.state[gfn] = PRESENT
        machine.vm.room = 0
        return machine

    def test_the_thread_waits_and_then_the_fault_is_asynchronous(self) -> None:
        machine = self.full()
        machine.touch(1_000, 7)
        machine.run(50_000)
        assert [(e.vcpu, e.gfn) for e in machine.of(ev.FrameAwaited)] == [(0, 7)]
        assert machine.of(ev.PageNotPresent) == []
        assert machine.vcpu.mode is BLACKOUT
        machine.deliver(ev.PageUnmapped(100_000, "vm", 0, [Gfn(100)]))
        machine.run(200_000)
        (found,) = machine.of(ev.FrameFound)
        assert found.at_ns == 100_000 + WAKE_NS
        (fault,) = machine.of(ev.PageNotPresent)
        assert (fault.at_ns, fault.delivery) == (found.at_ns, "injected")
        assert machine.vcpu.cpu["blackout"].ns == found.at_ns - 1_000
        assert machine.vm.room == 0

    def test_with_room_under_the_limit_nobody_waits(self) -> None:
        machine = self.full()
        machine.vm.room = 1
        assert one_fault(machine).delivery == "injected"
        assert machine.of(ev.FrameAwaited) == []

    def test_up_to_5_7_the_page_in_waits_and_not_the_thread(self) -> None:
        assert one_fault(self.full(reclaim="worker")).delivery == "injected"

    def test_one_frame_is_for_one_of_them_in_order(self) -> None:
        machine = self.full(vcpus=2)
        machine.touch(1_000, 7)
        machine.touch(2_000, 8, vcpu=1)
        machine.deliver(ev.PageUnmapped(100_000, "vm", 0, [Gfn(100)]))
        machine.run(200_000)
        assert [e.gfn for e in machine.of(ev.FrameFound)] == [7]
        machine.deliver(ev.PageUnmapped(300_000, "vm", 0, [Gfn(101)]))
        machine.run(400_000)
        assert [e.gfn for e in machine.of(ev.FrameFound)] == [7, 8]

    def test_a_frame_that_is_not_needed_goes_to_the_next(self) -> None:
        machine = self.full(vcpus=2)
        machine.touch(1_000, 7)
        machine.touch(2_000, 8, vcpu=1)
        machine.run(50_000)
        machine.vm.pages.state[7] = PRESENT
        machine.deliver(ev.PageUnmapped(100_000, "vm", 0, [Gfn(100)]))
        machine.run(200_000)
        assert [e.gfn for e in machine.of(ev.FrameFound)] == [7, 8]
        assert [e.gfn for e in machine.of(ev.PageNotPresent)] == [8]

    def test_a_fault_that_joins_needs_none(self) -> None:
        machine = self.full(vcpus=2)
        machine.vm.room = 1
        machine.touch(1_000, 7)
        machine.touch(2_000, 7, vcpu=1)
        machine.run(50_000)
        assert [e.joined for e in machine.of(ev.PageNotPresent)] == [False, True]

    def test_a_vm_that_is_over_meanwhile_needs_none(self) -> None:
        machine = self.full()
        machine.touch(1_000, 7)
        machine.run(50_000)
        machine.vm.freeze(60_000)
        machine.deliver(ev.PageUnmapped(100_000, "vm", 0, [Gfn(100)]))
        machine.run(200_000)
        assert machine.of(ev.FrameFound) == []
        assert machine.vm.to_host[-1].n == 0

    def test_a_reset_meanwhile_comes_behind_it(self) -> None:
        machine = self.full()
        machine.vm.room = 1
        machine.touch(1_000, 7)
        machine.touch(20_000, 8)
        machine.deliver(ev.VcpuReset(30_000, "vm", 0, 0))
        machine.deliver(ev.PageUnmapped(100_000, "vm", 0, [Gfn(100)]))
        machine.arrives(200_000, 7, token=Token(0x1000))
        machine.run(400_000)
        assert [e.gfn for e in machine.of(ev.FrameFound)] == [8]
        assert [e.at_ns for e in machine.of(ev.ClearBegun)] == [100_000 + WAKE_NS]
        assert [e.gfn for e in machine.of(ev.PageNotPresent)] == [7]


class TestSubmission:
    """What the thread takes to submit a window comes before it looks for its page (3.3)."""

    REQUEST_NS = 10_000
    PAGE_NS = 1_000

    def machine(self, profile: str = "6.12", page_cluster: int = 3) -> Machine:
        return Machine(
            profile,
            msr=0x1009,
            config={"read_ahead": "vma", "page_cluster": page_cluster},
            costs={"read_request_ns": self.REQUEST_NS, "read_page_ns": self.PAGE_NS},
        )

    def walk(self, machine: Machine) -> ev.PageRequested:
        """The second of two touches, side by side, reads as far as its window goes."""
        machine.touch(1_000, 7)
        machine.touch(60_000, 8)
        machine.run(60_001)
        return machine.of(ev.PageRequested)[-1]

    def test_a_page_that_comes_until_then_is_mapped_and_nobody_is_told(self) -> None:
        machine = self.machine()
        asked = self.walk(machine)
        assert machine.vcpu.mode is BLACKOUT
        took_ns = sum(self.REQUEST_NS + len(run) * self.PAGE_NS for run in asked.ahead)
        machine.arrives(60_000 + took_ns - 1, 8)
        machine.run(200_000)
        assert machine.of(ev.ReadSubmitted)[-1].at_ns == 60_000 + took_ns
        assert [e.gfn for e in machine.of(ev.PageNotPresent)] == [7]
        assert machine.vcpu.cpu["blackout"].ns == (self.REQUEST_NS + self.PAGE_NS) + took_ns

    @pytest.mark.parametrize(("profile", "plugged"), [("2.6.39", False), ("3.10", True)])
    def test_the_device_has_a_window_behind_all_its_pages_since_3_6(
        self, profile: str, plugged: bool
    ) -> None:
        asked = self.walk(self.machine(profile))
        pages = sum(map(len, asked.ahead))
        assert pages > 1
        assert asked.plugged_ns == (pages * self.PAGE_NS if plugged else 0)

    def test_one_that_does_not_is_waited_for_asynchronously(self) -> None:
        machine = self.machine()
        self.walk(machine)
        machine.run(200_000)
        (_, fault) = machine.of(ev.PageNotPresent)
        assert (fault.gfn, fault.delivery, fault.joined) == (8, "injected", True)
        assert fault.at_ns == machine.of(ev.ReadSubmitted)[-1].at_ns
        machine.arrives(300_000, 8)
        machine.run(400_000)
        (done,) = machine.of(ev.WorkerCompleted)
        assert (done.gfn, done.at_ns) == (8, 300_000)

    def test_a_page_that_is_polled_for_is_submitted_first(self) -> None:
        machine = self.machine("6.1", page_cluster=0)
        machine.touch(1_000, 7)
        machine.run(100_000)
        (fault,) = machine.of(ev.PageNotPresent)
        assert (fault.delivery, fault.why) == ("synchronous", "poll")
        assert fault.at_ns == 1_000 + self.REQUEST_NS + self.PAGE_NS


class TestBlackout:
    @pytest.mark.parametrize(("profile", "dirty"), [("posted-v7", True), ("2.6.38", False)])
    def test_asks_for_what_the_guest_wanted_since_2_6_38(self, profile: str, dirty: bool) -> None:
        machine = Machine(profile, config={"apf": "off"})
        machine.touch(1_000, 7)
        machine.arrives(300_000, 7)
        machine.run(500_000)
        assert machine.vm.pages.dirty[7] == dirty

    def test_lasts_until_the_page_is_in_and_maps_it(self) -> None:
        machine = Machine("2.6.38")
        machine.touch(1_000, 7)
        machine.arrives(300_000, 7)
        machine.run(500_000)
        assert machine.vm.pages.mapped[7]
        ran_ns = 300_000 + WAKE_NS + FAULT_NS + ENTRY_NS
        assert machine.entered() == [(ran_ns, "runs")]
        assert machine.vcpu.cpu["blackout"].ns == 300_000 + WAKE_NS - 1_000
        assert machine.vm.pages.held == {}

    def test_no_interrupt_gets_in(self) -> None:
        machine = Machine("2.6.38")
        machine.touch(1_000, 7)
        machine.deliver(ev.IrqArrived(50_000, "vm", 0, 0))
        machine.deliver(ev.NmiArrived(60_000, "vm", 0, 0))
        machine.run(200_000)
        assert machine.entered() == []
        machine.arrives(300_000, 7)
        machine.run(500_000)
        assert [seen[1] for seen in machine.entered()] == ["nmi"]


class TestInjectOrHalt:
    """The table of semantics 3.5."""

    @pytest.mark.parametrize(
        ("msr", "cpl", "writable", "delivery", "why"),
        [
            (None, 3, True, "halted", "apf_off"),
            (None, 0, True, "halted", "apf_off"),
            (ENABLE, 0, True, "halted", "kernel_mode"),
            (ENABLE, 3, True, "injected", None),
            (ENABLE, 1, True, "injected", None),
            (SEND_ALWAYS, 0, True, "injected", None),
            (SEND_ALWAYS, 3, True, "injected", None),
            (ENABLE, 3, False, "untold", None),
            (SEND_ALWAYS, 0, False, "untold", None),
            (ENABLE, 0, False, "halted", "kernel_mode"),
        ],
    )
    def test_row(
        self, msr: int | None, cpl: int, writable: bool, delivery: str, why: str | None
    ) -> None:
        machine = Machine(msr=msr)
        machine.guest.cpl = cpl
        machine.vcpu.area_failures = 0 if writable else -1
        fault = one_fault(machine)
        assert (fault.delivery, fault.why, fault.token) == (delivery, why, 0)
        halted = [event.why for event in machine.of(ev.VcpuHalted)]
        assert halted == ([why] if delivery == "halted" else [])
        entries = [seen[1:] for seen in machine.entered() if seen[1] != "runs"]
        assert entries == ([("not_present", 0)] if delivery == "injected" else [])

    @pytest.mark.parametrize(
        ("msr", "cpl", "why"),
        [(ENABLE, 3, "protected"), (ENABLE, 0, "protected"), (SEND_ALWAYS, 3, None),
         (SEND_ALWAYS, 0, None)],
    )  # fmt: skip
    def test_a_protected_guest_is_told_only_if_it_takes_it_anywhere(
        self, msr: int, cpl: int, why: str | None
    ) -> None:
        machine = Machine(msr=msr, config={"protected": True})
        machine.guest.cpl = cpl
        fault = one_fault(machine)
        assert (fault.delivery, fault.why) == ("halted" if why else "injected", why)

    def test_before_patch_12_kernel_mode_always_halts(self) -> None:
        machine = Machine(msr=SEND_ALWAYS, host_kernel_rule="halt")
        machine.guest.cpl = 0
        assert one_fault(machine).why == "kernel_mode"

    def test_the_gfn_is_in_the_hash_whatever_the_guest_was_told(self) -> None:
        for machine in (Machine(), Machine(msr=None)):
            one_fault(machine)
            assert machine.vcpu.apf.gfn_hash.find(Gfn(7))

    def test_reason_is_written_before_the_exception_is_queued(self) -> None:
        machine = Machine()
        one_fault(machine)
        (written,), (queued,) = machine.of(ev.ReasonWritten), machine.of(ev.ExceptionQueued)
        assert (written.reason, written.ok) == (1, True)
        assert written.n < queued.n
        assert (queued.kind, queued.token, queued.if_flag) == ("not_present", 0, True)

    def test_untold_the_retry_is_a_double_fault(self) -> None:
        machine = Machine()
        machine.vcpu.area_failures = 1
        machine.touch(1_000, 7)
        machine.touch(2_000, 7)
        machine.run(500_000)
        assert [e.outcome for e in machine.of(ev.ApfStarted)] == ["queued", "double_fault"]
        assert [e.why for e in machine.of(ev.VcpuHalted)] == ["double_fault"]

    def test_since_5_3_what_cannot_be_told_is_halted(self) -> None:
        machine = Machine(untold_halts=True)
        machine.vcpu.area_failures = 1
        assert one_fault(machine).delivery == "untold"
        assert [e.why for e in machine.of(ev.VcpuHalted)] == ["write_failed"]


class TestGuestMode:
    """A nested guest runs, and L1 has opted in, or not."""

    def fault(self, opted_in: bool, profile: str, unpaged: bool = False) -> ev.PageNotPresent:
        machine = Machine(profile, msr=0x1009)
        machine.guest.guest_mode, machine.guest.depth = True, 2
        machine.vcpu.nested = DeliversToL1()
        machine.vcpu.apf.as_vmexit = opted_in
        machine.vcpu.unpaged_until_ns = 100_000 if unpaged else 0
        return one_fault(machine)

    @pytest.mark.parametrize(
        ("profile", "delivery", "why"),
        [("4.19", "synchronous", "guest_mode"), ("5.4", "halted", "nested")],
    )
    def test_without_opting_in_it_is_synchronous_until_5_3(
        self, profile: str, delivery: str, why: str
    ) -> None:
        fault = self.fault(False, profile)
        assert (fault.delivery, fault.why) == (delivery, why)
        assert self.fault(True, profile).delivery == "injected"

    def test_paging_is_not_asked_for_of_an_l1_that_opted_in(self) -> None:
        assert self.fault(True, "6.1", unpaged=True).delivery == "injected"
        assert self.fault(False, "6.1", unpaged=True).why == "nested"


class DeliversToL1(NestedPort):
    """L0's nested SVM, as far as a fault asks it."""

    def masks_interrupts(self) -> bool:
        return False

    def queue_exception(self, token: Token) -> bool:
        return True

    def drop_exception(self) -> None:
        pass

    def external_exit(self, at_ns: int) -> None:
        pass

    def same_mmu(self, level: int) -> bool:
        return True


class TestDoubleFault:
    def test_no_work_no_token_no_request(self) -> None:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.touch(50_000, 7)
        machine.run(500_000)
        assert len(machine.of(ev.PageNotPresent)) == 1
        assert [(e.gfn, e.vcpu) for e in machine.of(ev.DoubleFault)] == [(7, 0)]
        assert machine.vcpu.apf.id == machine.vcpu.apf.queued == 1
        assert machine.vcpu.apf.halted

    def test_is_of_this_vcpu_only_another_one_joins(self) -> None:
        machine = Machine(vcpus=2)
        machine.touch(1_000, 7)
        machine.touch(2_000, 7, vcpu=1)
        machine.run(500_000)
        assert machine.of(ev.DoubleFault) == []
        first, second = machine.of(ev.PageNotPresent)
        assert (first.joined, second.joined) == (False, True)
        assert (first.token, second.token) == (0x0, 0x1)

    def test_who_joined_completes_one_worker_hop_later(self) -> None:
        machine = Machine(vcpus=2)
        machine.touch(1_000, 7)
        machine.touch(2_000, 7, vcpu=1)
        machine.arrives(300_000, 7, token=Token(0))
        machine.run(500_000)
        done = [(e.vcpu, e.token, e.at_ns) for e in machine.of(ev.WorkerCompleted)]
        assert done == [(0, 0x0, 300_000), (1, 0x1, 300_000 + HOP_NS)]

    def test_a_synchronous_waiter_joins_too(self) -> None:
        machine = Machine(vcpus=2)
        machine.guests[1].if_flag = False
        machine.touch(1_000, 7)
        machine.touch(2_000, 7, vcpu=1)
        machine.arrives(300_000, 7, token=Token(0))
        machine.run(500_000)
        fault = machine.of(ev.PageNotPresent)[1]
        assert (fault.joined, fault.why) == (True, "interrupts_off")
        (ran,) = machine.entered(1)
        assert ran[0] == 300_000 + HOP_NS + WAKE_NS + FAULT_NS + ENTRY_NS


class TestFailedSetup:
    def test_no_memory_consumes_the_token_and_waits(self) -> None:
        machine = Machine()
        machine.deliver(ev.AllocationFails(500, "vm", 0, "host", 1))
        fault = one_fault(machine)
        assert (fault.delivery, fault.why, fault.token) == ("synchronous", "no_memory", None)
        (started,) = machine.of(ev.ApfStarted)
        assert (started.outcome, started.token) == ("no_memory", 0)
        assert machine.vcpu.apf.id == 1
        assert not machine.vcpu.apf.gfn_hash.find(Gfn(7))

    def test_the_next_one_has_the_next_token(self) -> None:
        machine = Machine()
        machine.deliver(ev.AllocationFails(500, "vm", 0, "host", 1))
        machine.touch(1_000, 7)
        machine.touch(400_000, 8)
        machine.arrives(300_000, 7)
        machine.run(500_000)
        assert [e.token for e in machine.of(ev.ApfStarted)] == [0x0, 0x1000]
        assert machine.of(ev.PageNotPresent)[-1].delivery == "injected"

    def test_beyond_64_it_waits(self) -> None:
        machine = Machine()
        for gfn in range(65):
            machine.touch(1_000 + gfn * 10_000, gfn)
        machine.run(5_000_000)
        outcomes = [e.outcome for e in machine.of(ev.ApfStarted)]
        assert outcomes == ["queued"] * 64 + ["limit"]
        assert machine.vcpu.apf.id == 65
        assert machine.vcpu.mode is BLACKOUT


class TestStaleGfns:
    """CR0.PG before 2.6.39 clears the queue and leaves the hash (semantics 3.11)."""

    def toggled(self, resets: bool) -> Machine:
        machine = Machine(pg_resets_hash=resets)
        machine.touch(1_000, 7)
        machine.touch(400_000, 7)
        machine.deliver(ev.Cr0PgToggled(50_000, "vm", 0, 0))
        machine.arrives(300_000, 7, token=Token(0))
        machine.run(310_000)
        machine.vm.pages.unmap([7])
        machine.vm.pages.drop([7])
        return machine

    def test_phantom_double_fault(self) -> None:
        machine = self.toggled(resets=False)
        machine.run(900_000)
        assert [e.why for e in machine.of(ev.ApfCleared)] == ["cr0-pg"]
        assert [e.gfn for e in machine.of(ev.DoubleFault)] == [7]
        assert machine.vcpu.apf.queued == 0

    def test_since_2_6_39_an_ordinary_fault(self) -> None:
        machine = self.toggled(resets=True)
        machine.run(900_000)
        assert machine.of(ev.DoubleFault) == []
        assert [e.delivery for e in machine.of(ev.PageNotPresent)] == ["injected"] * 2

    def test_64_of_them_make_add_spin_for_ever(self) -> None:
        machine = Machine(pg_resets_hash=False)
        for gfn in range(SLOTS):
            machine.vcpu.apf.gfn_hash.add(Gfn(100 + gfn))
        machine.touch(1_000, 7)
        machine.run(500_000)
        assert [e.what for e in machine.of(ev.ProtocolFault)] == ["gfn_hash_full"]
        assert machine.entered() == []


@pytest.mark.parametrize(("clears", "presented"), [(True, []), (False, ["token"])])
def test_a_page_in_outlives_a_change_of_cr0_pg_since_6_19(
    clears: bool, presented: list[str]
) -> None:
    machine = Machine(pg_clears_queue=clears)
    machine.touch(1_000, 7)
    machine.exits(400_000)
    machine.deliver(ev.Cr0PgToggled(50_000, "vm", 0, 0))
    machine.arrives(300_000, 7, token=Token(0))
    machine.run(900_000)
    assert [e.delivery for e in machine.of(ev.ApfPresented) if e.gfn == 7] == presented
