"""Which populated pages are resident at time 0."""

from __future__ import annotations

import numpy as np
import pytest

from pagewake.simtime.residency import populate


def test_the_draw_is_pinned() -> None:
    assert populate(1, "bm-0", np.arange(16), 5).nonzero()[0].tolist() == [1, 3, 6, 9, 10]


@pytest.mark.parametrize(("pages", "expected"), [(0, 0), (1, 1), (99, 99), (100, 100), (500, 100)])
def test_as_many_are_resident_as_there_is_room_for(pages: int, expected: int) -> None:
    resident = populate(1, "vm-0", np.arange(100), pages)
    assert resident.dtype == np.bool_
    assert resident.sum() == expected


def test_no_pages_is_no_pages() -> None:
    assert populate(1, "vm-0", np.arange(0), 5).tolist() == []


def test_the_order_of_the_gfns_does_not_matter() -> None:
    gfns = np.arange(1000, 1200)
    forwards = populate(3, "vm-0", gfns, 50)
    backwards = populate(3, "vm-0", gfns[::-1], 50)
    assert forwards.tolist() == backwards[::-1].tolist()


def test_one_more_page_of_room_changes_one_page() -> None:
    less, more = (populate(3, "vm-0", np.arange(500), pages) for pages in (100, 101))
    assert (less != more).sum() == 1


def test_vms_and_seeds_differ() -> None:
    draws = [populate(seed, vm, np.arange(500), 250) for seed in (1, 2) for vm in ("a", "b")]
    assert all((one != other).any() for i, one in enumerate(draws) for other in draws[:i])
