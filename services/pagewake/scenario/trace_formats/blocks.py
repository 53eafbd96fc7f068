"""What every trace format becomes: blocks of rows, each an access to a page at an instruction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]

PAGE_SHIFT = 12
OF_ANOTHER_SPACE = 52
"""Bits of the number of an address's page; above them stands which file or target it is of."""


class TraceBlock(NamedTuple):
    """Some rows in order: instructions so far, page number, whether it writes, accesses it is."""

    icount: Ints
    page: Ints
    write: Bools
    accesses: Ints

    def part(self, start: int | None, stop: int | None) -> TraceBlock:
        """Some of the rows, as a slice has them."""
        which = slice(start, stop)
        return TraceBlock(
            self.icount[which], self.page[which], self.write[which], self.accesses[which]
        )


def join(blocks: Sequence[TraceBlock]) -> TraceBlock:
    """The rows of several blocks as one."""
    return TraceBlock(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


def single(icount: Ints, page: Ints, write: Bools) -> TraceBlock:
    """Rows that stand for one access each."""
    return TraceBlock(icount, page, write, np.ones(len(page), np.int64))


_NONE = np.zeros(0, np.int64)
NO_ROWS = TraceBlock(_NONE, _NONE, np.zeros(0, np.bool_), _NONE)


class Runs:
    """Merges consecutive accesses to one page of one kind; the run under way is held back."""

    def __init__(self) -> None:
        self.rest = NO_ROWS

    def merged(self, icount: Ints, page: Ints, write: Bools) -> TraceBlock:
        """Runs that are over, each as its first access."""
        both = page * 2 + write
        new = np.flatnonzero(np.diff(both, prepend=self._held_both()))
        cuts = np.append(new, len(page))
        held = self.rest._replace(accesses=self.rest.accesses + cuts[0])
        block = join((held, TraceBlock(icount[new], page[new], write[new], np.diff(cuts))))
        self.rest = block.part(-1, None)
        return block.part(None, -1)

    def _held_both(self) -> int:
        held = self.rest
        return int(held.page[0]) * 2 + int(held.write[0]) if len(held.page) else -1
