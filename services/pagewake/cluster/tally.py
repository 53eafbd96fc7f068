"""What a shard's events add up to, for the metrics of a run (design, "Metrics").

A tally belongs to its shard's state: it stands in snapshots, so a counter goes on where the last
owner left it.  Times (ns) and events of a window are counted in powers of two: bucket `b` holds
those of 2**(b-1) to 2**b - 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pagewake.cluster.shard_metrics import COUNTS, LEVELS, SPREADS, WINDOW_EVENTS, Labels
from pagewake.events.types import Event

BUCKETS = 64
RECORDS_SENT = "records_sent"
BYTES_SENT = "bytes_sent"


class Tally:
    """Counts by metric and label values; `buckets` and `sums` of what is spread."""

    __slots__ = ("counts", "events", "buckets", "sums")

    def __init__(self) -> None:
        self.counts: dict[tuple[str, Labels], int] = {}
        self.events = 0
        self.buckets: dict[str, list[int]] = {}
        self.sums: dict[str, int] = {}

    def feed(self, events: Sequence[Event]) -> None:
        """The domain events of one window."""
        self.count(events)
        self.note(WINDOW_EVENTS.name, len(events))

    def count(self, events: Sequence[Event]) -> None:
        """Domain events, of a window or none."""
        move_of = MOVES.get
        for event in events:
            move = move_of(type(event))
            if move is not None:
                move(self, event)
        self.events += len(events)

    def add(self, metric: str, labels: Labels = (), count: int = 1) -> None:
        """Count something."""
        key = (metric, labels)
        self.counts[key] = self.counts.get(key, 0) + count

    def note(self, metric: str, value: int) -> None:
        """Count a time in ns, or a size."""
        buckets = self.buckets.get(metric)
        if buckets is None:
            buckets = self.buckets[metric] = [0] * BUCKETS
        buckets[value.bit_length()] += 1
        self.sums[metric] = self.sums.get(metric, 0) + value

    def state(self) -> dict[str, object]:
        """Plain data for a snapshot."""
        return {name: getattr(self, name) for name in self.__slots__}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a snapshot's."""
        for name in self.__slots__:
            setattr(self, name, state[name])


Move: TypeAlias = Callable[[Tally, Any], None]


def _counting(name: str, labels_of: Callable[[Any], Labels | None]) -> Move:
    def move(tally: Tally, event: Event) -> None:
        labels = labels_of(event)
        if labels is not None:
            key = (name, labels)
            counts = tally.counts
            counts[key] = counts.get(key, 0) + 1

    return move


def _moving(name: str, count: int) -> Move:
    key: tuple[str, Labels] = (name, ())

    def move(tally: Tally, _: Event) -> None:
        tally.counts[key] = tally.counts.get(key, 0) + count

    return move


def _spreading(name: str, value_of: Callable[[Any], int]) -> Move:
    return lambda tally, event: tally.note(name, value_of(event))


def _together(moves: Sequence[Move]) -> Move:
    """Two by two: a call costs less than a loop, and this is done for every event."""
    first, *others = moves
    if not others:
        return first
    second = _together(others)

    def move(tally: Tally, event: Event) -> None:
        first(tally, event)
        second(tally, event)

    return move


def _moves() -> dict[type[Event], Move]:
    """The tables of `shard_metrics` by event: what it does to a tally."""
    moves: dict[type[Event], list[Move]] = defaultdict(list)
    for counter in COUNTS:
        for kind, labels_of in counter.moved_by.items():
            moves[kind].append(_counting(counter.name, labels_of))
    for level in LEVELS:
        for kind, count in level.moved_by.items():
            moves[kind].append(_moving(level.name, count))
    for spread in SPREADS:
        for kind, value_of in spread.moved_by.items():
            moves[kind].append(_spreading(spread.name, value_of))
    return {kind: _together(found) for kind, found in moves.items()}


MOVES = _moves()
