"""What a recording has shown so far, for what it shows decides what can be concluded from it."""

from __future__ import annotations

from collections import Counter

from pagewake.recorded.lines import Line
from pagewake.recorded.placed import Place

BACK_NS_MAX = 10_000_000
"""Clocks of CPUs that are not in step (trace clock local) go back so far, within one recording."""


class Sight:
    """Kinds of lines by number, the clock, and what the stitcher counted on the way."""

    __slots__ = (
        "begin_ns",
        "counts",
        "first",
        "last",
        "last_ns",
        "lines",
        "samples",
        "signs",
        "sync_fault_ns",
    )

    def __init__(self, sync_fault_ns: int) -> None:
        self.sync_fault_ns = sync_fault_ns
        self.lines: Counter[str] = Counter()
        self.samples: dict[str, str] = {}
        self.signs: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.begin_ns: int | None = None
        self.last_ns = 0
        self.first = Place("", 0)
        self.last = Place("", 0)

    def at_ns(self, line: Line) -> int | None:
        """Time since the beginning, which never goes back; None where the clock jumped back."""
        if self.begin_ns is None:
            self.begin_ns = line.time_ns
            self.first = Place(line.file, line.number)
        at_ns = line.time_ns - self.begin_ns
        if at_ns < self.last_ns:
            if at_ns < self.last_ns - BACK_NS_MAX:
                self.begin_ns = line.time_ns - self.last_ns
                return None
            self.counts["times back"] += 1
            at_ns = self.last_ns
        self.last_ns = at_ns
        return at_ns
