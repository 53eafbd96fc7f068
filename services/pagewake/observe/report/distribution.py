"""How long tasks slept and vcpus stood still: histograms over one logarithmic axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pagewake.observe.report.durations import EDGES_NS, Durations
from pagewake.observe.report.svg import FONT_PX, Chart, blank, chart, panel, tip
from pagewake.observe.report.svg import PLACEHOLDERS as COLOUR
from pagewake.observe.report.words import count, duration
from pagewake.observe.result import WaitTimes

_APART_PX = 38  # two labels such as "p50" and "p90" side by side need this


def durations_chart(
    name: str, kinds: Sequence[tuple[str, str, Durations]], times: WaitTimes | None
) -> Chart | None:
    """Histograms over one logarithmic axis of time; `kinds` are (label, colour, durations)."""
    shown = [(label, colour, counted) for label, colour, counted in kinds if counted.total]
    if not shown:
        return None
    first, behind = _extent([counted for _, _, counted in shown])

    def draw(width: int) -> Figure:
        figure = blank(width, 182 * len(shown) + 18)
        for index, (label, colour, counted) in enumerate(shown):
            axes = panel(figure, 48, 40 + 182 * index, 14, 44 + 182 * (len(shown) - 1 - index))
            _histogram(axes, counted, first, behind, COLOUR[colour])
            axes.set_title(label, loc="left", fontsize=FONT_PX, pad=20, x=-42 / (width - 62))
            if colour == "task-1" and times is not None:
                _percentiles(axes, times)
            _time_axis(axes, first, behind, width)
            if counted is shown[-1][2]:
                axes.set_xlabel("how long, a logarithmic axis", loc="left", labelpad=5)
        return figure

    return chart(name, "how long tasks slept and vcpus stood still", draw)


def _extent(shown: Sequence[Durations]) -> tuple[int, int]:
    """Bins that show everything, at least a decade of them."""
    spans = [span for one in shown if (span := one.span()) is not None]
    first, behind = min(span[0] for span in spans), max(span[1] for span in spans)
    while behind - first < 12:
        first, behind = max(first - 1, 0), min(behind + 1, len(EDGES_NS) - 1)
    return max(first - 1, 0), min(behind + 1, len(EDGES_NS) - 1)


def _histogram(axes: Axes, counted: Durations, first: int, behind: int, colour: str) -> None:
    counts = counted.counts(first, behind)
    edges = [edge / 1e9 for edge in EDGES_NS[first : behind + 1]]
    left = [edge * 1.012 for edge in edges[:-1]]
    right = [edge / 1.012 for edge in edges[1:]]
    axes.set_xscale("log")
    for low, high, height in zip(left, right, counts, strict=True):
        if height:
            (bar,) = axes.bar(low, height, high - low, align="edge", color=colour, linewidth=0)
            bar.set_gid(tip(f"{duration(low)} to {duration(high)}: {count(height)}"))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, max(counts) * 1.18)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _time_axis(axes: Axes, first: int, behind: int, width: int) -> None:
    """Ticks at 1, 2 and 5 of each decade, as far as there is room."""
    low, high = EDGES_NS[first] / 1e9, EDGES_NS[behind] / 1e9
    ticks: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in range(-8, 5) for step in steps]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) * 52 < width - 62:
            break
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))


def _percentiles(axes: Axes, times: WaitTimes) -> None:
    """Lines at p50, p90 and p99; those that lie close to one another share a label."""
    top = axes.get_ylim()[1]
    width = axes.get_window_extent().width
    low, high = axes.get_xlim()
    labels: list[tuple[list[str], list[float]]] = []
    for name, value in (("p50", times.p50), ("p90", times.p90), ("p99", times.p99)):
        axes.axvline(value, color=COLOUR["ink"], linewidth=1, linestyle=(0, (4, 3)))
        if labels and width * _log_share(value / labels[-1][1][-1], high / low) < _APART_PX:
            labels[-1][0].append(name)
            labels[-1][1].append(value)
        else:
            labels.append(([name], [value]))
    for names, values in labels:
        at = (values[0] * values[-1]) ** 0.5
        axes.text(at, top, ", ".join(names), ha="center", va="bottom")


def _log_share(part: float, whole: float) -> float:
    return log(part) / log(whole)
