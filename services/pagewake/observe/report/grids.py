"""What a page of a grid shows: points in groups, measures beside the first point, heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pagewake.observe.headline import figure
from pagewake.observe.measures import ENDED, Measure, measures
from pagewake.observe.report import words
from pagewake.observe.report.colours import use_colours
from pagewake.observe.report.figures import NOTHING
from pagewake.observe.result import RunResult

HEAT_STEPS = 5
"""Shades of a heat map, from the worst to the best value."""
ALIKE = 1.02
"""Values whose largest is not more than this times the smallest are not told apart by shades."""
MEASURES_MAX = 6
"""Groups of tasks with a picture of their own; the table has all of them."""


class Point(NamedTuple):
    """One run of a grid: the values of its axes, and its result."""

    axes: Mapping[str, str]
    result: RunResult

    @property
    def label(self) -> str:
        """The values of its axes, such as `kernel.apf=pv`."""
        return ", ".join(f"{key}={value}" for key, value in self.axes.items())


class Measured(NamedTuple):
    """One measure at every point: what it is called, the numbers, and relative to the first.

    `is_time`: it is a time, so less is better.
    """

    name: str
    is_time: bool
    values: list[int | None]
    told: list[str]
    relative: list[str]


class Cell(NamedTuple):
    """A field of a heat map: its value, how much of the first point that is, and its shade."""

    told: str
    relative: str
    shade: int


class Heat(NamedTuple):
    """A measure over two axes; `best` says which end of it is the better."""

    name: str
    best: str
    across: str
    down: str
    columns: list[str]
    rows: list[tuple[str, list[Cell | None]]]


class Placed(NamedTuple):
    """A point in a picture: its place in the grid, what it is called, and the group it begins."""

    number: int
    label: str
    heading: str = ""


def in_groups(points: Sequence[Point]) -> list[Placed]:
    """All points, those with one value of the axis with the most effect together.

    Under the heading of its group a point is called by what tells it from the others there.
    """
    axes = ordered(points)
    if not axes:
        return [Placed(number, "") for number in range(len(points))]
    first, others = axes[0], axes[1:]
    if not others:
        return [Placed(number, point.axes[first]) for number, point in enumerate(points)]
    placed: list[Placed] = []
    for value in dict.fromkeys(point.axes[first] for point in points):
        inside = [number for number, point in enumerate(points) if point.axes[first] == value]
        for place, number in enumerate(inside):
            label = ", ".join(points[number].axes[axis] for axis in others)
            placed.append(Placed(number, label, "" if place else f"{first} = {value}"))
    return placed


def varying(points: Sequence[Point]) -> list[str]:
    """The axes along which the points differ."""
    return [axis for axis in points[0].axes if len({point.axes[axis] for point in points}) > 1]


def ordered(points: Sequence[Point]) -> list[str]:
    """Axes that vary, the one with the most effect on any measure first."""
    known = measures([point.result for point in points])
    return sorted(varying(points), key=lambda axis: -_effect(axis, points, known))


def _effect(
    axis: str, points: Sequence[Point], known: Mapping[Measure, Sequence[int | None]]
) -> float:
    """The largest ratio between points that differ in this axis alone."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, point in enumerate(points):
        rest = tuple(value for key, value in point.axes.items() if key != axis)
        alike.setdefault(rest, []).append(number)
    ratios = [
        max(found) / min(found)
        for values in known.values()
        for numbers in alike.values()
        if (found := [value for number in numbers if (value := values[number])])
    ]
    return max(ratios, default=1.0)


def measured(points: Sequence[Point]) -> list[Measured]:
    """Every measure of the grid, relative to the first point."""
    return [
        Measured(
            f"{measure.group}: {_what(measure)}",
            measure.less_is_better,
            values,
            [_told(measure, value) for value in values],
            [_ratio(value, values[0]) for value in values],
        )
        for measure, values in measures([point.result for point in points]).items()
    ]


def _what(measure: Measure) -> str:
    return "finished at" if measure.what == ENDED else measure.what


def _told(measure: Measure, value: int | None) -> str:
    if value is None:
        return NOTHING
    return words.duration(value / 1e9, 4) if measure.less_is_better else words.count(value)


def _ratio(value: int | None, first: int | None) -> str:
    return figure(value / first) if value is not None and first else NOTHING


def heats(points: Sequence[Point], found: Sequence[Measured]) -> list[Heat]:
    """A heat map of each measure, where two axes vary and every pair is one point."""
    axes = varying(points)
    if len(axes) != 2:
        return []
    across, down = axes[1], axes[0]
    return [_heat(points, one, across, down) for one in found[:MEASURES_MAX]]


def _heat(points: Sequence[Point], one: Measured, across: str, down: str) -> Heat:
    columns = list(dict.fromkeys(point.axes[across] for point in points))
    rows = list(dict.fromkeys(point.axes[down] for point in points))
    numbers = {(p.axes[down], p.axes[across]): number for number, p in enumerate(points)}
    known = [value for value in one.values if value]
    low, high = min(known, default=1), max(known, default=1)

    def cell(number: int | None) -> Cell | None:
        value = None if number is None else one.values[number]
        if number is None or value is None:
            return None
        share = (value - low) / (high - low) if high > low * ALIKE else 0.0
        share = 1 - share if one.is_time and high > low * ALIKE else share
        shade = min(int(max(share, 0) * HEAT_STEPS), HEAT_STEPS - 1)
        return Cell(one.told[number], one.relative[number], shade)

    return Heat(
        one.name,
        "stronger is less" if one.is_time else "stronger is more",
        across,
        down,
        columns,
        [(row, [cell(numbers.get((row, column))) for column in columns]) for row in rows],
    )


def shares(points: Sequence[Point], kinds: Sequence[str]) -> list[list[str]]:
    """Every share of vcpu time of every point, the slim ones too, in the order of `kinds`."""
    return [
        [
            words.percent(point.result.cpu.get(kind, 0), sum(point.result.cpu.values()))
            for kind in kinds
        ]
        for point in points
    ]


def headings(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Colour and name of each column of the shares."""
    return [(colour, words.use(kind)) for kind, colour in use_colours(kinds).items()]
