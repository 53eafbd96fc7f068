"""How long things took, counted in bins of a tenth of a decade, so that any run fits in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

BINS_PER_DECADE = 10  # a bin is a quarter wider than the one before: as fine as a bar can be drawn
# From 100 ns on; what is shorter or longer falls into the outermost bins.
EDGES_NS = tuple(round(10 ** (step / BINS_PER_DECADE)) for step in range(20, 131))


class Durations:
    """How many durations of one kind fell into each bin."""

    __slots__ = ("_counts", "total")

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts = dict(counts or {})
        self.total = sum(self._counts.values())

    def add(self, took_ns: int) -> None:
        number = min(max(bisect_right(EDGES_NS, took_ns) - 1, 0), len(EDGES_NS) - 2)
        self._counts[number] = self._counts.get(number, 0) + 1
        self.total += 1

    def span(self) -> tuple[int, int] | None:
        """Numbers of the first bin that counts something and of the one behind the last."""
        if not self._counts:
            return None
        return min(self._counts), max(self._counts) + 1

    def counts(self, first: int, behind: int) -> list[int]:
        """How many fell into each of the bins from `first` to the one before `behind`."""
        return [self._counts.get(number, 0) for number in range(first, behind)]
