"""Second-chance replacement: which page of a VM goes next.

Each VM has one list, oldest page first. A page joins at the young end with the frame that is
charged for it, so a page still being read is on the list already, as in Linux, where it is added
locked before the read is submitted; reclaim passes such a page over. Candidates leave from
the old end. Those whose accessed bit turns out to be set, and those a shard refuses, join again at
the young end. At time 0 the list has the resident pages in order of writing.

Pages only ever leave from the old end, so a ring of gfns holds the list: 2 bytes per resident page
of a VM of up to 256 MiB and 4 of a larger one, and one more per gfn of the VM to say where the page
is.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.simtime.state import Saved

OUT: Final = 0
LISTED: Final = 1
ISOLATED: Final = 2
SHORT_PAGES_MAX: Final = 1 << 16
"""Gfns of a VM that has no more fit into 16 bits."""


@mypyc_attr(allow_interpreted_subclasses=True)
class PageList(Saved):
    """Pages of one VM that have a frame. `place[gfn]`: OUT, LISTED, or ISOLATED by reclaim."""

    __slots__ = ("place", "count", "_ring", "_oldest", "_mask")

    def __init__(self, pages: int, resident: NDArray[np.int64]) -> None:
        self.count = len(resident)
        self.place = bytearray(pages)
        np.frombuffer(self.place, np.uint8)[resident] = LISTED
        capacity = 1 << max(3, (self.count - 1).bit_length())
        self._ring = array("H" if pages <= SHORT_PAGES_MAX else "i", [0]) * capacity
        np.frombuffer(self._ring, self._ring.typecode)[: self.count] = resident
        self._oldest = 0
        self._mask = capacity - 1

    def admit(self, gfn: int) -> None:
        """A page that was out has a frame now, and is the youngest."""
        assert self.place[gfn] == OUT, "a second frame for a page that has one"
        self.place[gfn] = LISTED
        self._append((gfn,))

    def restore(self, gfns: Sequence[int]) -> None:
        """Pages that reclaim took get their second chance: the youngest, in this order."""
        place = self.place
        for gfn in gfns:
            assert place[gfn] == ISOLATED, "return of a page that reclaim did not take"
            place[gfn] = LISTED
        self._append(gfns)

    def isolate(self, most: int) -> list[int]:
        """Up to `most` of the oldest pages, off the list; empty only if the list is."""
        taken = min(most, self.count)
        start, end = self._oldest, self._oldest + taken
        gfns = self._ring[start:end].tolist()
        if end > self._mask:
            gfns += self._ring[: end & self._mask].tolist()
        self._oldest = end & self._mask
        self.count -= taken
        place = self.place
        for gfn in gfns:
            place[gfn] = ISOLATED
        return gfns

    def forget(self, gfns: Sequence[int]) -> None:
        """Isolated pages are out of memory; their frames are free."""
        place = self.place
        for gfn in gfns:
            assert place[gfn] == ISOLATED, "eviction of a page that reclaim did not take"
            place[gfn] = OUT

    def _append(self, gfns: Sequence[int]) -> None:
        while self.count + len(gfns) > len(self._ring):
            self._grow()
        ring, mask = self._ring, self._mask
        end = self._oldest + self.count
        for gfn in gfns:
            ring[end & mask] = gfn
            end += 1
        self.count += len(gfns)

    def _grow(self) -> None:
        """Double the room, and move the oldest page to its beginning."""
        start = self._oldest
        self._ring = self._ring[start:] + self._ring[:start] * 2 + self._ring[start:]
        self._oldest = 0
        self._mask = len(self._ring) - 1
