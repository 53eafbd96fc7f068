"""Huge pages: a range by one fault, one accessed bit for it, and what is left when it splits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagewake.events import types as ev
from pagewake.kvm.huge_pages import HUGE
from pagewake.kvm.page_table import ABSENT, MAPPED, PRESENT, UNTOUCHED
from tests.unit.kvm.scripted import Machine

PAGES = 2 * HUGE + 8
TOUCH_NS = 100_000
FLOOR = 4


def machine(stock: int = 2 * HUGE + FLOOR, *, resident: bool = False) -> Machine:
    """A VM of two whole ranges and a few pages, all untouched or all in memory."""
    made = Machine(
        limit=4 * HUGE,
        stock=stock,
        costs={"huge_touch_ns": TOUCH_NS},
        config={"pages": PAGES, "huge_floor": FLOOR},
    )
    table = made.vm.pages
    table.state[:] = bytes([MAPPED if resident else UNTOUCHED]) * PAGES
    if resident:
        table.mapped[:] = table.dirty[:] = b"\1" * PAGES
        assert made.vm.huge is not None
        made.vm.huge.map_resident()
    return made


def mapped(made: Machine) -> int:
    return made.vm.pages.mapped.count(1)


def ask(made: Machine, at_ns: int, *gfns: int) -> list[int]:
    """Which of them the host is told were accessed."""
    made.deliver(ev.AgePages(at_ns, "vm", 0, list(gfns)))
    made.run(at_ns + 1)
    return made.of(ev.PagesAged)[-1].accessed


class TestFirstTouch:
    def test_maps_the_whole_range_at_one_cost(self) -> None:
        made = machine()
        made.touch(1_000, HUGE + 5)
        made.run(1_000_000)
        assert mapped(made) == HUGE
        assert made.vm.pages.mapped[HUGE : 2 * HUGE] == b"\1" * HUGE
        assert made.entered()[0][0] == 1_000 + 500 + TOUCH_NS + 500
        assert made.vm.stock == HUGE + FLOOR

    def test_is_told_at_once_behind_the_single_pages_before_it(self) -> None:
        made = machine()
        made.touch(1_000, 2 * HUGE)
        made.touch(200_000, 7)
        made.run(1_000_000)
        (told,) = made.of(ev.PageTouched)
        assert told.gfns == [2 * HUGE, *range(HUGE)]
        assert told.huge == 1

    def test_of_a_range_that_is_not_all_memory_is_a_page(self) -> None:
        made = machine()
        made.touch(1_000, 2 * HUGE + 3)
        made.run(1_000_000)
        assert mapped(made) == 1

    def test_of_a_range_in_which_something_was_touched_is_a_page(self) -> None:
        made = machine()
        made.vm.pages.state[9] = ABSENT
        made.touch(1_000, 5)
        made.run(1_000_000)
        assert mapped(made) == 1

    @pytest.mark.parametrize(("stock", "pages"), [(HUGE + FLOOR, HUGE), (HUGE + FLOOR - 1, 1)])
    def test_leaves_the_frames_for_single_pages_alone(self, stock: int, pages: int) -> None:
        made = machine(stock)
        made.touch(1_000, 5)
        made.run(1_000_000)
        assert mapped(made) == pages
        assert made.of(ev.PageNotPresent) == []

    def test_makes_all_of_it_dirty(self) -> None:
        made = machine()
        made.touch(1_000, 5)
        made.deliver(ev.PageUnmapped(300_000, "vm", 0, [1, 2, 3]))
        made.run(1_000_000)
        assert made.of(ev.PagesEvicted)[-1].dirty == [1, 2, 3]


class TestAccessedBit:
    def test_is_one_for_the_range_and_read_once_for_each_page(self) -> None:
        made = machine(resident=True)
        made.vm.pages.accessed[100] = 1
        assert ask(made, 1_000, 0, 1, HUGE) == [0, 1]
        assert ask(made, 2_000, 1, 2, 100) == [2, 100]
        assert ask(made, 3_000, 0, 1, 2, 100) == []

    def test_is_set_anew_for_all_of_them(self) -> None:
        made = machine(resident=True)
        made.vm.pages.accessed[100] = 1
        assert ask(made, 1_000, 0, 1) == [0, 1]
        made.vm.pages.accessed[3] = 1
        assert ask(made, 2_000, 0, 500) == [0, 500]

    def test_is_each_pages_own_outside_of_ranges(self) -> None:
        made = machine(resident=True)
        made.vm.pages.accessed[2 * HUGE] = 1
        assert ask(made, 1_000, 2 * HUGE, 2 * HUGE + 1) == [2 * HUGE]


class TestSplit:
    def split(self, accessed: int | None) -> Machine:
        made = machine(resident=True)
        if accessed is not None:
            made.vm.pages.accessed[accessed] = 1
        made.deliver(ev.PageUnmapped(1_000, "vm", 0, [0, 1]))
        made.run(2_000)
        return made

    def test_leaves_the_others_mapped_one_by_one(self) -> None:
        made = self.split(accessed=None)
        assert mapped(made) == PAGES - 2
        made.vm.pages.accessed[9] = 1
        assert ask(made, 3_000, 8, 9, 10) == [9]
        assert made.vm.huge is not None
        assert [made.vm.huge.whole(gfn) for gfn in (0, HUGE - 1, HUGE, 2 * HUGE)] == [
            False, False, True, False,
        ]  # fmt: skip

    def test_gives_the_bit_to_all_of_them(self) -> None:
        made = self.split(accessed=300)
        assert ask(made, 3_000, 8, 9, 300) == [8, 9, 300]
        assert ask(made, 4_000, 8, 9, 300) == []

    def test_keeps_what_was_read_for_pages_not_asked_for(self) -> None:
        made = machine(resident=True)
        made.vm.pages.accessed[300] = 1
        assert ask(made, 1_000, 8) == [8]
        made.deliver(ev.PageUnmapped(2_000, "vm", 0, [0, 1]))
        assert ask(made, 3_000, 8, 9) == [9]

    def test_a_page_that_went_faults_alone(self) -> None:
        made = machine(resident=True)
        made.touch(10_000, 0)
        made.deliver(ev.PageUnmapped(1_000, "vm", 0, [0, 1]))
        made.deliver(ev.PageDropped(3_000, "vm", 0, [0, 1]))
        made.run(20_000)
        (fault,) = made.of(ev.PageNotPresent)
        assert (fault.gfn, fault.first_touch) == (0, False)
        made.arrives(100_000, 0, token=fault.token)
        made.run(200_000)
        assert made.vm.pages.state[0] >= PRESENT
        assert made.vm.pages.state[1] == ABSENT


def test_at_time_0_what_lies_in_memory_as_a_whole_is_a_range() -> None:
    made = machine(resident=True)
    made.vm.pages.state[HUGE + 1] = ABSENT
    huge = made.vm.huge
    assert huge is not None
    huge.map_resident()
    assert [huge.whole(gfn) for gfn in (0, HUGE, 2 * HUGE)] == [True, False, False]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, HUGE - 1)), max_size=40))
def test_a_page_is_told_accessed_if_its_range_was_since_it_was_last_asked_for(
    steps: list[tuple[bool, int]],
) -> None:
    made = machine(resident=True)
    last_access, asked = 0, dict.fromkeys(range(HUGE), 0)
    for now, (touches, gfn) in enumerate(steps, 1):
        if touches:
            made.vm.pages.accessed[gfn] = 1
            last_access = now
        else:
            assert ask(made, 10 * now, gfn) == ([gfn] if last_access > asked[gfn] else [])
            asked[gfn] = now
