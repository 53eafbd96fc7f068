"""The picture of a stretch: a track per vcpu, the flights of its tokens below it, tasks asleep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pagewake.observe.report.svg import FONT_PX, WIDE_PX, Chart, blank, chart, panel
from pagewake.observe.report.svg import PLACEHOLDERS as COLOUR
from pagewake.observe.report.timeline import BLACKOUT, L2, RUNNING, Flight, Span, Timeline, is_halt
from pagewake.observe.report.words import duration

# Heights: a bar as tall as its text, lanes of thin lines below it, air, the panel of sleepers.
_BAR_PX = 16
_LANE_PX = 6
_GAP_PX = 12
_SLEEPERS_PX = 58
_LANES_MAX = 8
"""Flights that overlap more often share the last lane: a track stays below 80 pixels."""
_OUTLINED_MAX = 200
"""So many spans of one vcpu are about four pixels wide each; outlines would cover them."""
_FLIGHTS_MAX = 200
"""More of them are one grey area, and the caption says that they are left out."""
_COLUMNS = 800
"""Steps of the sleepers drawn: about one a pixel of the wide picture."""


_Line: TypeAlias = tuple[tuple[float, float], tuple[float, float]]


class _Row(NamedTuple):
    """Where one vcpu is drawn: the top of its bar, and the flights of each lane below it."""

    vcpu: int
    top: float
    lanes: list[list[Flight]]


def timeline_chart(name: str, timeline: Timeline) -> Chart:
    """Tracks of the vcpus, flights of tokens below each, and the tasks asleep."""

    def draw(width: int) -> Figure:
        rows, height = _rows(timeline)
        above = _SLEEPERS_PX + 14 if any(number for _, number in timeline.sleepers) else 0
        figure = blank(width, round(height) + above + 30)
        axes = panel(figure, 50, above, 12, 30)
        axes.set_ylim(height, 0)
        for row in rows:
            _states(axes, row, timeline)
            _flights(axes, row, timeline)
        _timeline_axis(axes, timeline, width)
        axes.spines["left"].set_visible(False)
        axes.yaxis.set_major_locator(FixedLocator([row.top + _BAR_PX / 2 for row in rows]))
        names = {row.top + _BAR_PX / 2: f"vcpu {row.vcpu}" for row in rows}
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: names.get(value, "")))
        axes.tick_params(axis="y", length=0)
        if above:
            _sleepers(panel(figure, 50, 16, 12, round(height) + 44), timeline)
        return figure

    return chart(name, f"what the vcpus of {timeline.vm} did", draw)


STATES = {
    "running": "running",
    "nested": "in L2",
    "idle": "idle",
    "halted": "halted for a page",
    "blackout": "blacked out",
}


def legend(timeline: Timeline) -> list[tuple[str, str]]:
    """Colour and name of the states that its picture shows."""
    shown = {_state_colour(span.state) for v in timeline.vcpus for span in _visible(timeline, v)}
    return [(colour, name) for colour, name in STATES.items() if colour in shown]


def drawn_flights(timeline: Timeline) -> list[Flight]:
    """The flights that its picture shows: all of the stretch, or none if they would be a blur."""
    seen = [one for one in timeline.flights if _overlaps(one, timeline)]
    return seen if len(seen) <= _FLIGHTS_MAX else []


def _rows(timeline: Timeline) -> tuple[list[_Row], float]:
    rows: list[_Row] = []
    top = 4.0
    flights = drawn_flights(timeline)
    for vcpu in timeline.vcpus:
        lanes = _lanes([one for one in flights if one.vcpu == vcpu], timeline)
        rows.append(_Row(vcpu, top, lanes))
        top += _BAR_PX + _LANE_PX * len(lanes) + _GAP_PX
    return rows, top


def _overlaps(flight: Flight, timeline: Timeline) -> bool:
    ends_ns = timeline.until_ns if flight.until_ns is None else flight.until_ns
    return flight.from_ns < timeline.until_ns and ends_ns > timeline.from_ns


def _lanes(flights: Sequence[Flight], timeline: Timeline) -> list[list[Flight]]:
    """Flights that overlap lie below one another; beyond the last lane they share it."""
    lanes: list[list[Flight]] = []
    ends: list[int] = []
    apart_ns = (timeline.until_ns - timeline.from_ns) // 50
    for flight in flights:
        end = timeline.until_ns + 1 if flight.until_ns is None else flight.until_ns
        free = next(
            (lane for lane, taken in enumerate(ends) if taken + apart_ns < flight.from_ns),
            len(ends),
        )
        if free == len(ends) and len(ends) < _LANES_MAX:
            lanes.append([])
            ends.append(-1)
        lane = min(free, len(ends) - 1)
        lanes[lane].append(flight)
        ends[lane] = max(ends[lane], end)
    return lanes


def _state_colour(state: str) -> str:
    if state == RUNNING:
        return "running"
    if state == L2:
        return "nested"
    if state == BLACKOUT:
        return "blackout"
    return "halted" if is_halt(state) else "idle"


def _states(axes: Axes, row: _Row, timeline: Timeline) -> None:
    """Draw the bar of a vcpu, a collection per state; L2 lies over *running*."""
    pieces: dict[str, list[tuple[float, float]]] = {}
    for span in _visible(timeline, row.vcpu):
        from_ns = max(span.from_ns, timeline.from_ns)
        until_ns = min(span.until_ns, timeline.until_ns)
        pieces.setdefault(_state_colour(span.state), []).append((from_ns, until_ns - from_ns))
    # A line of its own keeps a short state visible, but thousands would hide what lies below.
    line = 0.4 if sum(map(len, pieces.values())) < _OUTLINED_MAX else 0
    for colour in ("running", "idle", "halted", "blackout", "nested"):
        if colour in pieces:
            axes.broken_barh(
                pieces[colour], (row.top, _BAR_PX), color=COLOUR[colour], linewidth=line
            )


def _visible(timeline: Timeline, vcpu: int) -> list[Span]:
    return [
        span
        for span in timeline.spans
        if span.vcpu == vcpu
        and span.until_ns > timeline.from_ns
        and span.from_ns < timeline.until_ns
    ]


def _flights(axes: Axes, row: _Row, timeline: Timeline) -> None:
    """Draw the flights: thick while the page is on its way, thin from there to READY."""
    coming: list[_Line] = []
    waiting: list[_Line] = []
    starts: list[tuple[float, float]] = []
    ends: list[tuple[float, float]] = []
    for lane, flights in enumerate(row.lanes):
        at = row.top + _BAR_PX + _LANE_PX * (lane + 0.75)
        for _, from_ns, until_ns, arrived_ns in flights:
            low = max(from_ns, timeline.from_ns)
            high = timeline.until_ns if until_ns is None else min(until_ns, timeline.until_ns)
            there = high if arrived_ns is None else min(max(arrived_ns, low), high)
            coming.append(((low, at), (there, at)))
            waiting.append(((there, at), (high, at)))
            if from_ns >= timeline.from_ns:
                starts.append((from_ns, at))
            if until_ns is not None and until_ns <= timeline.until_ns:
                ends.append((until_ns, at))
    for lines, wide in ((coming, 2.4), (waiting, 0.8)):
        axes.add_collection(LineCollection(lines, colors=COLOUR["flight"], linewidths=wide))
    for points, mark in ((starts, "o"), (ends, ">")):
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, mark, color=COLOUR["flight"], markersize=4, markeredgewidth=0)


def _timeline_axis(axes: Axes, timeline: Timeline, width: int) -> None:
    """Time since the stretch began; the caption says when that was."""
    axes.set_xlim(timeline.from_ns, timeline.until_ns)
    span_s = (timeline.until_ns - timeline.from_ns) / 1e9
    locator = MaxNLocator(10 if width == WIDE_PX else 4)
    steps = [tick for tick in locator.tick_values(0, span_s) if 0 <= tick <= span_s * 1.0001]
    axes.xaxis.set_major_locator(FixedLocator([timeline.from_ns + tick * 1e9 for tick in steps]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: duration(round(value - timeline.from_ns) / 1e9))
    )
    axes.get_xticklabels()[-1].set_horizontalalignment("right")


def _thinned(steps: list[tuple[int, int]], timeline: Timeline) -> list[tuple[int, int]]:
    """Steps for the picture: the highest of each column where there are more than columns."""
    if len(steps) <= _COLUMNS:
        return steps
    column_ns = (timeline.until_ns - timeline.from_ns) // _COLUMNS + 1
    columns: dict[int, tuple[int, int]] = {}  # the highest, the last
    for at_ns, number in steps:
        column = (at_ns - timeline.from_ns) // column_ns
        columns[column] = max(number, columns.get(column, (0, 0))[0]), number
    thinned: list[tuple[int, int]] = []
    for column, (highest, last) in columns.items():
        begin_ns = timeline.from_ns + column * column_ns
        thinned.append((begin_ns, highest))
        if column + 1 not in columns and begin_ns + column_ns < timeline.until_ns:
            thinned.append((begin_ns + column_ns, last))
    return thinned


def _sleepers(axes: Axes, timeline: Timeline) -> None:
    axes.set_xlim(timeline.from_ns, timeline.until_ns)
    before = [number for at_ns, number in timeline.sleepers if at_ns <= timeline.from_ns]
    steps = [(timeline.from_ns, before[-1] if before else 0)]
    steps += [
        (at_ns, number)
        for at_ns, number in timeline.sleepers
        if timeline.from_ns < at_ns < timeline.until_ns
    ]
    steps = _thinned(steps, timeline)
    edges = [*(at_ns for at_ns, _ in steps), timeline.until_ns]
    axes.stairs([number for _, number in steps], edges, fill=True, color=COLOUR["idle"])
    axes.set_ylim(0, max(1, *(number for _, number in steps)) * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    axes.xaxis.set_major_locator(NullLocator())
    axes.set_title("tasks asleep", loc="left", fontsize=FONT_PX, pad=3, x=0)
