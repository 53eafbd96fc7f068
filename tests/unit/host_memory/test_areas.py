"""Which area a page goes to, what it keeps there, and what zswap does before it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.host_memory.areas import Areas, Written
from pagewake.host_memory.config import HostConfig
from pagewake.host_memory.frames import Frames
from pagewake.host_memory.media import MEDIA, uniform_medium
from pagewake.host_memory.places import Swap, SwapArea, Zswap, filled, shares
from tests.unit.host_memory.driver import US, memory

SLOW = uniform_medium(100 * US, 0, 1)
ZRAM = MEDIA["zram"]
LAG = 50 * US


def areas_of(*sized: SwapArea, zswap: Zswap | None = None, vms: int = 1) -> Areas:
    """Swap of a host with 100 frames, whose VMs have all of their 64 pages in memory."""
    memories = [memory(f"vm-{index}", populated=32, resident=32) for index in range(vms)]
    swap = Swap((*sized, SwapArea(SLOW)), zswap)
    config = HostConfig("host-0", 0, 1, SLOW, LAG, 100, 32, 0, (), swap=swap)
    return Areas(config, swap, memories, Frames([100] * vms, 100))


def pool(pages: int, incompressible: float = 0.0) -> Zswap:
    """zswap with room for so many pages on that host."""
    return Zswap(pages, 1_000, 3 * US, 2 * US, incompressible)


def out(areas: Areas, *gfns: int, vm: int = 0, now: int = 0, most: int = 32) -> list[Written]:
    written = areas.write(vm, list(gfns), now, most)
    areas.left(vm, gfns)
    return written


def test_the_highest_priority_fills_first_and_the_rest_falls_to_the_next() -> None:
    areas = areas_of(SwapArea(SLOW, 2, 1), SwapArea(ZRAM, 3, 7))
    out(areas, *range(8))
    assert [areas.place(0, gfn) for gfn in range(8)] == [2, 2, 2, 1, 1, 3, 3, 3]
    assert [areas.slots(number) for number in (1, 2, 3)] == [2, 3, 3]


def test_areas_of_one_priority_take_turns_a_request_at_a_time() -> None:
    areas = areas_of(SwapArea(SLOW, 9, 5), SwapArea(SLOW, 3, 5), SwapArea(SLOW, 9, 1))
    out(areas, *range(12), most=2)
    found = [areas.place(0, gfn) for gfn in range(12)]
    assert found == [1, 1, 2, 2, 1, 1, 2, 1, 1, 1, 1, 1]
    out(areas, 12, 13)
    assert [areas.place(0, gfn) for gfn in (12, 13)] == [3, 3]


def test_a_page_keeps_its_slot_until_it_is_written_to() -> None:
    areas = areas_of(SwapArea(SLOW, 1, 1))
    out(areas, 0)
    areas.read(0, 0, 0)
    assert areas.place(0, 0) == 1
    areas.left(0, [0])  # clean: nothing to write
    assert (areas.place(0, 0), areas.slots(1)) == (1, 1)
    areas.read(0, 0, 0)
    areas.written_to(0, [0])
    assert (areas.place(0, 0), areas.slots(1)) == (0, 0)
    out(areas, 5)
    out(areas, 0)
    assert (areas.place(0, 5), areas.place(0, 0)) == (1, 2)


def test_a_page_cannot_leave_memory_without_a_copy() -> None:
    areas = areas_of()
    with pytest.raises(AssertionError, match="without a copy"):
        areas.left(0, [3])


def test_a_page_of_zram_leaves_it_as_it_comes_in() -> None:
    areas = areas_of(SwapArea(ZRAM, 4, 1))
    out(areas, 0, 1)
    assert areas._frames.pool == 1
    assert areas.read(0, 0, 10) == (10 + areas._lookahead_ns + ZRAM.cost_ns, 1)
    assert areas.served(0, 1, 1) == ZRAM.cost_ns
    assert (areas.slots(1), areas._frames.pool) == (0, 0)


def test_areas_have_devices_of_their_own() -> None:
    areas = areas_of(SwapArea(SLOW, 1, 1))
    first, second = out(areas, 0, 1)
    assert (first.area, second.area) == (1, 2)
    assert first.done_ns == second.done_ns == 100 * US


def test_zswap_writes_its_oldest_pages_to_their_slots() -> None:
    areas = areas_of(SwapArea(SLOW, 2, 1), zswap=pool(3))
    zswap = areas.zswap_number
    out(areas, 0, 1, 2)
    assert [areas.place(0, gfn) for gfn in range(3)] == [zswap] * 3
    assert areas.moved == []
    out(areas, 3, 4, now=1_000 * US)
    assert [(moved.gfn, moved.area) for moved in areas.moved] == [(0, 1), (1, 1)]
    assert [areas.place(0, gfn) for gfn in range(5)] == [1, 1, zswap, zswap, zswap]
    assert areas.pool() == areas._frames.pool == 3
    assert areas.queue(1_000 * US) == 2


def test_a_page_that_comes_in_makes_room_in_zswap() -> None:
    areas = areas_of(zswap=pool(2))
    out(areas, 0, 1)
    assert areas.read(0, 0, 0) == (areas._lookahead_ns + 2 * US, areas.zswap_number)
    out(areas, 2)
    assert areas.moved == []
    assert areas.pool() == 2


def test_nobody_hears_that_a_page_left_zswap_before_it_was_in() -> None:
    areas = areas_of(zswap=pool(30))
    written = out(areas, *range(30))
    areas.written_to(0, [])
    out(areas, 30, now=1)
    (moved,) = areas.moved
    assert written[0].done_ns == 90 * US
    assert moved.at_ns == written[0].done_ns


def test_what_does_not_compress_goes_to_its_slot() -> None:
    areas = areas_of(zswap=pool(60, incompressible=0.5))
    out(areas, *range(32))
    refused = sum(areas.place(0, gfn) == 1 for gfn in range(32))
    assert 6 < refused < 26
    assert areas.pool() == 32 - refused
    assert areas_of(zswap=pool(60, incompressible=1.0)).write(0, [1], 0, 8)[0].area == 1


PAGES = 32
STEPS = st.lists(
    st.tuples(st.sampled_from(("out", "in", "served", "dirty")), st.integers(0, PAGES - 1)),
    max_size=150,
)


@settings(max_examples=120, deadline=None)
@given(STEPS, st.integers(0, 9), st.sampled_from((0, 3, 9)), st.sampled_from((0.0, 0.4)))
def test_every_page_in_swap_lies_in_exactly_one_place(
    steps: list[tuple[str, int]], size: int, pooled: int, share: float
) -> None:
    zswap = pool(pooled, share) if pooled else None
    areas = areas_of(
        SwapArea(ZRAM, size, 2), SwapArea(SLOW, 5, 1), SwapArea(SLOW, 4, 1), zswap=zswap
    )
    outside: set[int] = set()
    for step, gfn in steps:
        if step == "out" and gfn not in outside:
            if areas.place(0, gfn):
                areas.left(0, [gfn])
            else:
                out(areas, gfn)
            outside.add(gfn)
        elif step == "in" and gfn in outside:
            areas.read(0, gfn, 0)
            outside.remove(gfn)
        elif step == "served" and gfn in outside and areas._load_ns(areas.place(0, gfn)):
            areas.served(0, gfn, areas.place(0, gfn))
            outside.remove(gfn)
        elif step == "dirty" and gfn not in outside:
            areas.written_to(0, [gfn])
        slots = list(areas._slots[0])
        for number, area in enumerate(areas.areas, 1):
            assert area.used == slots.count(number)
            assert area.size_pages is None or area.used <= area.size_pages
        assert all(slots[gfn] for gfn in outside)
        in_zswap = {gfn for gfn in outside if areas.place(0, gfn) == areas.zswap_number}
        assert sum(area.stored for area in areas.areas) + len(in_zswap) == len(outside)
        assert areas.pool() == len(in_zswap) <= max(pooled, 0)


@pytest.mark.parametrize(
    ("pages", "expected"), [(0, [0, 0, 0, 0]), (9, [5, 2, 2, 0]), (30, [5, 3, 9, 13])]
)
def test_areas_fill_by_priority_and_evenly(pages: int, expected: list[int]) -> None:
    sized = [SwapArea(ZRAM, 5, 9), SwapArea(SLOW, 3, 1), SwapArea(SLOW, 9, 1), SwapArea(SLOW)]
    assert filled(sized, pages) == expected


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=9), st.lists(st.integers(0, 60), max_size=4)
)
def test_shares_of_vms_add_up_to_what_there_is(outside: list[int], sizes: list[int]) -> None:
    by_name = {f"vm-{index}": pages for index, pages in enumerate(outside)}
    left, totals = sum(outside), []
    for size in sizes:
        totals.append(min(size, left))
        left -= totals[-1]
    totals.append(left)
    found = shares(by_name, [*totals, sum(outside) // 2])
    assert [sum(column) for column in zip(*found.values(), strict=True)][:-1] == totals
    assert all(sum(mine[:-1]) == by_name[vm] for vm, mine in found.items())
    assert all(mine[-1] <= by_name[vm] for vm, mine in found.items())
