"""Rewrites a trace in the page format, in as few rows as replay to the same, or in fewer.

What is written reads back as the rows that were read, so a run of either has one digest.  Rows can
be left out too: accesses to one of the pages used last, but for the first store to it since it came
among them.  What was left out is counted by the row before it.  The last row stays, since the run
ends there.
"""

from __future__ import annotations

import gzip
import lzma
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple, cast

from pagewake.scenario.trace_formats.blocks import TraceBlock
from pagewake.scenario.trace_formats.page_rows import HEADER

GZIP_LEVEL = 3
"""Keeps up with a program that valgrind records; higher ones save a fifth of the file."""
_KINDS = "LS"

Row = tuple[int, int, bool, int]
"""Instructions so far, page, whether it writes, accesses that it stands for."""


class Reduction(NamedTuple):
    """What became of a trace."""

    accesses: int
    rows: int
    pages: int


def write_rows(path: Path, name: str, blocks: Iterable[TraceBlock], recent: int = 0) -> Reduction:
    """Write the page format to `path`, packed as the suffix of `name` says."""
    accesses = rows = 0
    pages: set[int] = set()
    with ExitStack() as opened:
        file = opened.enter_context(path.open("wb"))
        packed = opened.enter_context(_packer(name)(file))
        packed.write(HEADER + b"\n")
        for chunk in _left(blocks, recent):
            packed.write("".join(map(_line, chunk)).encode())
            rows += len(chunk)
            accesses += sum(row[3] for row in chunk)
            pages.update(row[1] for row in chunk)
    return Reduction(accesses, rows, len(pages))


def _line(row: Row) -> str:
    icount, page, write, accesses = row
    return f"{icount},{page:x},{_KINDS[write]},{accesses}\n"


def _packer(name: str) -> Callable[[IO[bytes]], IO[bytes]]:
    if name.endswith(".gz"):
        return lambda file: cast("IO[bytes]", gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0))
    if name.endswith(".xz"):
        return lambda file: cast("IO[bytes]", lzma.LZMAFile(file, "wb", preset=GZIP_LEVEL))
    return lambda file: file


def _left(blocks: Iterable[TraceBlock], recent: int) -> Iterator[list[Row]]:
    """What is to be written, in handy pieces."""
    few = _Filter(recent)
    for block in blocks:
        rows = list(zip(*(column.tolist() for column in block), strict=True))
        yield few.feed(rows) if recent else rows
    yield few.rest()


class _Filter:
    """Leaves out accesses to one of the pages used last."""

    def __init__(self, recent: int) -> None:
        self._most = recent
        self._recent: OrderedDict[int, bool] = OrderedDict()  # whether a store was written
        self._held: Row | None = None  # written once it is known what it stands for
        self._left_out = 0
        self._last: Row | None = None  # if it was left out

    def feed(self, rows: list[Row]) -> list[Row]:
        """The rows that are to be written by now."""
        written: list[Row] = []
        for row in rows:
            if self._is_new(row[1], row[2]):
                written += self._counted()
                self._held, self._left_out, self._last = row, 0, None
            else:
                self._left_out += row[3]
                self._last = row
        return written

    def rest(self) -> list[Row]:
        """The last rows."""
        if self._last is None:
            return self._counted()
        self._left_out -= self._last[3]
        return [*self._counted(), self._last]

    def _is_new(self, page: int, write: bool) -> bool:
        recent = self._recent
        stored = recent.get(page)
        new = stored is None or (write and not stored)
        if new:
            recent[page] = write
        recent.move_to_end(page)
        if len(recent) > self._most:
            recent.popitem(last=False)
        return new

    def _counted(self) -> list[Row]:
        if self._held is None:
            return []
        icount, page, write, accesses = self._held
        return [(icount, page, write, accesses + self._left_out)]
