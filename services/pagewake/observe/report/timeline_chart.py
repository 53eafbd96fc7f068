"""The picture of a stretch: tracks of a vcpu and its tasks, the flights of its tokens, sleepers.

It needs no script. `live.py` has what a script needs to let one move about in the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pagewake.observe.report.svg import FONT_PX, WIDE_PX, Chart, blank, chart, panel, tip
from pagewake.observe.report.svg import PLACEHOLDERS as COLOUR
from pagewake.observe.report.timeline import Flight, Mark, Ran, Span, Timeline, colour_of
from pagewake.observe.report.words import instant, on_axis

# Heights: a bar as tall as its text, a flatter one for its tasks, lanes of thin lines below it,
# air, the panel of sleepers.
SIMULATED: Final = "simulated time"
_BAR_PX = 16
_TASK_PX = 13
_LANE_PX = 6
_GAP_PX = 12
_SLEEPERS_PX = 58
_LANES_MAX = 8
"""Flights that overlap more often share the last lane: a track stays below 80 pixels."""
_OUTLINED_MAX = 200
"""So many spans of one vcpu are about four pixels wide each; outlines would cover them."""
_FLIGHTS_MAX = 200
"""More of them are one grey area, and the caption says that they are left out."""
MARKS_MAX = 20
"""Interventions numbered in one picture; a caption of more would be a page."""
_COLUMNS = 800
"""Steps of the sleepers drawn: about one a pixel of the wide picture."""


_CHARACTER_PX = 6.3

_Line: TypeAlias = tuple[tuple[float, float], tuple[float, float]]


class _Row(NamedTuple):
    """Where one vcpu is drawn: the top of its bar, and the flights of each lane below it."""

    vcpu: int
    top: float
    lanes: list[list[Flight]]


def timeline_chart(
    name: str, timeline: Timeline, colours: Mapping[str, str], time: str = SIMULATED
) -> Chart:
    """The picture of a timeline, for a page; `time`: what its axis is of."""
    label = f"what the vcpus of {timeline.vm} did"
    return chart(name, label, lambda width: timeline_figure(timeline, colours, width, time))


def timeline_figure(
    timeline: Timeline, colours: Mapping[str, str], width: int, time: str = SIMULATED
) -> Figure:
    """Tracks of the vcpus, flights of tokens below each, and the tasks asleep.

    `colours`: names of the colours of tasks, by `task_of`.
    """
    rows, height = _rows(timeline)
    above = _SLEEPERS_PX + 14 if any(number for _, number in timeline.sleepers) else 0
    figure = blank(width, round(height) + above + 48)
    axes = panel(figure, 50, above, 32, 48)
    axes.set_ylim(height, 0)
    for row in rows:
        _states(axes, row, timeline)
        _tasks(axes, row, timeline, colours, width)
        _flights(axes, row, timeline)
    _marks(axes, timeline, height)
    _timeline_axis(axes, timeline, width, time)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(FixedLocator([row.top + _BAR_PX / 2 for row in rows]))
    names = {row.top + _BAR_PX / 2: f"vcpu {row.vcpu}" for row in rows}
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: names.get(value, "")))
    axes.tick_params(axis="y", length=0)
    if above:
        _sleepers(panel(figure, 50, 16, 32, round(height) + 62), timeline)
    return figure


STATES = {
    "running": "running",
    "nested": "in L2",
    "idle": "idle",
    "halted": "halted for a page",
    "pending": "idle, an exception pending",
    "steal": "waiting for a CPU",
    "blackout": "blacked out",
}


def legend(timeline: Timeline) -> list[tuple[str, str]]:
    """Colour and name of the states that its picture shows."""
    shown = {colour_of(span.state) for v in timeline.vcpus for span in _visible(timeline, v)}
    return [(colour, name) for colour, name in STATES.items() if colour in shown]


def task_of(name: str) -> str:
    """What a slice of a task is coloured by: its table in the scenario; "" if several may be."""
    table, _, number = name.rpartition("-")
    return table if number.isdigit() and " " not in name else ""


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
        top += _BAR_PX + _TASK_PX + _LANE_PX * len(lanes) + _GAP_PX
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


def _states(axes: Axes, row: _Row, timeline: Timeline) -> None:
    """Draw the bar of a vcpu, a collection per state; L2 lies over *running*."""
    pieces: dict[str, list[tuple[float, float]]] = {}
    for span in _visible(timeline, row.vcpu):
        pieces.setdefault(colour_of(span.state), []).append(_within(span, timeline))
    # A line of its own keeps a short state visible, but thousands would hide what lies below.
    line = 0.4 if sum(map(len, pieces.values())) < _OUTLINED_MAX else 0
    for colour in ("running", "idle", "pending", "steal", "halted", "blackout", "nested"):
        if colour in pieces:
            axes.broken_barh(
                pieces[colour], (row.top, _BAR_PX), color=COLOUR[colour], linewidth=line
            )


def _tasks(
    axes: Axes, row: _Row, timeline: Timeline, colours: Mapping[str, str], width: int
) -> None:
    """Draw which task ran, with its name where there is room for it."""
    per_px = (timeline.until_ns - timeline.from_ns) / (width - 82)
    pieces: dict[str, list[tuple[float, float]]] = {}
    top = row.top + _BAR_PX + 1
    for ran in timeline.tasks:
        if ran.vcpu != row.vcpu or not _seen(ran, timeline):
            continue
        colour = colours.get(task_of(ran.task), "interrupt")
        from_ns, for_ns = _within(ran, timeline)
        pieces.setdefault(colour, []).append((from_ns, for_ns))
        if for_ns > (len(ran.task) * _CHARACTER_PX + 6) * per_px:
            axes.text(
                from_ns + 3 * per_px, top + (_TASK_PX - 2) / 2, ran.task, va="center",
                color=COLOUR[f"on-{colour}"], fontsize=_TASK_PX - 3,
            )  # fmt: skip
    for colour, ranges in pieces.items():
        axes.broken_barh(ranges, (top, _TASK_PX - 2), color=COLOUR[colour], linewidth=0)


def _marks(axes: Axes, timeline: Timeline, height: float) -> None:
    """Draw a line where something was done to the VM; the caption says what, by number."""
    for number, mark in shown_marks(timeline):
        axes.axvline(mark.at_ns, color=COLOUR["blackout"], linewidth=1, linestyle=(0, (2, 2)))
        axes.text(
            mark.at_ns, height - 1, f"{number}", ha="right", va="bottom",
            color=COLOUR["ink"], gid=tip(f"{instant(mark.at_ns)}: {mark.words}"),
        )  # fmt: skip


def shown_marks(timeline: Timeline) -> list[tuple[int, Mark]]:
    """Interventions in the picture, numbered from 1."""
    inside = [one for one in timeline.marks if timeline.from_ns <= one.at_ns < timeline.until_ns]
    return list(enumerate(inside[:MARKS_MAX], 1))


def _within(piece: Span | Ran, timeline: Timeline) -> tuple[int, int]:
    """Begin and length of the part of it that is in the picture."""
    from_ns = max(piece.from_ns, timeline.from_ns)
    return from_ns, min(piece.until_ns, timeline.until_ns) - from_ns


def _seen(piece: Span | Ran, timeline: Timeline) -> bool:
    return piece.until_ns > timeline.from_ns and piece.from_ns < timeline.until_ns


def _visible(timeline: Timeline, vcpu: int) -> list[Span]:
    return [span for span in timeline.spans if span.vcpu == vcpu and _seen(span, timeline)]


def _flights(axes: Axes, row: _Row, timeline: Timeline) -> None:
    """Draw the flights: thick while the page is on its way, thin from there to READY.

    An arrowhead is a READY that came; a cross one that the guest waits for in vain, a bar one that
    it does not wait for.
    """
    coming: list[_Line] = []
    waiting: list[_Line] = []
    starts: list[tuple[float, float]] = []
    ends: dict[str, list[tuple[float, float]]] = {">": [], "x": [], "|": []}
    for lane, flights in enumerate(row.lanes):
        at = row.top + _BAR_PX + _TASK_PX + _LANE_PX * (lane + 0.75)
        for _, from_ns, until_ns, arrived_ns, never, lost in flights:
            low = max(from_ns, timeline.from_ns)
            high = timeline.until_ns if until_ns is None else min(until_ns, timeline.until_ns)
            there = high if arrived_ns is None else min(max(arrived_ns, low), high)
            coming.append(((low, at), (there, at)))
            waiting.append(((there, at), (high, at)))
            if from_ns >= timeline.from_ns:
                starts.append((from_ns, at))
            if until_ns is not None and until_ns <= timeline.until_ns:
                ends["x" if lost else "|" if never else ">"].append((until_ns, at))
    for lines, wide in ((coming, 2.4), (waiting, 0.8)):
        axes.add_collection(LineCollection(lines, colors=COLOUR["flight"], linewidths=wide))
    for mark, points in (("o", starts), *ends.items()):
        if points:
            x, y = zip(*points, strict=True)
            colour = COLOUR["blackout" if mark == "x" else "flight"]
            size, edge = (7, 2) if mark in "x|" else (4, 0)
            axes.plot(x, y, mark, color=colour, markersize=size, markeredgewidth=edge)


def _timeline_axis(axes: Axes, timeline: Timeline, width: int, time: str) -> None:
    """Time since the run or the recording began."""
    axes.set_xlim(timeline.from_ns, timeline.until_ns)
    locator = MaxNLocator(7 if width == WIDE_PX else 3, steps=[1, 2, 5, 10])
    ticks = locator.tick_values(timeline.from_ns / 1e9, timeline.until_ns / 1e9)
    edges = timeline.from_ns * (1 - 1e-12), timeline.until_ns * (1 + 1e-12)
    ticks = [tick for tick in ticks if edges[0] <= tick * 1e9 <= edges[1]]
    labels = dict(zip([tick * 1e9 for tick in ticks], on_axis(ticks), strict=True))
    axes.xaxis.set_major_locator(FixedLocator(list(labels)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.get(value, "")))
    axes.set_xlabel(time, loc="left", labelpad=5)


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
