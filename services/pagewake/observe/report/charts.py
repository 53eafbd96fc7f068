"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pagewake.observe.report.colours import use_colours
from pagewake.observe.report.grids import Measured, Placed
from pagewake.observe.report.svg import PLACEHOLDERS as COLOUR
from pagewake.observe.report.svg import WIDE_PX, Chart, blank, chart, panel, tip
from pagewake.observe.report.words import duration, percent, short, use
from pagewake.observe.result import WaitTimes

CHARACTER_PX = 6.3  # mean width of a character of the font at `FONT_PX`
LABELLED_SHARE = 0.09  # of the bar: on a smaller part a percentage is wider than the part


class Bar(NamedTuple):
    """The vcpu time of one run as a bar: its label, and the time of each kind."""

    label: str
    cpu: Mapping[str, int]
    heading: str = ""


class SleepTimes(NamedTuple):
    """How long the tasks of one run slept, as a line: its label, and the percentiles."""

    label: str
    times: WaitTimes | None
    heading: str = ""


class _Rows:
    """Where the rows of a picture stand: below a heading, if it begins a group, and its label."""

    def __init__(self, rows: Sequence[Bar | SleepTimes | Placed]) -> None:
        self._rows = rows
        self.bars: list[float] = []
        self.height = 0.0
        for row in rows:
            self.height += 30 if row.heading else 0
            self.height += 46 if row.label else 34
            self.bars.append(self.height - 16)

    def write(self, axes: Axes, at: float, width: int) -> None:
        """Write headings and labels; `at` is the left edge, in data."""
        for row, bar in zip(self._rows, self.bars, strict=True):
            if row.label:
                axes.text(at, bar - 20, shortened(row.label, width), va="center")
            if row.heading:
                heading = shortened(row.heading, width)
                axes.text(at, bar - 42, heading, va="center", fontweight="bold")


# ---------------------------------------------------------------------------------- vcpu time


def cpu_bars(name: str, bars: Sequence[Bar], kinds: Sequence[str]) -> Chart:
    """Shares of vcpu time, one stacked bar per run."""
    colours = use_colours(kinds)

    def draw(width: int) -> Figure:
        rows = _Rows(bars)
        figure = blank(width, round(rows.height) + 48)
        axes = panel(figure, 6, 2, 12, 46)
        axes.set_xlim(0, 100)
        axes.set_ylim(rows.height, 0)
        rows.write(axes, 0, width)
        for bar, at in zip(bars, rows.bars, strict=True):
            _stack(axes, bar, kinds, colours, at, width)
        axes.set_xlabel("share of vcpu time", loc="left", labelpad=5)
        _percent_axis(axes)
        return figure

    return chart(name, "vcpu time by use", draw)


def _stack(
    axes: Axes,
    bar: Bar,
    kinds: Sequence[str],
    colours: Mapping[str, str],
    at: float,
    width: int,
) -> None:
    total = sum(bar.cpu.values())
    left = 0.0
    for kind in kinds:
        spent = bar.cpu.get(kind, 0)
        if not spent:
            continue
        share = spent / total
        told = percent(spent, total)
        colour = COLOUR[colours[kind]]
        (piece,) = axes.barh(at, 100 * share, 24, left=left, color=colour, linewidth=0)
        piece.set_gid(tip(f"{use(kind)}: {told}, {duration(spent / 1e9, 4)}"))
        if share > LABELLED_SHARE and share * width > CHARACTER_PX * len(told) + 8:
            ink = COLOUR[f"on-{colours[kind]}"]
            axes.text(left + 50 * share, at, told, ha="center", va="center", color=ink)
        left += 100 * share


def _percent_axis(axes: Axes) -> None:
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")


def shortened(text: str, width_px: int) -> str:
    """The text, cut to what fits into a picture of that width; both ends stay, as they differ."""
    room = int((width_px - 30) / CHARACTER_PX)
    if len(text) <= room:
        return text
    end = (room - 1) // 2
    return f"{text[: room - 1 - end]}…{text[-end:]}"


# ---------------------------------------------------------------------------------- work


def measure_bars(name: str, measure: Measured, points: Sequence[Placed]) -> Chart:
    """One measure of every point."""

    def draw(width: int) -> Figure:
        rows = _Rows(points)
        figure = blank(width, round(rows.height) + 48)
        axes = panel(figure, 6, 2, 84, 46)
        axes.set_ylim(rows.height, 0)
        scale = 1e9 if measure.is_time else 1
        values = [measure.values[one.number] for one in points]
        axes.set_xlim(0, max((value or 0 for value in values), default=0) / scale or 1.0)
        rows.write(axes, 0, width)
        for one, value, at in zip(points, values, rows.bars, strict=True):
            shown, told = (value or 0) / scale, measure.told[one.number]
            (bar,) = axes.barh(at, shown, 24, color=COLOUR["task-1"], linewidth=0)
            bar.set_gid(tip(f"{told}, {measure.relative[one.number]} of the first point"))
            axes.annotate(told, (shown, at), (4, 0), textcoords="offset points", va="center")
        _count_axis(axes, measure, width)
        return figure

    return chart(name, measure.name, draw)


def _count_axis(axes: Axes, measure: Measured, width: int) -> None:
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(5 if width == WIDE_PX else 2))
    told = duration if measure.is_time else _short
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: told(value)))
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.set_xlabel(measure.name, loc="left", labelpad=5)


def _short(value: float) -> str:
    return short(round(value)) if value == round(value) else f"{value:.3g}"


# ---------------------------------------------------------------------------------- sleeps


def time_ranges(name: str, rows: Sequence[SleepTimes], what: str, none: str) -> Chart | None:
    """p50, p90, p99 and the longest of times, a row each, on one logarithmic axis.

    `what` they are; `none` is said of a row without any.
    """
    known = [row.times for row in rows if row.times is not None]
    if not known:
        return None
    low = min(times.p50 for times in known) / 1.6
    high = max(times.max for times in known) * 1.6

    def draw(width: int) -> Figure:
        places = _Rows(rows)
        figure = blank(width, round(places.height) + 48)
        axes = panel(figure, 6, 2, 12, 46)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.set_ylim(places.height, 0)
        places.write(axes, low, width)
        axes.set_xlabel(f"{what}, a logarithmic axis", loc="left", labelpad=5)
        for (_, times, _), at in zip(rows, places.bars, strict=True):
            if times is None:
                axes.text(low, at, none, va="center", color=COLOUR["faint"])
                continue
            axes.plot([times.p50, times.max], [at, at], color=COLOUR["line"], linewidth=2)
            marks = (
                ("p50", times.p50, "o"),
                ("p90", times.p90, "s"),
                ("p99", times.p99, "D"),
                ("longest", times.max, "|"),
            )
            for called, value, mark in marks:
                about = tip(f"{called} {duration(value)}")
                axes.plot([value], [at], mark, color=COLOUR["task-1"], markersize=8, gid=about)
        axes.spines["left"].set_visible(False)
        axes.yaxis.set_major_locator(NullLocator())
        _plain_time_axis(axes, low, high, width)
        return figure

    return chart(name, what, draw)


def _plain_time_axis(axes: Axes, low: float, high: float, width: int) -> None:
    ticks = [10.0**power for power in range(-9, 6) if low <= 10.0**power <= high]
    if len(ticks) < 2:
        ticks = [s * 10.0**p for p in range(-9, 6) for s in (1, 2, 5) if low <= s * 10.0**p <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks[:: 1 + len(ticks) * 52 // width]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
