"""The part of a grid's page that says where asynchronous page faults pay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pagewake.observe.headline import NEGLIGIBLE, figure
from pagewake.observe.payoff import MODE, Payoff, payoffs, region_lines
from pagewake.observe.report.grids import MEASURES_MAX, Point
from pagewake.observe.report.payoff_chart import payoff_chart
from pagewake.observe.report.svg import Chart


class Map(NamedTuple):
    """One map as its page shows it; `rows` are places, ratios with their range, and verdicts."""

    name: str
    layout: str
    picture: Chart
    said: str
    regions: list[str]
    axes: list[str]
    rows: list[tuple[tuple[str, ...], list[str], str]]
    key: str = MODE
    negligible: str = f"{100 * NEGLIGIBLE:.1f} %"


def maps(points: Sequence[Point]) -> list[Map]:
    """A map of each measure that has a picture, with each mode; none if the grid is no map."""
    found = payoffs([point.axes for point in points], [point.result for point in points])
    measures = list(dict.fromkeys(payoff.measure for payoff in found))[:MEASURES_MAX]
    return [
        _map(number, payoff) for number, payoff in enumerate(found) if payoff.measure in measures
    ]


def _map(number: int, payoff: Payoff) -> Map:
    axes = list(payoff.axes)
    layout = f"{axes[0]} downwards" + (f", {axes[1]} across" if len(axes) > 1 else "")
    return Map(
        payoff.name,
        layout,
        payoff_chart(f"payoff-{number}", payoff),
        payoff.said(),
        [line.strip() for line in region_lines(payoff)],
        axes,
        [
            (place, [figure(ratio) for ratio in spot], spot.verdict)
            for place, spot in payoff.spots.items()
        ],
    )
