"""Which pages a fault on swap reads: windows by slots and in address space, and their size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.events.ids import Gfn
from pagewake.kvm.page_table import ABSENT, MAPPED
from pagewake.kvm.read_ahead import LEAF_PAGES, ReadAhead, Window

PAGES = 2 * LEAF_PAGES


class Reader:
    """A VM all of whose pages are in swap, in slots of the order in which they lie."""

    def __init__(self, kind: Window, page_cluster: int = 3) -> None:
        self.ahead = ReadAhead(kind, page_cluster, PAGES)
        self.ahead.store(range(PAGES))
        self.state = bytearray([ABSENT]) * PAGES

    def touch(self, gfn: int) -> list[int]:
        """What a touch reads: nothing where the page was found."""
        if self.state[gfn] != ABSENT:
            self.ahead.found(Gfn(gfn))
            return []
        gfns = self.ahead.read(Gfn(gfn), self.state)
        for near in gfns:
            self.state[near] = MAPPED
        return gfns


def test_a_walk_opens_the_window_up_to_the_cluster() -> None:
    reader = Reader("vma")
    reads = [gfns for gfn in range(100, 140) if (gfns := reader.touch(gfn))]
    assert [len(gfns) for gfns in reads][:4] == [1, 2, 4, 8]
    assert {len(gfns) for gfns in reads[3:]} == {8}
    assert sorted(gfn for gfns in reads for gfn in gfns)[:40] == list(range(100, 140))


def test_a_walk_downward_reads_what_lies_below() -> None:
    reader = Reader("vma")
    assert [reader.touch(gfn) for gfn in (300, 299, 298, 297)][:2] == [[300], [298, 299]]


def test_a_jump_halves_the_window_until_pages_are_read_alone() -> None:
    reader = Reader("vma")
    for gfn in range(100, 140):
        reader.touch(gfn)
    sizes = [len(reader.touch(gfn)) for gfn in (400, 700, 250, 900, 500)]
    assert sizes == [4, 2, 1, 1, 1]


def test_a_window_round_a_jump_stays_in_its_leaf() -> None:
    reader = Reader("vma")
    for gfn in range(100, 140):
        reader.touch(gfn)
    assert reader.touch(LEAF_PAGES) == list(range(LEAF_PAGES, LEAF_PAGES + 3))


def test_a_block_is_read_whole_and_aligned() -> None:
    reader = Reader("block")
    assert reader.touch(21) == list(range(16, 24))
    assert reader.touch(40) == list(range(40, 48))


def test_a_cluster_goes_by_slots_and_by_its_hits() -> None:
    reader = Reader("cluster")
    reader.ahead.store([5, 900, 7, 33])  # written again: neighbours in swap from now on
    assert reader.touch(5) == [5]
    assert reader.touch(900) == [900]  # the next slot, and the aligned pair holds 5
    assert reader.touch(7) == [7, 33]
    assert reader.ahead.requests([5, 900, 7]) == ((5, 900, 7),)
    assert reader.ahead.requests([5, 6, 900]) == ((5,), (6,), (900,))


def test_what_is_in_memory_is_not_read_again() -> None:
    reader = Reader("block")
    for gfn in (17, 19):
        reader.state[gfn] = MAPPED
    assert reader.touch(16) == [16, 18, 20, 21, 22, 23]


@pytest.mark.parametrize("kind", ["block", "cluster", "vma"])
def test_page_cluster_0_reads_pages_alone(kind: Window) -> None:
    reader = Reader(kind, 0)
    assert [reader.touch(gfn) for gfn in range(8)] == [[gfn] for gfn in range(8)]
    assert reader.ahead.alone


@settings(deadline=None)
@given(
    st.sampled_from(("block", "cluster", "vma")),
    st.integers(0, 5),
    st.lists(st.integers(0, PAGES - 1), max_size=60),
)
def test_a_read_is_its_page_and_others_that_are_in_swap(
    kind: Window, page_cluster: int, touches: list[int]
) -> None:
    reader = Reader(kind, page_cluster)
    for gfn in touches:
        before = bytes(reader.state)
        gfns = reader.touch(gfn)
        if before[gfn] != ABSENT:
            assert not gfns
            continue
        assert gfn in gfns
        assert len(set(gfns)) == len(gfns) <= 1 << page_cluster
        assert all(before[near] == ABSENT for near in gfns)
        requests = reader.ahead.requests(gfns)
        assert [near for run in requests for near in run] == gfns
