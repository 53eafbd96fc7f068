"""A guest task that repeats the page accesses of a recorded program.

A row of a trace says at which instruction a page is accessed.  An instruction costs `cpi_ns` of CPU
time, so the touches of instruction k start at k * cpi_ns, several of one instruction at the same
instant; the recorded run ends with its last instruction and may be repeated.  A miss makes the
processor execute the instruction again, so all its pages have to be mapped at once.  Virtual pages
get guest frames of the task's region in the order of first touch and keep them over the repeats
(design, "Scenario file").

The rows are read as they are needed, block by block; only a trace that is repeated, and is not too
long for it, is kept after the first pass.  A position is a row number, so a stream without its open
reader (after unpickling, or when it looked too far ahead) opens the source again and skips.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pagewake.errors import ConfigError
from pagewake.guest_kernel.touch_buffer import BufferedStream, Pages, Region, Rows

AHEAD_ROWS_MAX = 262_144
KEPT_ROWS_MAX = 1_048_576
TILED_ROWS_MAX = 16_384


class TraceBlock(Protocol):
    """Consecutive rows: instruction count (never decreasing), virtual page, whether it writes."""

    @property
    def icount(self) -> NDArray[np.int64]: ...
    @property
    def page(self) -> NDArray[np.int64]: ...
    @property
    def write(self) -> NDArray[np.bool_]: ...


class TraceSource(Protocol):
    """A recorded run that can be read from its beginning any number of times; picklable."""

    def open(self) -> Iterator[TraceBlock]:
        """All rows in order."""


class TraceLength(NamedTuple):
    """Rows of a trace, and the instruction count of its last row."""

    rows: int
    instructions: int


class _Kept:
    """A source that is read once and then repeats from memory, unless it is too long for that."""

    __slots__ = ("_blocks", "_source")

    def __init__(self, source: TraceSource) -> None:
        self._source = source
        self._blocks: list[TraceBlock] | None = None

    def __reduce__(self) -> tuple[type[_Kept], tuple[TraceSource]]:
        return _Kept, (self._source,)

    def open(self) -> Iterator[TraceBlock]:
        """As the source does."""
        return self._read() if self._blocks is None else iter(self._blocks)

    def _read(self) -> Iterator[TraceBlock]:
        rows = 0
        blocks: list[TraceBlock] = []
        for block in self._source.open():
            rows += len(block.icount)
            if rows <= KEPT_ROWS_MAX:
                blocks.append(block)
            else:
                blocks.clear()
            yield block
        if blocks:
            self._blocks = blocks


class _Reader:
    """A pass over a source from a given row on."""

    __slots__ = ("_blocks", "_skip")

    def __init__(self, source: TraceSource, row: int) -> None:
        self._blocks = source.open()
        self._skip = row

    def read(self) -> Rows | None:
        """The next rows as (icount, page, write); None after the last."""
        for block in self._blocks:
            size = len(block.icount)
            skip = min(self._skip, size)
            self._skip -= skip
            if skip < size:
                return block.icount[skip:], block.page[skip:], block.write[skip:]
        return None


class FrameMap:
    """Frames of virtual pages, 0.. in order of first touch."""

    __slots__ = ("_frame", "_page", "frames")

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self._page: NDArray[np.int64] = np.zeros(0, np.int64)
        self._frame: NDArray[np.int64] = np.zeros(0, np.int64)

    def translate(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Frames of a run of touches; shorter if a page finds none left."""
        place, known = self._find(pages)
        if not known.all():
            self._add(pages[~known])
            place, known = self._find(pages)
        fits = len(pages) if known.all() else int(known.argmin())
        return self._frame[place[:fits]]

    def _find(self, pages: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        place = self._page.searchsorted(pages)
        if not len(self._page):
            return place, np.zeros(len(pages), np.bool_)
        return place, self._page.take(place, mode="clip") == pages

    def _add(self, pages: NDArray[np.int64]) -> None:
        values, first = np.unique(pages, return_index=True)
        taken = len(self._page)
        fresh = values[np.argsort(first)][: self.frames - taken]
        merged = np.concatenate((self._page, fresh))
        order = np.argsort(merged)
        numbers = np.arange(taken, taken + len(fresh), dtype=np.int64)
        self._page = merged[order]
        self._frame = np.concatenate((self._frame, numbers))[order]


class TraceStream(BufferedStream):
    """The touches of `source`, `repeat` times over; ConfigError if the region is too small.

    `length`, where it is known, saves a pass through the source for the time that remains.
    """

    __slots__ = (
        "_frames",
        "_full_at",
        "_full_ns",
        "_last_icount",
        "_next",
        "_pass_ns",
        "_pass_rows",
        "_reader",
        "_source",
        "cpi_ns",
        "name",
        "repeat",
    )

    def __init__(
        self,
        view: Pages,
        region: Region,
        source: TraceSource,
        repeat: int = 1,
        cpi_ns: int = 1,
        name: str = "trace",
        length: TraceLength | None = None,
    ) -> None:
        assert repeat >= 1
        assert cpi_ns >= 1
        super().__init__(view, region, None, writing=False)
        self.repeat = repeat
        self.cpi_ns = cpi_ns
        self.name = name
        self._source: TraceSource = _Kept(source) if repeat > 1 else source
        self._frames = FrameMap(region.pages)
        self._reader: _Reader | None = None
        self._next = 0  # index of the row that the reader gives next
        self._last_icount = 0
        self._pass_rows = 0  # both 0 until the end of the trace has been seen
        self._pass_ns = 0
        self._full_at = -1  # the touch that finds no frame left, and its start
        self._full_ns = 0
        if length is not None:
            self._end_pass(*length)

    @property
    def passes(self) -> int:
        """How often the trace was played to its end."""
        return self.touches // self._pass_rows if self._pass_rows else 0

    def _cold(self) -> dict[str, Any]:
        return {**super()._cold(), "_reader": None}

    def remaining_ns(self) -> int | None:
        """CPU time to the end; reads through the trace once if its length is not known yet."""
        if not self._pass_rows:
            self._measure()
        return self.repeat * self._pass_ns - self.cpu_ns

    def _measure(self) -> None:
        rows = last = 0
        for block in self._source.open():
            rows += len(block.icount)
            last = int(block.icount[-1])
        self._end_pass(rows, last)

    def _end_pass(self, rows: int, last_icount: int) -> None:
        self._pass_rows = rows
        self._pass_ns = (last_icount + 1) * self.cpi_ns
        self._count = rows * self.repeat

    def _start_ns(self, index: int) -> int:
        offset = index - self._first
        if not 0 <= offset < self._size:
            if index == self._full_at:
                return self._full_ns
            if index != self._count:
                self._fill(index)
            if index == self._count:
                return self.repeat * self._pass_ns
            if index == self._full_at:
                return self._full_ns
            offset = index - self._first
        return int(self._rows[2][offset])

    def _stop(self, target_ns: int) -> int:
        return int(self._rows[2].searchsorted(target_ns))

    def _ahead_max(self) -> int:
        return AHEAD_ROWS_MAX

    def _generate(self, index: int) -> Rows:
        if index == self._full_at:
            self._refuse()
        before_ns, rows = self._read(index)
        if rows is None:
            return (np.zeros(0, np.int64),)
        starts, pages, writes = self._tiled(index, before_ns, rows)
        gfns = self._frames.translate(pages) + self.region.base
        fits = len(gfns)
        if fits < len(pages):
            self._full_at = index + fits
            self._full_ns = int(starts[fits])
        self._next = index + len(pages)
        return gfns, writes[:fits], starts[:fits]

    def _tiled(self, index: int, before_ns: int, rows: Rows) -> Rows:
        """Starts, pages and writes of these rows; of several passes at once if a pass is short."""
        icount, pages, writes = rows
        starts = icount * self.cpi_ns + before_ns
        if len(pages) == self._pass_rows:
            left = self.repeat - index // self._pass_rows
            times = min(left, max(1, TILED_ROWS_MAX // len(pages)))
            starts = np.add.outer(np.arange(times) * self._pass_ns, starts).ravel()
            pages, writes = np.tile(pages, times), np.tile(writes, times)
        return starts, pages, writes

    def _read(self, index: int) -> tuple[int, Rows | None]:
        """CPU time before the pass that row `index` is in, and rows from there on."""
        if self._next != index:
            self._reader = None
        while index != self._count:
            turn, row = divmod(index, self._pass_rows) if self._pass_rows else (0, index)
            if self._reader is None:
                self._reader = _Reader(self._source, row)
            rows = self._reader.read()
            if rows is not None:
                self._last_icount = int(rows[0][-1])
                return turn * self._pass_ns, rows
            self._reader = None
            if not self._pass_rows:
                self._end_pass(index, self._last_icount)
        return 0, None

    def _refuse(self) -> None:
        distinct = np.zeros(0, np.int64)
        for block in self._source.open():
            distinct = np.union1d(distinct, block.page)
        raise ConfigError(
            f"{self.name}: the trace touches {len(distinct)} pages, but the task's region has only "
            f"{self.region.pages}; give the task a working set of at least {len(distinct)} pages"
        )
