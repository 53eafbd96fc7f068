"""Generations of pages of one VM."""

from __future__ import annotations

import numpy as np
import pytest

from pagewake.host_memory.mglru import Generations


def listed(*gfns: int) -> Generations:
    return Generations(64, np.array(gfns, np.int64))


def test_pages_of_one_generation_go_in_the_order_in_which_they_joined() -> None:
    pages = listed(7, 3, 5)
    assert pages.isolate(2) == [7, 3]
    assert pages.isolate(2) == [5]
    assert pages.isolate(2) == []


def test_a_page_that_was_accessed_is_of_the_youngest_generation() -> None:
    pages = listed(1, 2, 3)
    assert pages.judge(pages.isolate(2), [1]) == [2]
    pages.admit(9)
    assert [pages.isolate(1) for _ in range(3)] == [[3], [1], [9]]


def test_a_batch_is_of_one_generation() -> None:
    pages = listed(1, 2)
    pages.isolate(1)
    pages.admit(9)
    assert pages.isolate(64) == [2], "the fault came two generations later"
    assert pages.isolate(64) == [9]


def test_a_new_generation_begins_when_the_youngest_has_most_pages() -> None:
    pages = listed(*range(8))
    pages.forget(pages.isolate(2))
    for gfn in range(8, 12):
        pages.admit(gfn)
    pages.forget(pages.isolate(1))  # 4 young of 10: not yet
    for gfn in range(12, 16):
        pages.admit(gfn)
    pages.forget(pages.isolate(1))  # 8 of 13
    pages.admit(16)
    assert pages.isolate(64) == [4, 5, 6, 7]
    assert pages.isolate(64) == list(range(8, 16))
    assert pages.isolate(64) == [16], "it was faulted in behind the beginning of a new generation"


def test_without_aging_what_follows_is_of_the_same_generation() -> None:
    pages = listed(*range(8))
    pages.forget(pages.isolate(1))
    pages.admit(8)
    pages.forget(pages.isolate(1))
    pages.admit(9)
    pages.isolate(6)
    assert pages.isolate(64) == [8, 9]


def test_what_a_shard_refuses_is_young() -> None:
    pages = listed(1, 2, 3)
    pages.restore(pages.isolate(1))
    assert [pages.isolate(1) for _ in range(3)] == [[2], [3], [1]]


@pytest.mark.parametrize("operation", ["restore", "forget"])
def test_only_what_reclaim_took_can_come_back_or_go(operation: str) -> None:
    with pytest.raises(AssertionError, match="reclaim did not take"):
        getattr(listed(4), operation)([4])


def test_a_page_has_one_frame() -> None:
    with pytest.raises(AssertionError, match="second frame"):
        listed(4).admit(4)
