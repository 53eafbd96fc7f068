"""A map of where asynchronous page faults pay, as heat maps side by side.

The first two axes make a panel, the others panels beside and below each other. The colour says the
verdict and how far the ratio is from 1, blue for gain and orange for cost, which eyes that confuse
red with green tell apart; the number says it without colour. A ratio that the seeds do not agree on
has the colour of 1, however far from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pagewake.observe.headline import figure
from pagewake.observe.payoff import Payoff, Spot
from pagewake.observe.regions import short_names
from pagewake.observe.report.charts import shortened
from pagewake.observe.report.svg import PLACEHOLDERS as COLOUR
from pagewake.observe.report.svg import Chart, blank, chart, panel, tip

FAR = (1.05, 1.25)
"""Ratios, or one by them, from which on a colour is stronger."""
CHARACTER_PX = 6.6  # mean width of a digit or a letter of an axis' values
BOLD_PX = 7.2  # the same of a panel's name
CELL_PX = (38, 26)
CELL_MIN_PX = 34  # what a ratio in four digits takes
HEADING_PX = 40  # the panel's name, and the values across
GAP_PX = 14
TITLE_MARGIN_PX = 30  # what `shortened` keeps free, which a panel's gap already is


class Layout(NamedTuple):
    """Where things are in pixels: the width of labels, cells and panels, and panels in a row."""

    labels: float
    cell: float
    panel: float
    in_a_row: int
    height: float
    """Of one panel."""

    @property
    def told(self) -> bool:
        """Whether there is room for a number in a cell."""
        return self.cell >= CELL_MIN_PX


class Panel(NamedTuple):
    """One heat map: what the other axes are, and the values of its rows and columns."""

    rest: tuple[str, ...]
    rows: Sequence[str]
    columns: Sequence[str]


def payoff_chart(name: str, payoff: Payoff) -> Chart:
    """The map, for a wide page and for a phone."""
    return chart(name, f"{payoff.name}; the table below has the numbers", _Drawing(payoff).draw)


def shade(spot: Spot) -> str:
    """The name of its colour: `even`, or `pay-` or `cost-` and a number from 1 to 3."""
    if spot.verdict == "neither":
        return "even"
    pays = spot.verdict == "pays"
    far = spot.ratio if pays else 1 / spot.ratio if spot.ratio else FAR[-1]
    return f"{'pay' if pays else 'cost'}-{1 + sum(far >= step for step in FAR)}"


class _Drawing:
    def __init__(self, payoff: Payoff) -> None:
        self._payoff = payoff
        (_, rows), *others = payoff.axes.items()
        self._across, columns = others[0] if others else ("", [""])
        self._others = dict(others[1:])
        self._panels = [Panel(rest, rows, columns) for rest in product(*self._others.values())]

    def draw(self, width: int) -> Figure:
        """A figure of so many pixels."""
        lay = self._layout(width)
        lines = -(-len(self._panels) // lay.in_a_row)
        height = lines * (lay.height + GAP_PX) + 4
        figure = blank(width, round(height))
        axes = panel(figure, 0, 0, 0, 0)
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        for number, one in enumerate(self._panels):
            line, place = divmod(number, lay.in_a_row)
            left = place * (lay.panel + GAP_PX)
            self._panel(axes, one, lay, left, line * (lay.height + GAP_PX))
        return figure

    def _layout(self, width: int) -> Layout:
        rows, columns = self._panels[0].rows, self._panels[0].columns
        labels = min(8 + CHARACTER_PX * max(map(len, rows)), width / 3)
        widest = max(map(len, columns)) * CHARACTER_PX + 6
        cell = min(max(CELL_PX[0], widest), (width - labels) / len(columns))
        longest = max(len(self._title(one)) for one in self._panels) * BOLD_PX
        whole = max(labels + len(columns) * cell, min(longest, width))
        fit = max(1, int((width + GAP_PX) // (whole + GAP_PX)))
        beside = len(list(self._others.values())[-1]) if self._others else 1
        in_a_row = next(count for count in range(min(fit, beside), 0, -1) if beside % count == 0)
        return Layout(labels, cell, whole, in_a_row, HEADING_PX + len(rows) * CELL_PX[1])

    def _title(self, one: Panel) -> str:
        names = short_names(list(self._payoff.axes))[2:]
        return ", ".join(f"{name} {value}" for name, value in zip(names, one.rest, strict=True))

    def _panel(self, axes: Axes, one: Panel, lay: Layout, left: float, top: float) -> None:
        title = shortened(self._title(one), int(lay.panel) + TITLE_MARGIN_PX)
        axes.text(left, top + 12, title, va="center", fontweight="bold")
        for column, value in enumerate(one.columns):
            middle = left + lay.labels + (column + 0.5) * lay.cell
            axes.text(middle, top + 30, value, ha="center", va="center")
        for row, value in enumerate(one.rows):
            middle = top + HEADING_PX + (row + 0.5) * CELL_PX[1]
            axes.text(left, middle, value, va="center")
            for column, other in enumerate(one.columns):
                pair = (value, other) if self._across else (value,)
                at = left + lay.labels + column * lay.cell
                spot = self._payoff.spots.get((*pair, *one.rest))
                if spot is not None:
                    _cell(axes, spot, at, middle, lay, ", ".join((*pair, *one.rest)))


def _cell(axes: Axes, spot: Spot, left: float, middle: float, lay: Layout, where: str) -> None:
    colour = shade(spot)
    size = (lay.cell - 1, CELL_PX[1] - 1)
    box = Rectangle((left, middle - CELL_PX[1] / 2), *size, facecolor=COLOUR[colour], linewidth=0)
    box.set_gid(
        tip(
            f"{where}: {figure(spot.ratio)}, {figure(spot.low)} to {figure(spot.high)}"
            f" by seed, {spot.verdict}"
        )
    )
    axes.add_patch(box)
    if lay.told:
        ink, middle_of_it = COLOUR[f"on-{colour}"], left + lay.cell / 2
        axes.text(middle_of_it, middle, figure(spot.ratio), ha="center", va="center", color=ink)
