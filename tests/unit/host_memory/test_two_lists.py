"""Active and inactive pages of one VM, and how near a refault is."""

from __future__ import annotations

import numpy as np
import pytest

from pagewake.host_memory.replacement import OUT
from pagewake.host_memory.two_lists import ACTIVE, GIB_SHIFT, TwoLists


def listed(*gfns: int, workingset: bool = True, pages: int = 64) -> TwoLists:
    return TwoLists(pages, np.array(gfns, np.int64), workingset)


def is_active(pages: TwoLists, gfn: int) -> bool:
    return bool(pages.place[gfn] & ACTIVE)


def examine(pages: TwoLists, most: int, *accessed: int) -> list[int]:
    """One batch, of which these pages were accessed; its victims stay isolated."""
    batch = pages.isolate(most)
    return pages.judge(batch, [gfn for gfn in batch if gfn in accessed])


def evict(pages: TwoLists, most: int) -> list[int]:
    gone = examine(pages, most)
    pages.forget(gone)
    return gone


def activate(pages: TwoLists, count: int) -> None:
    """Pages at the old end, found accessed twice; the others are looked at and put back."""
    batch = pages.isolate(count)
    assert pages.judge(batch, batch) == []
    rest = pages.isolate(pages.count)
    pages.restore(pages.judge(rest, batch))


class TestSince59:
    def test_what_was_not_accessed_goes_in_the_order_in_which_it_came(self) -> None:
        pages = listed(7, 3, 5)
        assert examine(pages, 2) == [7, 3]
        assert pages.count == 1

    def test_a_page_is_active_only_once_it_was_found_accessed_twice(self) -> None:
        pages = listed(7, 3)
        assert examine(pages, 1, 7) == []
        assert not is_active(pages, 7)
        assert evict(pages, 1) == [3]
        assert examine(pages, 1, 7) == []
        assert is_active(pages, 7)

    def test_a_page_that_is_not_accessed_again_goes_the_second_time(self) -> None:
        pages = listed(7)
        assert examine(pages, 1, 7) == []
        assert examine(pages, 1) == [7]

    def test_active_pages_stay_while_the_inactive_list_is_long_enough(self) -> None:
        pages = listed(*range(6))
        activate(pages, 2)
        assert evict(pages, 2) == [2, 3]
        assert is_active(pages, 0)
        assert pages.count == 4

    def test_active_pages_are_made_inactive_when_more_than_half_are_active(self) -> None:
        pages = listed(*range(4))
        activate(pages, 3)
        assert examine(pages, 2, 0) == [3]
        assert not is_active(pages, 0), "its bit was set, which does not help an active page"
        assert is_active(pages, 1)

    def test_a_page_made_inactive_is_active_again_if_accessed_once(self) -> None:
        pages = listed(0, 1)
        activate(pages, 2)
        examine(pages, 1)
        assert not is_active(pages, 0)
        examine(pages, 1, 0)
        assert is_active(pages, 0)

    def test_a_larger_vm_keeps_a_smaller_part_inactive(self) -> None:
        gib = 1 << GIB_SHIFT
        pages = TwoLists(gib, np.arange(gib))
        activate(pages, gib * 2 // 3)
        batch = pages.isolate(64)
        assert not any(is_active(pages, gfn) for gfn in batch), "one in three is enough of 1 GiB"

    def test_a_refault_nearer_than_the_active_pages_starts_active(self) -> None:
        pages = listed(*range(12))
        activate(pages, 4)
        gone = [gfn for _ in range(4) for gfn in evict(pages, 1)]
        assert gone == [4, 5, 6, 7]
        pages.admit(7)
        assert is_active(pages, 7)

    def test_a_refault_further_away_starts_inactive(self) -> None:
        pages = listed(*range(8))
        activate(pages, 2)
        assert evict(pages, 3) == [2, 3, 4]
        pages.admit(2)
        assert not is_active(pages, 2), "3 were evicted since, 2 are active"
        pages.admit(4)
        assert is_active(pages, 4), "the last of them is 1 page away"
        pages.admit(60)
        assert not is_active(pages, 60), "a page that was never here has no distance"

    def test_a_refault_that_was_near_has_active_pages_made_inactive(self) -> None:
        pages = listed(*range(8))
        activate(pages, 2)
        assert evict(pages, 1) == [2]
        pages.admit(2)
        batch = pages.isolate(2)
        assert [is_active(pages, gfn) for gfn in batch] == [True, False]

    def test_reclaim_that_may_spare_nothing_takes_inactive_pages_first(self) -> None:
        pages = listed(*range(4))
        activate(pages, 3)
        assert pages.isolate(2, force=True) == [3]
        forced = pages.isolate(2, force=True)
        assert forced == [0, 1]
        pages.restore(forced)
        assert not is_active(pages, 0)


class TestBefore59:
    def test_pages_start_active_and_pass_through_the_inactive_list(self) -> None:
        pages = listed(0, 1, workingset=False)
        assert is_active(pages, 0)
        assert examine(pages, 1) == []
        assert not is_active(pages, 0)
        assert evict(pages, 1) == [0]
        pages.admit(0)
        assert is_active(pages, 0)

    def test_one_access_is_enough(self) -> None:
        pages = listed(0, 1, workingset=False)
        examine(pages, 1)
        examine(pages, 1, 0)
        assert is_active(pages, 0)


@pytest.mark.parametrize("operation", ["restore", "forget"])
def test_only_what_reclaim_took_can_come_back_or_go(operation: str) -> None:
    with pytest.raises(AssertionError, match="reclaim did not take"):
        getattr(listed(4), operation)([4])


def test_a_page_has_one_frame() -> None:
    with pytest.raises(AssertionError, match="second frame"):
        listed(4).admit(4)
    assert listed(4).place[5] == OUT
