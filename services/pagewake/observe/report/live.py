"""What the script of a page needs to let one move about in a run: exact stretch, whole run around.

Numbers are small for the page's sake: instants count from the one before, names and colours are
given by their place in a list.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pagewake.observe.report.overview import Overview
from pagewake.observe.report.timeline import L2, Flight, Ran, Span, Timeline, colour_of
from pagewake.observe.report.timeline_chart import STATES, task_of

DETAIL_MAX = 40_000
"""Spans, slices and flights that a page carries, about 500 kB; of more, the fullest part."""
MIXED = "interrupt"


class _Piece(NamedTuple):
    key: int
    from_ns: int
    until_ns: int


def live(
    stretch: Timeline, shown: Timeline, whole: Overview | None, colours: Mapping[str, str]
) -> dict[str, object]:
    """The data; `shown` is the part that comes first, `colours` are those of tasks by `task_of`."""
    detail = _fitting(stretch, shown)
    states = list(STATES)
    names: dict[str, int] = {}
    vcpus = [_vcpu(detail, whole, vcpu, states, names) for vcpu in detail.vcpus]
    marks = whole.marks if whole is not None else detail.marks
    return {
        "vm": detail.vm,
        "end": max(detail.until_ns, 0 if whole is None else whole.end_ns),
        "from": detail.from_ns,
        "until": detail.until_ns,
        "shown": [shown.from_ns, shown.until_ns],
        "states": [[colour, STATES[colour]] for colour in states],
        "tasks": [[name, colours.get(task_of(name), MIXED)] for name in names],
        "vcpus": vcpus,
        "sleepers": _steps(detail),
        "marks": [[mark.at_ns, mark.words] for mark in marks],
        "column": 0 if whole is None else whole.width_ns,
        "asleep": [] if whole is None else whole.asleep(),
    }


def _fitting(stretch: Timeline, shown: Timeline) -> Timeline:
    """The stretch, or as much of it around what is shown as a page can carry."""
    part = stretch
    while part.drawn() + len(part.tasks) > DETAIL_MAX:
        length = (part.until_ns - part.from_ns) // 2
        if length <= shown.until_ns - shown.from_ns:
            return _cut(stretch, shown.from_ns, shown.until_ns)
        middle = (shown.from_ns + shown.until_ns) // 2
        from_ns = max(part.from_ns, min(middle - length // 2, part.until_ns - length))
        part = _cut(part, from_ns, from_ns + length)
    return part


def _cut(whole: Timeline, from_ns: int, until_ns: int) -> Timeline:
    def inside(piece: Span | Ran) -> bool:
        return piece.from_ns < until_ns and piece.until_ns > from_ns

    return whole._replace(
        from_ns=from_ns,
        until_ns=until_ns,
        spans=[span for span in whole.spans if inside(span)],
        tasks=[ran for ran in whole.tasks if inside(ran)],
        flights=[
            one
            for one in whole.flights
            if one.from_ns < until_ns and (one.until_ns is None or one.until_ns > from_ns)
        ],
    )


def _vcpu(
    detail: Timeline,
    whole: Overview | None,
    vcpu: int,
    states: Sequence[str],
    names: dict[str, int],
) -> dict[str, object]:
    spans = _flat([span for span in detail.spans if span.vcpu == vcpu])
    tasks = [ran for ran in detail.tasks if ran.vcpu == vcpu]
    found: dict[str, object] = {
        "number": vcpu,
        "spans": _packed(
            _Piece(states.index(colour_of(one.state)), one.from_ns, one.until_ns) for one in spans
        ),
        "ran": _packed(
            _Piece(names.setdefault(one.task, len(names)), one.from_ns, one.until_ns)
            for one in tasks
        ),
        "waits": [_flight(one) for one in detail.flights if one.vcpu == vcpu],
    }
    if whole is not None and vcpu in whole.vcpus:
        by_state, by_task = whole.shares(vcpu)
        found["overview"] = {states.index(state): runs for state, runs in by_state.items()}
        found["tasks"] = {
            names.setdefault(name, len(names)): runs for name, runs in by_task.items()
        }
    return found


def _flat(spans: Sequence[Span]) -> list[Span]:
    """Spans one after another: *running* ends where an L2 begins and goes on behind it."""
    holes = deque(sorted(span for span in spans if span.state == L2))
    flat: list[Span] = list(holes)
    for span in sorted(spans, key=lambda span: (span.from_ns, -span.until_ns)):
        if span.state == L2:
            continue
        since_ns = span.from_ns
        while holes and holes[0].until_ns <= span.until_ns:
            hole = holes.popleft()
            if hole.from_ns > since_ns:
                flat.append(span._replace(from_ns=since_ns, until_ns=hole.from_ns))
            since_ns = max(since_ns, hole.until_ns)
        if span.until_ns > since_ns:
            flat.append(span._replace(from_ns=since_ns))
    return flat


def _packed(pieces: Iterable[_Piece]) -> list[int]:
    """Triples: key, distance from the end of the piece before, length."""
    numbers: list[int] = []
    last_ns = 0
    for key, from_ns, until_ns in sorted(pieces, key=lambda piece: piece.from_ns):
        numbers += (key, from_ns - last_ns, until_ns - from_ns)
        last_ns = until_ns
    return numbers


def _flight(one: Flight) -> list[int | str]:
    """From, until the page is there, until READY (0: beyond), and why there was none, if so."""
    arrived = (one.arrived_ns or one.from_ns) - one.from_ns
    until = 0 if one.until_ns is None else one.until_ns - one.from_ns
    start: list[int | str] = [one.from_ns, arrived, until]
    return [*start, one.never, int(one.lost)] if one.never else start


def _steps(detail: Timeline) -> list[int]:
    numbers: list[int] = []
    last_ns = 0
    for at_ns, number in detail.sleepers:
        numbers += (at_ns - last_ns, number)
        last_ns = at_ns
    return numbers
