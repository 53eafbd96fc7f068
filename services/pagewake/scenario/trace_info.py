"""What a trace says before it is simulated: its pages over time, and its misses at every limit.

Exact up to `EXACT_ROWS_MAX` rows, then of a sample of the pages (SHARDS: Waldspurger and others,
FAST 2015): all accesses to one page in so many, chosen by a hash of its number, whose distances and
counts are as many times too small.  How wrong that may be is seen by the halves of the sample: it
is half of what they differ by, at the limit where they differ most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

from pagewake.scenario.packed_trace import PackedTrace, Rows
from pagewake.scenario.reuse import Histogram
from pagewake.scenario.trace_formats.blocks import Bools, Ints, TraceBlock
from pagewake.scenario.trace_text import Format

EXACT_ROWS_MAX = 32_000_000
"""About ten seconds of one core."""
PARTS = 32
"""Of the trace's length, for its working set over time."""
CURVE_POINTS = 64
PIECE_ROWS = 1 << 20
"""As many rows as cost little beside the pages that stand before them."""


class WorkingSet(msgspec.Struct, frozen=True):
    """Pages touched in one part of the trace, which begins after so many instructions."""

    since: int
    pages: int


class Expected(msgspec.Struct, frozen=True):
    """What LRU would read again at a limit: page-ins, and their share of all touches."""

    limit_pages: int
    page_ins: int
    share: float


class Reuse(msgspec.Struct, frozen=True):
    """Other pages used since the last use of a page: most uses are at no more than these."""

    p50: int
    p90: int
    p99: int
    max: int


class TraceInfo(msgspec.Struct, frozen=True):
    """All of it; `length` counts instructions, or nanoseconds in formats that know the time."""

    trace: str
    format: str
    unit: str
    length: int
    accesses: int
    touches: int
    pages: int
    pages_written: int | None
    writes: int | None
    at_once: int
    only_faults: bool
    working_set: list[WorkingSet]
    reuse: Reuse | None
    one_page_in: int
    error: float | None
    curve: list[Expected]
    limits: list[Expected]


def trace_info(
    name: str,
    form: Format,
    blocks: Iterable[TraceBlock],
    limits: Sequence[int] = (),
    one_in: int | None = None,
) -> TraceInfo:
    """Read a trace and look at it; `limits` in pages, `one_in` None: all, if that is quick."""
    trace = PackedTrace(blocks)
    one_in = one_in or _one_in(trace.rows)
    whole = Histogram(one_in)
    halves = [Histogram(one_in, half) for half in (0, 1)] if one_in > 1 else []
    parts = _Parts(trace)
    for icount, pages, writes in _pieces(trace):
        parts.feed(icount, pages, writes)
        for histogram in (whole, *halves):
            histogram.feed(pages)
    points = sorted({max(1, trace.pages * part // CURVE_POINTS) for part in range(1, 65)})
    quantiles = whole.quantiles((50, 90, 99, 100))
    return TraceInfo(
        trace=name,
        format=form.name,
        unit="nanoseconds" if form.by_time else "instructions",
        length=trace.instructions,
        accesses=trace.accesses,
        touches=trace.rows,
        pages=trace.pages,
        pages_written=parts.written if form.knows_writes else None,
        writes=parts.writes if form.knows_writes else None,
        at_once=trace.at_once,
        only_faults=form.only_faults,
        working_set=parts.found,
        reuse=Reuse(*quantiles) if quantiles else None,
        one_page_in=one_in,
        error=_error(halves, points, trace.rows) if halves else None,
        curve=_expected(whole, points, trace.rows),
        limits=_expected(whole, limits, trace.rows),
    )


def _one_in(rows: int) -> int:
    one_in = 1
    while rows > EXACT_ROWS_MAX * one_in:
        one_in *= 2
    return one_in


def _pieces(trace: PackedTrace) -> Iterator[Rows]:
    """Instructions, pages and writes of all rows."""
    row, size = 0, max(PIECE_ROWS, trace.pages)
    while row < trace.rows:
        held = []
        many = 0
        while many < size and row < trace.rows:
            rows = trace.read(row)
            held.append(rows)
            many += len(rows[0])
            row += len(rows[0])
        icount, pages, writes = (np.concatenate(column) for column in zip(*held, strict=True))
        yield icount, pages, writes


class _Parts:
    """The working set of each part of a trace, and the pages that it writes."""

    def __init__(self, trace: PackedTrace) -> None:
        self._end = trace.instructions + 1
        self._seen = np.zeros(trace.pages, np.bool_)
        self._written = np.zeros(trace.pages, np.bool_)
        self.writes = 0
        self._counts = [0] * PARTS
        self._part = 0

    def feed(self, icount: Ints, pages: Ints, writes: Bools) -> None:
        self._written[pages[writes]] = True
        self.writes += int(np.count_nonzero(writes))
        edges = [self._since(part) for part in range(self._part + 1, PARTS)]
        start = 0
        for stop in np.searchsorted(icount, edges).tolist():
            if stop == len(icount):
                break
            self._seen[pages[start:stop]] = True
            self._close()
            start = stop
        self._seen[pages[start:]] = True

    def _since(self, part: int) -> int:
        return part * self._end // PARTS

    def _close(self) -> None:
        self._counts[self._part] = int(np.count_nonzero(self._seen))
        self._seen[:] = False
        self._part += 1

    @property
    def found(self) -> list[WorkingSet]:
        """Parts from the first to the last."""
        last = {self._part: int(np.count_nonzero(self._seen))}
        return [
            WorkingSet(self._since(part), last.get(part, count))
            for part, count in enumerate(self._counts)
        ]

    @property
    def written(self) -> int:
        """Pages that were written at least once."""
        return int(np.count_nonzero(self._written))


def _expected(histogram: Histogram, limits: Sequence[int], touches: int) -> list[Expected]:
    misses = histogram.misses(np.array(limits, np.int64)).tolist()
    return [
        Expected(limit, page_ins, page_ins / touches)
        for limit, page_ins in zip(limits, misses, strict=True)
    ]


def _error(halves: Sequence[Histogram], limits: Sequence[int], touches: int) -> float:
    """Half of what the halves of the sample differ by at most, as a share of all touches."""
    one, other = (half.misses(np.array(limits, np.int64)) for half in halves)
    return int(np.abs(one - other).max()) / (2 * touches)
