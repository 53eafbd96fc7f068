"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pagewake.observe.report.svg import PLACEHOLDERS as COLOUR
from pagewake.observe.report.svg import Chart, blank, chart, panel
from pagewake.observe.report.words import duration, percent
from pagewake.observe.result import WaitTimes

TASK_COLOURS = ("task-1", "task-2", "task-3", "task-4", "task-5", "task-6")
USES = {
    "blackout": "blackout",
    "halted": "halted",
    "idle": "idle",
    "l1": "nested",
    "exit": "overhead",
    "interrupt": "interrupt",
}
CHARACTER_PX = 6.3  # mean width of a character of the font at `FONT_PX`
LABELLED_SHARE = 0.09  # of the bar: on a smaller part a percentage is wider than the part


class Bar(NamedTuple):
    """The vcpu time of one run as a bar: its label, and the time of each kind."""

    label: str
    cpu: Mapping[str, int]


class SleepTimes(NamedTuple):
    """How long the tasks of one run slept, as a line: its label, and the percentiles."""

    label: str
    times: WaitTimes | None


def use_colours(kinds: Sequence[str]) -> dict[str, str]:
    """Name of the colour of each kind of vcpu time."""
    tasks = cycle(TASK_COLOURS)
    return {kind: USES.get(kind) or next(tasks) for kind in kinds}


# ---------------------------------------------------------------------------------- vcpu time


def cpu_bars(name: str, bars: Sequence[Bar], kinds: Sequence[str]) -> Chart:
    """Shares of vcpu time, one stacked bar per run."""
    colours = use_colours(kinds)

    def draw(width: int) -> Figure:
        labelled = any(bar.label for bar in bars)
        row = 46 if labelled else 34
        figure = blank(width, row * len(bars) + 26)
        axes = panel(figure, 6, 2, 12, 24)
        axes.set_xlim(0, 100)
        axes.set_ylim(row * len(bars), 0)
        for index, bar in enumerate(bars):
            _stack(axes, bar, kinds, colours, (index + 1) * row - 16, width)
            if labelled:
                axes.text(0, index * row + 10, shortened(bar.label, width), va="center")
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
        axes.barh(at, 100 * share, 24, left=left, color=COLOUR[colours[kind]], linewidth=0)
        told = percent(spent, total)
        if share > LABELLED_SHARE and share * width > CHARACTER_PX * len(told) + 8:
            axes.text(left + 50 * share, at, told, ha="center", va="center", color=COLOUR["paper"])
        left += 100 * share


def _percent_axis(axes: Axes) -> None:
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")


def shortened(text: str, width_px: int) -> str:
    """The text, cut to what fits into a picture of that width."""
    room = int((width_px - 30) / CHARACTER_PX)
    return text if len(text) <= room else text[: room - 1] + "…"


# ---------------------------------------------------------------------------------- work


def work_bars(name: str, rows: Sequence[tuple[str, float]]) -> Chart:
    """The work of every point, relative to that of the first."""

    def draw(width: int) -> Figure:
        figure = blank(width, 46 * len(rows) + 26)
        axes = panel(figure, 6, 2, 44, 24)
        axes.set_ylim(46 * len(rows), 0)
        axes.set_xlim(0, max((value for _, value in rows), default=1.0) or 1.0)
        for index, (label, value) in enumerate(rows):
            at = (index + 1) * 46 - 16
            axes.barh(at, value, 24, color=COLOUR["task-1"], linewidth=0)
            axes.annotate(
                f"{value:.3f}", (value, at), (4, 0), textcoords="offset points", va="center"
            )
            axes.text(0, index * 46 + 10, shortened(label, width), va="center")
        axes.axvline(1, color=COLOUR["ink"], linewidth=1, linestyle=(0, (4, 3)))
        axes.spines["left"].set_visible(False)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.get_xticklabels()[0].set_horizontalalignment("left")
        return figure

    return chart(name, "work relative to the first point", draw)


# ---------------------------------------------------------------------------------- sleeps


def sleep_ranges(name: str, rows: Sequence[SleepTimes]) -> Chart | None:
    """p50, p90, p99 and the longest sleep of several runs, on one logarithmic axis."""
    known = [times for _, times in rows if times is not None]
    if not known:
        return None
    low = min(times.p50 for times in known) / 1.6
    high = max(times.max for times in known) * 1.6

    def draw(width: int) -> Figure:
        figure = blank(width, 46 * len(rows) + 26)
        axes = panel(figure, 6, 2, 12, 24)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.set_ylim(46 * len(rows), 0)
        for index, (label, times) in enumerate(rows):
            at = (index + 1) * 46 - 16
            axes.text(low, index * 46 + 10, shortened(label, width), va="center")
            if times is None:
                axes.text(low, at, "nobody was woken", va="center", color=COLOUR["faint"])
                continue
            axes.plot([times.p50, times.max], [at, at], color=COLOUR["line"], linewidth=2)
            marks = ((times.p50, "o"), (times.p90, "s"), (times.p99, "D"), (times.max, "|"))
            for value, mark in marks:
                axes.plot([value], [at], mark, color=COLOUR["task-1"], markersize=8)
        axes.spines["left"].set_visible(False)
        axes.yaxis.set_major_locator(NullLocator())
        _plain_time_axis(axes, low, high, width)
        return figure

    return chart(name, "how long tasks slept", draw)


def _plain_time_axis(axes: Axes, low: float, high: float, width: int) -> None:
    ticks = [10.0**power for power in range(-9, 6) if low <= 10.0**power <= high]
    if len(ticks) < 2:
        ticks = [s * 10.0**p for p in range(-9, 6) for s in (1, 2, 5) if low <= s * 10.0**p <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks[:: 1 + len(ticks) * 52 // width]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
