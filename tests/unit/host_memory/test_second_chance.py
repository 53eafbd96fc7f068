"""The list of pages that second chance works on."""

from __future__ import annotations

import numpy as np
import pytest

from pagewake.host_memory.replacement import ISOLATED, LISTED, OUT
from pagewake.host_memory.second_chance import SecondChance


def listed(*gfns: int) -> SecondChance:
    return SecondChance(64, np.array(gfns, np.int64))


def test_pages_leave_in_the_order_in_which_they_were_written() -> None:
    pages = listed(7, 3, 5)
    assert pages.isolate(2) == [7, 3]
    assert pages.isolate(2) == [5]
    assert pages.isolate(2) == []


def test_a_page_knows_where_it_is() -> None:
    pages = listed(7)
    assert (pages.place[7], pages.place[8]) == (LISTED, OUT)
    pages.isolate(1)
    assert pages.place[7] == ISOLATED
    pages.forget([7])
    assert pages.place[7] == OUT


def test_a_page_with_a_second_chance_is_the_youngest() -> None:
    pages = listed(1, 2, 3)
    pages.restore(pages.isolate(1))
    pages.admit(9)
    assert pages.isolate(64) == [2, 3, 1, 9]


def test_the_ring_keeps_its_order_while_it_turns_and_grows() -> None:
    pages, shadow, fresh = listed(*range(6)), list(range(6)), iter(range(6, 64))
    for step in range(29):
        for gfn in (next(fresh), next(fresh)):
            pages.admit(gfn)
            shadow.append(gfn)
        taken, shadow = shadow[: step % 4], shadow[step % 4 :]
        assert pages.isolate(step % 4) == taken
        assert pages.count == len(shadow)
    assert pages.isolate(64) == shadow


def test_the_ring_grows_for_pages_that_come_back() -> None:
    pages = listed(*range(8))
    taken = pages.isolate(6)
    for gfn in range(8, 13):
        pages.admit(gfn)
    pages.restore(taken)
    assert pages.isolate(64) == [6, 7, *range(8, 13), *taken]


@pytest.mark.parametrize("operation", ["restore", "forget"])
def test_only_what_reclaim_took_can_come_back_or_go(operation: str) -> None:
    with pytest.raises(AssertionError, match="reclaim did not take"):
        getattr(listed(4), operation)([4])


def test_a_page_has_one_frame() -> None:
    with pytest.raises(AssertionError, match="second frame"):
        listed(4).admit(4)
