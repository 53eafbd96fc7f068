"""A trace as it is kept once it has been read: a few bytes a row, and any row at once.

Rows are packed block by block: instructions as steps from one row to the next, pages as the number
of their first touch, both in as few bytes as the block needs, and a bit for a write.  Short traces
stay in memory, long ones go to a temporary file without a name, so a reader may look far ahead and
come back for the price of unpacking a block.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagewake.errors import ConfigError
from pagewake.scenario.trace_formats.blocks import Bools, Ints, TraceBlock, join

BLOCK_ROWS = 65_536
KEPT_BYTES_MAX = 8 << 20
"""A trace packed to less is not worth a file."""
UNPACKED_MAX = 4
"""Blocks held unpacked, 17 bytes a row: where tasks are, and where they look ahead."""
_SLOTS = 1 << 16
"""Of the table in front of all pages; a program's pages of the moment fit many times over."""

Rows = tuple[Ints, Ints, Bools]
"""Instructions so far, number of the page in order of first touch, whether it writes."""


class _Spool:
    """Byte strings, each stored once and read at will: in memory while few, then in a file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._ends = [0]
        self._file: IO[bytes] | None = None

    def append(self, data: bytes) -> None:
        self._parts.append(data)
        self._ends.append(self._ends[-1] + len(data))
        if self._file is not None or self._ends[-1] > KEPT_BYTES_MAX:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                file = tempfile.TemporaryFile(prefix="pagewake-trace-")  # noqa: SIM115 - kept
                weakref.finalize(self, _close, file)
                self._file = file
            self._file.write(b"".join(self._parts))
            self._file.flush()
        except OSError as error:
            raise ConfigError(
                f"{tempfile.gettempdir()}: has no room for a packed trace ({error.strerror});"
                " name a directory that has in TMPDIR"
            ) from None
        self._parts.clear()

    def read(self, index: int) -> bytes:
        if self._file is None:
            return self._parts[index]
        start, end = self._ends[index : index + 2]
        return os.pread(self._file.fileno(), end - start, start)


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # what a full disk did not take is tried again
        file.close()


class _Layout(NamedTuple):
    """How a block is packed."""

    rows: int
    icount: int
    step: np.dtype[Any]
    page: np.dtype[Any]


class PageNumbers:
    """Numbers of virtual pages, 0.. in order of first touch.

    A table by the low bits of a page answers for nearly all; a search among all pages for the rest.
    """

    def __init__(self) -> None:
        self._page: Ints = np.zeros(0, np.int64)  # in order of first touch
        self._sorted: NDArray[np.intp] = np.zeros(0, np.intp)
        self._slot: Ints = np.zeros(_SLOTS, np.int64)

    def __len__(self) -> int:
        return len(self._page)

    def of(self, pages: Ints) -> Ints:
        """Numbers of a run of touches; pages never seen before get the next ones."""
        slots = (pages ^ pages >> 16) & _SLOTS - 1
        numbers: Ints = self._slot[slots]
        missing = np.flatnonzero(~self._are(numbers, pages))
        if len(missing):
            found = self._look_up(pages[missing])
            numbers[missing] = found
            self._slot[slots[missing]] = found
        return numbers

    def _are(self, numbers: Ints, pages: Ints) -> Bools:
        if not len(self):
            return np.zeros(len(pages), np.bool_)
        alike: Bools = self._page.take(numbers, mode="clip") == pages
        return alike

    def _look_up(self, pages: Ints) -> Ints:
        found = self._find(pages)
        new = ~self._are(found, pages)
        if new.any():
            values, first = np.unique(pages[new], return_index=True)
            self._page = np.concatenate((self._page, values[np.argsort(first)]))
            self._sorted = np.argsort(self._page)
            found = self._find(pages)
        return found

    def _find(self, pages: Ints) -> Ints:
        place = self._page.searchsorted(pages, sorter=self._sorted)
        found: Ints = self._sorted.take(place, mode="clip") if len(self) else place
        return found


class PackedTrace:
    """All rows of a trace, how many accesses they stand for, and how many pages they touch.

    `at_once` is the most pages of one instruction, but for one that is cut by the end of a block.
    """

    def __init__(self, blocks: Iterable[TraceBlock], block_rows: int = BLOCK_ROWS) -> None:
        self.rows = self.accesses = self.instructions = self.at_once = 0
        self._block_rows = block_rows
        self._spool = _Spool()
        self._layouts: list[_Layout] = []
        self._unpacked: dict[int, Rows] = {}
        numbers = PageNumbers()
        for block in _cut(blocks, block_rows):
            self._pack(block, numbers)
        self.pages = len(numbers)

    def read(self, row: int) -> Rows:
        """Rows from this one on, at least one."""
        number, skip = divmod(row, self._block_rows)
        rows = self._unpacked.pop(number, None) or self._unpack(number)
        self._unpacked[number] = rows
        if len(self._unpacked) > UNPACKED_MAX:
            del self._unpacked[next(iter(self._unpacked))]
        icount, page, write = rows
        return icount[skip:], page[skip:], write[skip:]

    def _pack(self, block: TraceBlock, numbers: PageNumbers) -> None:
        numbered = numbers.of(block.page)
        self.at_once = _at_once(block.icount, numbered, self.at_once)
        steps = _narrow(np.diff(block.icount, prepend=block.icount[:1]))
        pages = _narrow(numbered)
        rows = len(pages)
        self._layouts.append(_Layout(rows, int(block.icount[0]), steps.dtype, pages.dtype))
        self._spool.append(steps.tobytes() + pages.tobytes() + np.packbits(block.write).tobytes())
        self.rows += rows
        self.accesses += int(block.accesses.sum())
        self.instructions = int(block.icount[-1])

    def _unpack(self, number: int) -> Rows:
        rows, icount, step, page = self._layouts[number]
        data = self._spool.read(number)
        steps = np.frombuffer(data, step, rows)
        pages = np.frombuffer(data, page, rows, steps.nbytes)
        bits = np.frombuffer(data, np.uint8, offset=steps.nbytes + pages.nbytes)
        writes = np.unpackbits(bits, count=rows).view(np.bool_)
        return np.cumsum(steps, dtype=np.int64) + icount, pages.astype(np.int64), writes


def _cut(blocks: Iterable[TraceBlock], rows: int) -> Iterator[TraceBlock]:
    """The same rows in blocks of one size, but for the last."""
    held: list[TraceBlock] = []
    many = 0
    for block in blocks:
        held.append(block)
        many += len(block.page)
        if many < rows:
            continue
        joined = join(held)
        whole = many - many % rows
        for at in range(0, whole, rows):
            yield joined.part(at, at + rows)
        held = [joined.part(whole, None)]
        many -= whole
    if many:
        yield join(held)


def _at_once(icount: Ints, pages: Ints, most: int) -> int:
    """The most pages of one instruction; `most` if none has more."""
    starts = np.flatnonzero(np.diff(icount, prepend=-1))
    sizes = np.diff(np.append(starts, len(icount)))
    larger = np.flatnonzero(np.repeat(sizes > most, sizes))
    if not len(larger):
        return most
    of = np.repeat(np.arange(len(starts)), sizes)[larger]
    span = int(pages.max()) + 1
    pairs = np.unique(of * span + pages[larger])
    return max(most, int(np.bincount(pairs // span).max()))


def _narrow(numbers: Ints) -> NDArray[Any]:
    """The same whole numbers, in as few bytes each as the largest needs."""
    return numbers.astype(np.min_scalar_type(int(numbers.max())))
