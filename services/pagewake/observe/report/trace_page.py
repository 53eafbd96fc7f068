"""The page of a trace: what is in it, its miss-ratio curve, its working set over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pagewake import __version__
from pagewake.observe.report.html import environment, json_block
from pagewake.observe.report.svg import PLACEHOLDERS as COLOUR
from pagewake.observe.report.svg import WIDE_PX, Chart, blank, chart, panel, tip
from pagewake.observe.report.words import count, duration, percent, short
from pagewake.observe.trace_facts import HEADINGS, facts, length, looked_at, remark, row, size
from pagewake.scenario.trace_info import TraceInfo
from pagewake.scenario.units import PAGE_BYTES

CHART_HEIGHT_PX = 260
_MIB = 1 << 20

Points = Sequence[tuple[float, float, str]]
"""Where a point is, and what it says when it is pointed at."""


def page_of_trace(info: TraceInfo) -> str:
    """The page; it needs nothing but itself."""
    told = dict(facts(info))
    shown = ("accesses", "pages", "writes", "length", "working set", "reuse")
    return environment().get_template("trace.html").render(
        name=Path(info.trace).name,
        facts=[info.format, f"pagewake {__version__}"],
        verdict=_verdict(info),
        about=[(label, told[label]) for label in shown if label in told],
        looked_at=looked_at(info),
        remark=remark(info),
        curve=_miss_curve(info),
        page_ins=_page_ins(info),
        working_set=_working_set(info),
        headings=HEADINGS,
        rows=[row(expected) for expected in (*info.limits, *info.curve)],
        json=json_block(info),
    )  # fmt: skip


def _verdict(info: TraceInfo) -> str:
    """The limit from which on little is read again."""
    enough = next(one for one in info.curve if one.page_ins * 100 <= info.pages)
    return (
        f"{size(info.pages)} are touched; from a limit of {size(enough.limit_pages)} on,"
        f" {count(enough.page_ins)} or fewer page-ins are expected."
    )


OVER_LIMITS = "MiB that may stay resident (limit)"


def _miss_curve(info: TraceInfo) -> Chart:
    points = [
        (
            one.limit_pages * PAGE_BYTES / _MIB,
            100 * one.share,
            f"{size(one.limit_pages)}: {count(one.page_ins)} page-ins, {percent(one.share, 1)}",
        )
        for one in info.curve
    ]

    def draw(width: int) -> Figure:
        return _line(width, points, OVER_LIMITS, "{:.3g} %".format)

    return chart("misses", "share of touches that read a page again, by limit", draw)


def _page_ins(info: TraceInfo) -> Chart | None:
    """Where the curve is close to zero, a tenth of it is still worth a look."""
    points = [
        (
            one.limit_pages * PAGE_BYTES / _MIB,
            float(one.page_ins),
            f"{size(one.limit_pages)}: {count(one.page_ins)} page-ins",
        )
        for one in info.curve
        if one.page_ins
    ]
    if not points:
        return None

    def draw(width: int) -> Figure:
        figure = _line(width, points, OVER_LIMITS, lambda value: short(round(value)))
        axes = figure.axes[0]
        axes.set_yscale("log")
        axes.set_ylim(0.8, max(value for _, value, _ in points) * 1.5)
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(round(value))))
        return figure

    return chart("page-ins", "expected page-ins by limit, a logarithmic axis", draw)


def _working_set(info: TraceInfo) -> Chart:
    by_time = info.unit == "nanoseconds"

    def at(since: int) -> str:
        return duration(since / 1e9) if by_time else short(since)

    points = [
        (float(part.since), float(part.pages), f"from {at(part.since)}: {count(part.pages)} pages")
        for part in info.working_set
    ]
    over = "time" if by_time else "instructions"

    def draw(width: int) -> Figure:
        figure = _line(width, points, f"{over}, of {length(info)}", lambda value: f"{value:,.0f}")
        ticks = FuncFormatter(lambda value, _: at(round(value)))
        figure.axes[0].xaxis.set_major_formatter(ticks)
        return figure

    return chart("working-set", f"pages touched in each part, over {over}", draw)


def _line(width: int, points: Points, over: str, told: Callable[[float], str]) -> Figure:
    """A line in steps with a point for each value, from zero."""
    figure = blank(width, CHART_HEIGHT_PX)
    axes = panel(figure, 58, 10, 22, 46)
    places, values = [place for place, _, _ in points], [value for _, value, _ in points]
    axes.plot(places, values, color=COLOUR["task-1"], linewidth=1.8)
    for place, value, about in points:
        axes.plot([place], [value], "o", color=COLOUR["task-1"], markersize=4, gid=tip(about))
    axes.set_xlabel(over, loc="left")
    axes.set_xlim(0, max(places) * 1.01 or 1)
    axes.set_ylim(0, max(values) * 1.08 or 1)
    axes.xaxis.set_major_locator(MaxNLocator(8 if width == WIDE_PX else 3))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(value)))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    return figure
