"""How far apart the uses of a page are: LRU stack distances, exact, of any number of accesses.

The distance of an access is how many other pages were used since its page was used last.  Of a
memory of so many pages with LRU, exactly the accesses at that distance or more miss (Mattson and
others, 1970), so one histogram has the misses at every limit.

An access at i whose page was used last at p has i - p - 1 accesses between, of which those are
repetitions whose own last use is behind p.  Counting those is counting the larger ones before each
value of a permutation, which is done a bit of the values at a time: n log n steps, all of numpy.
Accesses come in pieces; the pages in order of their last use stand before each piece.
"""

from __future__ import annotations

import numpy as np

from pagewake.scenario.trace_formats.blocks import Bools, Ints

FIRST = -1
"""The distance of the first access to a page."""


class StackDistances:
    """Distances of accesses, piece by piece; a piece costs as if all pages so far were in it."""

    def __init__(self) -> None:
        self._stack: Ints = np.zeros(0, np.int64)  # pages, the one used last is the last

    def __len__(self) -> int:
        return len(self._stack)

    def feed(self, pages: Ints) -> Ints:
        """The distance of each access, `FIRST` of the first to a page."""
        sequence = np.concatenate((self._stack, pages))
        before = _last_uses(sequence)
        again = np.flatnonzero(before >= 0)
        is_last = np.ones(len(sequence), np.bool_)
        is_last[before[again]] = False
        ranks = (np.cumsum(~is_last) - 1)[before[again]]
        distances = np.full(len(sequence), FIRST, np.int64)
        distances[again] = again - before[again] - 1 - larger_before(ranks)
        since = len(self._stack)
        self._stack = sequence[is_last]
        return distances[since:]


def _last_uses(sequence: Ints) -> Ints:
    """Of each access, where its page was used before it; -1 if nowhere."""
    order = np.argsort(sequence, kind="stable")
    ordered = sequence[order]
    alike = np.flatnonzero(ordered[1:] == ordered[:-1])
    before = np.full(len(sequence), -1, np.int64)
    before[order[alike + 1]] = order[alike]
    return before


def larger_before(values: Ints) -> Ints:
    """Of each value of a permutation of 0.. how many larger ones stand before it."""
    size = len(values)
    counts = np.zeros(size, np.int32)
    now, following = values.astype(np.int32), np.empty(size, np.int32)
    places = np.arange(size, dtype=np.int32)
    for bit in reversed(range(max(size - 1, 0).bit_length())):
        high = now >> bit & 1
        ones = np.cumsum(high, dtype=np.int32) - high
        start = now >> bit + 1 << bit + 1  # where the values stand that share the bits above
        ones -= ones[start]
        is_low = high == 0
        counts[now[is_low]] += ones[is_low]
        following[np.where(is_low, places - ones, start + (1 << bit) + ones)] = now
        now, following = following, now
    return counts[values].astype(np.int64)


def sampled(pages: Ints, one_in: int, half: int | None = None) -> Bools:
    """Whether a page is in a sample of one in so many (a power of two), and in which half of it."""
    mixed = pages.astype(np.uint64) + np.uint64(1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
    chosen: Bools = mixed & np.uint64(one_in - 1) == 0
    if half is not None:
        chosen &= (mixed & np.uint64(one_in) != 0) == bool(half)
    return chosen


class Histogram:
    """How many accesses were at each distance, in a sample of one page in so many."""

    def __init__(self, one_in: int = 1, half: int | None = None) -> None:
        self._one_in = one_in
        self._half = half
        self._distances = StackDistances()
        self._counts: Ints = np.zeros(0, np.int64)

    def feed(self, pages: Ints) -> None:
        """Further accesses."""
        if self._one_in > 1:
            pages = pages[sampled(pages, self._one_in, self._half)]
        if not len(pages):
            return
        found = np.bincount(self._distances.feed(pages) + 1)[1:]  # without the first accesses
        longer, shorter = sorted((self._counts, found), key=len, reverse=True)
        self._counts = longer.copy()
        self._counts[: len(shorter)] += shorter

    @property
    def _scale(self) -> int:
        """Pages that one of the sample stands for."""
        return self._one_in * (1 if self._half is None else 2)

    def misses(self, limits: Ints) -> Ints:
        """Accesses that miss with LRU in a memory of so many pages, but for the first ones."""
        beyond = np.append(np.cumsum(self._counts[::-1])[::-1], 0)
        places = -(-limits // self._scale)  # a distance d of the sample is one of d * scale
        return beyond[np.minimum(places, len(self._counts))] * self._scale

    def quantiles(self, shares_percent: tuple[int, ...]) -> list[int]:
        """Distances below or at which so many per cent of the accesses are; none without any."""
        upto = np.cumsum(self._counts)
        if not len(upto):
            return []
        wanted = [-(-int(upto[-1]) * share // 100) for share in shares_percent]
        return [int(np.searchsorted(upto, want)) * self._scale for want in wanted]
