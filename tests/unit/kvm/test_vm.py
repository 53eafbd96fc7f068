"""One VM as a machine: its order of events, its numbers, its stock, its freeze (design, "Time")."""

from __future__ import annotations

import pytest

from pagewake.errors import InternalError
from pagewake.events import types as ev
from pagewake.events.digest import RunningDigest
from pagewake.events.ids import Gfn, Token
from pagewake.kvm.page_table import ABSENT, MAPPED, PRESENT, UNTOUCHED
from tests.unit.kvm.scripted import Machine


def numbered(machine: Machine) -> list[ev.Event]:
    events: list[ev.Event] = [
        *machine.vm.journal_out,
        *machine.vm.to_host,
        *machine.vm.consumed,
    ]
    return sorted(events, key=lambda event: event.n)


class TestOrder:
    def test_control_before_host_before_own_steps(self) -> None:
        machine = Machine()
        machine.exits(10_000)
        machine.deliver(ev.FramesGranted(10_000, "vm", 0, 4))
        machine.deliver(ev.AreaWriteFails(10_000, "vm", 0, 0, 1))
        machine.touch(12_000, 7)
        machine.deliver(ev.FramesGranted(12_000, "vm", 0, 4))
        machine.run(50_000)
        kinds = [type(event).__name__ for event in numbered(machine)]
        assert kinds[:4] == ["AreaWriteFails", "FramesGranted", "FramesGranted", "ApfStarted"]

    def test_deliveries_of_one_instant_keep_the_order_of_the_host(self) -> None:
        machine = Machine()
        for frames in (3, 1, 2):
            machine.deliver(ev.FramesGranted(10_000, "vm", 0, frames))
        machine.run(50_000)
        assert [event.frames for event in machine.of(ev.FramesGranted)] == [3, 1, 2]

    def test_vcpus_of_one_instant_run_in_order_of_their_number(self) -> None:
        machine = Machine(vcpus=3)
        for vcpu in (2, 0, 1):
            machine.touch(10_000, 7 + vcpu, vcpu)
        machine.run(50_000)
        assert [event.vcpu for event in machine.of(ev.ApfStarted)] == [0, 1, 2]

    def test_numbers_run_from_1_without_a_gap(self) -> None:
        machine = Machine(vcpus=2)
        machine.touch(1_000, 7)
        machine.touch(1_000, 7, vcpu=1)
        machine.arrives(100_000, 7, token=Token(0))
        machine.exits(200_000)
        machine.run(400_000)
        events = numbered(machine)
        assert [event.n for event in events] == list(range(1, len(events) + 1))

    def test_the_digest_is_over_all_of_them_in_that_order(self) -> None:
        machine = Machine(vcpus=2)
        machine.touch(1_000, 7)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(400_000)
        digest = RunningDigest()
        for event in numbered(machine):
            digest.add(event)
        assert machine.vm.digest.hexdigest() == digest.hexdigest()

    @pytest.mark.parametrize("cuts", [(), (1_000,), (999, 1_000, 1_001, 1_500, 3_500, 100_000)])
    def test_where_it_is_cut_does_not_matter(self, cuts: tuple[int, ...]) -> None:
        def digest(edges: tuple[int, ...]) -> str:
            machine = Machine(vcpus=2)
            machine.touch(1_000, 7)
            machine.touch(1_000, 7, vcpu=1)
            machine.hlt(1_500, vcpu=1)
            machine.arrives(100_000, 7, token=Token(0))
            machine.exits(100_000)
            for until_ns in (*edges, 400_000):
                machine.run(until_ns)
            return machine.vm.digest.hexdigest()

        assert digest(cuts) == digest(())


class TestPageReady:
    def test_for_a_page_nobody_asked_for_is_an_internal_error(self) -> None:
        machine = Machine()
        machine.arrives(10_000, 7, token=Token(0))
        with pytest.raises(InternalError, match="gfn 7"):
            machine.run(50_000)

    def test_keeps_the_page_for_every_waiter(self) -> None:
        machine = Machine(vcpus=3)
        for vcpu in range(3):
            machine.touch(1_000 + vcpu, 7, vcpu)
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(101_000)
        assert machine.vm.pages.held == {7: 3}
        machine.deliver(ev.PageUnmapped(105_000, "vm", 0, [7]))
        machine.run(110_000)
        assert machine.of(ev.PagesEvicted)[0].refused == [7]

    def test_a_fresh_frame_is_dirty_a_read_page_is_clean(self) -> None:
        machine = Machine("2.6.38", stock=0, vcpus=2)
        machine.vm.pages.state[7] = UNTOUCHED
        machine.touch(1_000, 7)
        machine.touch(1_000, 8, vcpu=1)
        machine.arrives(100_000, 7)
        machine.arrives(100_000, 8, vcpu=1)
        machine.run(200_000)
        assert [bool(machine.vm.pages.dirty[gfn]) for gfn in (7, 8)] == [True, False]


class TestEviction:
    def test_clean_pages_go_at_once_dirty_ones_need_a_write_back(self) -> None:
        machine = Machine()
        pages = machine.vm.pages
        for gfn in (7, 8):
            pages.map_page(Gfn(gfn))
        pages.dirty[8] = 1
        machine.deliver(ev.PageUnmapped(10_000, "vm", 0, [7, 8, 9]))
        machine.run(20_000)
        (answer,) = machine.of(ev.PagesEvicted)
        assert (answer.dropped, answer.dirty, answer.refused) == ([7], [8], [9])
        assert [int(pages.state[gfn]) for gfn in (7, 8)] == [ABSENT, PRESENT]

    def test_a_touch_in_between_saves_the_page(self) -> None:
        machine = Machine()
        machine.vm.pages.map_page(Gfn(7))
        machine.vm.pages.dirty[7] = 1
        machine.deliver(ev.PageUnmapped(10_000, "vm", 0, [7]))
        machine.touch(20_000, 7)
        machine.deliver(ev.PageDropped(90_000, "vm", 0, [7]))
        machine.run(100_000)
        assert machine.of(ev.PagesEvicted)[1].refused == [7]
        assert machine.vm.pages.state[7] == MAPPED
        assert machine.of(ev.PageNotPresent) == []

    def test_harvest_clears_accessed_bits_and_keeps_dirty_ones(self) -> None:
        machine = Machine()
        pages = machine.vm.pages
        pages.accessed[7] = pages.dirty[7] = pages.dirty[8] = 1
        for at_ns in (10_000, 20_000):
            machine.deliver(ev.AgePages(at_ns, "vm", 0, [7, 8]))
        machine.run(30_000)
        first, second = machine.of(ev.PagesAged)
        assert (first.accessed, first.dirty) == ([7], [7, 8])
        assert (second.accessed, second.dirty) == ([], [7, 8])


class TestStock:
    def touched(self, touches: int, stock: int) -> Machine:
        machine = Machine(stock=stock)
        machine.vm.pages.state[:] = bytes([UNTOUCHED]) * 256
        for number in range(touches):
            machine.touch(1_000 + 10_000 * number, number)
        machine.run(1_000_000)
        return machine

    def test_first_touches_are_reported_at_half_the_stock_and_at_its_end(self) -> None:
        machine = self.touched(8, stock=8)
        assert [event.gfns for event in machine.of(ev.PageTouched)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert machine.vm.stock == 0

    def test_below_that_nothing_is_said(self) -> None:
        machine = self.touched(3, stock=8)
        assert machine.of(ev.PageTouched) == []
        assert machine.vm.touched == [0, 1, 2]

    def test_beyond_it_the_toucher_waits(self) -> None:
        machine = self.touched(9, stock=8)
        assert [event.why for event in machine.of(ev.PageNotPresent)] == ["stock"]

    def test_a_grant_refills_it(self) -> None:
        machine = Machine(stock=8)
        machine.deliver(ev.FramesGranted(10_000, "vm", 0, 4))
        machine.run(20_000)
        assert machine.vm.stock == 12


class TestFrozen:
    def frozen(self) -> Machine:
        machine = Machine()
        machine.touch(1_000, 7)
        machine.run(50_000)
        machine.vm.freeze(50_000)
        return machine

    def test_still_answers_the_host_but_unnumbered_and_undigested(self) -> None:
        machine = self.frozen()
        before, n = machine.vm.digest.hexdigest(), machine.vm.n
        machine.arrives(100_000, 7, token=Token(0))
        machine.deliver(ev.PageUnmapped(110_000, "vm", 0, [7]))
        machine.deliver(ev.AgePages(120_000, "vm", 0, [7]))
        machine.vm.to_host.clear()
        machine.run(200_000)
        assert [type(event).__name__ for event in machine.vm.to_host] == [
            "PagesEvicted",
            "PagesAged",
        ]
        assert {event.n for event in machine.vm.to_host} == {0}
        assert machine.vm.digest.hexdigest() == before
        assert machine.vm.n >= n

    def test_runs_nothing_any_more(self) -> None:
        machine = self.frozen()
        said = len(machine.vm.journal_out)
        machine.deliver(ev.IrqArrived(60_000, "vm", 0, 0))
        machine.arrives(100_000, 7, token=Token(0))
        machine.run(200_000)
        assert len(machine.vm.journal_out) == said
        assert machine.of(ev.IrqArrived) == []
