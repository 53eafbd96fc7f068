"""A guest task that repeats the page accesses of a recorded program.

A row of a trace says at which instruction a page is accessed.  An instruction costs `cpi_ns` of CPU
time, so the touches of instruction k start at k * cpi_ns, several of one instruction at the same
instant; the recorded run ends with its last instruction and may be repeated.  A miss makes the
processor execute the instruction again, so all its pages have to be mapped at once.  Virtual pages
get guest frames of the task's region in the order of first touch and keep them over the repeats
(design, "Scenario file").

A trace gives any row at once, so a position is a row number, and looking far ahead costs what
reading on costs.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from mypy_extensions import mypyc_attr

from pagewake.errors import ConfigError
from pagewake.guest_kernel.touch_buffer import BufferedStream, Region, Rows
from pagewake.kvm.page_table import Pages

AHEAD_ROWS_MAX: Final = 262_144
TILED_ROWS_MAX = 16_384


class Trace(Protocol):
    """A recorded run: its rows, the instruction count of the last one, and its distinct pages."""

    rows: int
    instructions: int
    pages: int

    def read(self, row: int) -> Rows:
        """Some rows from this one on: instruction count, page by first touch, whether it writes."""


class TraceSource(Protocol):
    """Where a recorded run is found again; picklable."""

    def open(self) -> Trace:
        """The run."""


@mypyc_attr(allow_interpreted_subclasses=True)
class TraceStream(BufferedStream):
    """The touches of `source`, `repeat` times over; ConfigError if the region is too small."""

    __slots__ = (
        "_full_at",
        "_full_ns",
        "_pass_ns",
        "_pass_rows",
        "_source",
        "_trace",
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
    ) -> None:
        assert repeat >= 1
        assert cpi_ns >= 1
        trace = source.open()
        super().__init__(view, region, trace.rows * repeat, writing=False)
        self.repeat = repeat
        self.cpi_ns = cpi_ns
        self.name = name
        self._source = source
        self._trace: Trace | None = trace
        self._pass_rows = trace.rows
        self._pass_ns = (trace.instructions + 1) * cpi_ns
        self._full_at = -1  # the touch that finds no frame left, and its start
        self._full_ns = 0

    @property
    def passes(self) -> int:
        """How often the trace was played to its end."""
        return self.touches // self._pass_rows

    def _cold(self) -> dict[str, Any]:
        return {**super()._cold(), "_trace": None}

    def _opened(self) -> Trace:
        if self._trace is None:
            self._trace = self._source.open()
        return self._trace

    def remaining_ns(self) -> int | None:
        return self.repeat * self._pass_ns - self.cpu_ns

    def _start_ns(self, index: int) -> int:
        if index == self._count:
            return self.repeat * self._pass_ns
        offset = index - self._first
        if not 0 <= offset < self._size:
            if index != self._full_at:
                self._fill(index)
            if index == self._full_at:
                return self._full_ns
            offset = index - self._first
        return int(self._rows[2][offset])

    def _stop(self, target_ns: int) -> int:
        return int(self._rows[2].searchsorted(target_ns))

    def ahead_max(self) -> int:
        return AHEAD_ROWS_MAX

    def _generate(self, index: int) -> Rows:
        trace = self._opened()
        if index == self._full_at:
            raise ConfigError(
                f"{self.name}: the trace touches {trace.pages} pages, but the task's region has"
                f" only {self.region.pages}; give the task a working set of at least"
                f" {trace.pages} pages"
            )
        turn, row = divmod(index, self._pass_rows)
        starts, pages, writes = self._tiled(turn, trace.read(row))
        beyond = np.flatnonzero(pages >= self.region.pages)[:1]
        if len(beyond):
            fits = int(beyond[0])
            self._full_at = index + fits
            self._full_ns = int(starts[fits])
            starts, pages, writes = starts[:fits], pages[:fits], writes[:fits]
        return pages + self.region.base, writes, starts

    def _tiled(self, turn: int, rows: Rows) -> Rows:
        """Starts, pages and writes of these rows; of several passes at once if a pass is short."""
        icount, pages, writes = rows
        starts = icount * self.cpi_ns + turn * self._pass_ns
        if len(pages) == self._pass_rows:
            times = min(self.repeat - turn, max(1, TILED_ROWS_MAX // len(pages)))
            starts = np.add.outer(np.arange(times) * self._pass_ns, starts).ravel()
            pages, writes = np.tile(pages, times), np.tile(writes, times)
        return starts, pages, writes
