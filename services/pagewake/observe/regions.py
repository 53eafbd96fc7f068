"""Cells of a grid in words: a few boxes of neighbours instead of a list of points.

A box is a run of neighbouring values of each axis, in the order in which they were given. The
cells are covered by boxes that have nothing but such cells: each time the one that has most of
those not covered yet, of several the largest, of equals the first. So every box is as large as it
can be, boxes may overlap, and equal cells give equal words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import TypeAlias

Place: TypeAlias = tuple[str, ...]
"""The value of each axis, in their order."""
Box: TypeAlias = tuple[tuple[str, ...], ...]
"""The values of each axis that are in it."""
Axes: TypeAlias = Mapping[str, Sequence[str]]

RANGE_MIN = 3
"""So many neighbours are told by the first and the last, if they are numbers in order."""
EVERYWHERE = "everywhere"


def cover(axes: Axes, cells: Collection[Place]) -> list[Box]:
    """Boxes that have all of these cells and no other place of the grid, the largest first."""
    bits = {place: 1 << number for number, place in enumerate(product(*axes.values()))}
    left = wanted = sum(bits[place] for place in set(cells))
    boxes = list(_boxes(axes, bits, wanted))
    found: list[Box] = []
    while left:
        box, mask = max(boxes, key=lambda one: ((one[1] & left).bit_count(), one[1].bit_count()))
        found.append(box)
        left &= ~mask
    return found


def _boxes(axes: Axes, bits: Mapping[Place, int], wanted: int) -> Iterator[tuple[Box, int]]:
    """Every box that is within the wanted cells, and its cells as bits."""
    runs: list[list[tuple[tuple[str, ...], int]]] = []
    for number, values in enumerate(axes.values()):
        planes = dict.fromkeys(values, 0)
        for place, bit in bits.items():
            planes[place[number]] |= bit
        runs.append([(run, sum(planes[value] for value in run)) for run in _runs(values)])

    def below(box: Box, mask: int) -> Iterator[tuple[Box, int]]:
        if len(box) == len(runs):
            if not mask & ~wanted:
                yield box, mask
            return
        for run, plane in runs[len(box)]:
            if mask & plane & wanted:
                yield from below((*box, run), mask & plane)

    yield from below((), sum(bits.values()))


def _runs(values: Sequence[str]) -> list[tuple[str, ...]]:
    """All neighbours; the longer ones first."""
    count = len(values)
    return [
        tuple(values[first : first + length])
        for length in range(count, 0, -1)
        for first in range(count - length + 1)
    ]


# ---------------------------------------------------------------------------------- in words


def words_of(axes: Axes, box: Box) -> str:
    """A box by what it has of each axis: `medium zram, profile 4.13 to 6.1, any overcommit`."""
    names = short_names(list(axes))
    parts = list(zip(names, axes.values(), box, strict=True))
    kept = [f"{name} {_values(run, whole)}" for name, whole, run in parts if len(run) < len(whole)]
    whole = [f"any {name}" for name, values, run in parts if len(run) == len(values)]
    return ", ".join([*kept, *whole]) if kept else EVERYWHERE


def short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each key; the whole of it where two end alike."""
    ends = [key.rpartition(".")[2] for key in keys]
    return [end if ends.count(end) == 1 else key for end, key in zip(ends, keys, strict=True)]


def _values(run: Sequence[str], whole: Sequence[str]) -> str:
    if len(run) >= RANGE_MIN and _in_order(whole):
        return f"{run[0]} to {run[-1]}"
    return run[0] if len(run) == 1 else f"{', '.join(run[:-1])} and {run[-1]}"


def _in_order(values: Sequence[str]) -> bool:
    """Whether they grow, as numbers or as releases."""
    if all(re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII) for value in values):
        numbers = [Decimal(value) for value in values]
        if numbers == sorted(numbers):
            return True
    if not all(re.fullmatch(r"\d+(\.\d+)+", value, re.ASCII) for value in values):
        return False
    releases = [[int(part) for part in value.split(".")] for value in values]
    return releases == sorted(releases)
