"""Cells of a grid in words: boxes of neighbours that have these cells and no others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagewake.observe.regions import Box, Place, cover, short_names, words_of

MEDIUM = ["ssd-sata", "nvme", "zram"]
OVERCOMMIT = ["1.25", "1.5", "2"]
KERNEL = ["2.6.39", "4.9", "4.13", "5.8", "6.1"]
AXES = {"host.medium": MEDIUM, "overcommit": OVERCOMMIT, "kernel.profile": KERNEL}


def named(cells: Sequence[Place], axes: dict[str, list[str]] = AXES) -> list[str]:
    return [words_of(axes, box) for box in cover(axes, cells)]


def test_no_cell_is_no_region() -> None:
    assert cover(AXES, []) == []


def test_all_cells_are_everywhere() -> None:
    assert named(list(product(*AXES.values()))) == ["everywhere"]


def test_a_whole_axis_is_any_of_it() -> None:
    cells = [("zram", overcommit, kernel) for overcommit in OVERCOMMIT for kernel in KERNEL]
    assert named(cells) == ["medium zram, any overcommit, any profile"]


def test_neighbours_in_order_are_a_range_and_names_are_listed() -> None:
    cells = list(product(["ssd-sata", "nvme"], OVERCOMMIT, ["4.9", "4.13", "5.8"]))
    assert named(cells) == ["medium ssd-sata and nvme, profile 4.9 to 5.8, any overcommit"]


def test_cells_that_are_no_box_are_several_and_the_largest_comes_first() -> None:
    cells = [("nvme", "2", "5.8"), *(("zram", "2", kernel) for kernel in KERNEL)]
    assert named(cells) == [
        "medium zram, overcommit 2, any profile",
        "medium nvme and zram, overcommit 2, profile 5.8",
    ]


def test_what_is_not_beside_each_other_is_not_one_region() -> None:
    cells = [("nvme", "1.5", "4.9"), ("nvme", "1.5", "5.8")]
    assert named(cells) == [
        "medium nvme, overcommit 1.5, profile 4.9",
        "medium nvme, overcommit 1.5, profile 5.8",
    ]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["1", "1.5", "2", "3"], "1 to 2"),
        (["4.9", "4.13", "5.8", "6.1"], "4.9 to 5.8"),
        (["2", "1.5", "1", "3"], "2, 1.5 and 1"),
        (["4MiB", "8MiB", "16MiB", "32MiB"], "4MiB, 8MiB and 16MiB"),
    ],
    ids=["numbers", "releases", "out of order", "words"],
)
def test_only_numbers_in_order_are_told_as_a_range(values: list[str], told: str) -> None:
    axes = {"x": values, "y": ["a", "b"]}
    cells = [(value, "a") for value in values[:3]]
    assert named(cells, axes) == [f"x {told}, y a"]


def test_names_that_end_alike_stay_whole() -> None:
    keys = ["vm.0.memory", "host.memory", "overcommit"]
    assert short_names(keys) == ["vm.0.memory", "host.memory", "overcommit"]
    assert short_names(["vm.0.task.0.access", "kernel.profile"]) == ["access", "profile"]


@st.composite
def _grids(draw: st.DrawFn) -> tuple[dict[str, list[str]], set[Place]]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axes = {f"axis-{n}": [str(value) for value in range(size)] for n, size in enumerate(sizes)}
    places = list(product(*axes.values()))
    return axes, draw(st.sets(st.sampled_from(places)))


def _places(box: Box) -> set[Place]:
    return set(product(*box))


@given(_grids())
def test_regions_have_every_cell_and_nothing_else(
    grid: tuple[dict[str, list[str]], set[Place]],
) -> None:
    axes, cells = grid
    boxes = cover(axes, cells)
    assert set().union(*map(_places, boxes)) == cells
    for number, box in enumerate(boxes):
        before = set().union(*map(_places, boxes[:number]))
        assert _places(box) - before, "a region that says nothing new"


@given(_grids())
def test_no_region_could_be_larger(grid: tuple[dict[str, list[str]], set[Place]]) -> None:
    axes, cells = grid
    for box in cover(axes, cells):
        for number, (run, values) in enumerate(zip(box, axes.values(), strict=True)):
            first, last = values.index(run[0]), values.index(run[-1])
            assert list(run) == values[first : last + 1]
            for longer in (values[max(first - 1, 0) : last + 1], values[first : last + 2]):
                wider = (*box[:number], tuple(longer), *box[number + 1 :])
                assert len(longer) == len(run) or not _places(wider) <= cells


@given(_grids(), st.randoms(use_true_random=False))
def test_the_order_of_cells_does_not_matter(
    grid: tuple[dict[str, list[str]], set[Place]], chance: Random
) -> None:
    axes, cells = grid
    shuffled = sorted(cells)
    chance.shuffle(shuffled)
    assert cover(axes, shuffled) == cover(axes, sorted(cells))
