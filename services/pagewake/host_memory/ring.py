"""A list of pages that join at one end and leave from the other, oldest first.

It is a ring of gfns: 2 bytes per page for a VM of up to 256 MiB and 4 for a larger one.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.simtime.state import Saved

SHORT_PAGES_MAX: Final = 1 << 16
"""Gfns of a VM that has no more fit into 16 bits."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Ring(Saved):
    """Gfns of a VM of so many `pages`; `count` of them, those in `gfns` to begin with."""

    __slots__ = ("count", "_gfns", "_oldest", "_mask")

    def __init__(self, pages: int, gfns: NDArray[np.int64] | None = None) -> None:
        self.count = 0 if gfns is None else len(gfns)
        capacity = 1 << max(3, (self.count - 1).bit_length())
        self._gfns = array("H" if pages <= SHORT_PAGES_MAX else "i", [0]) * capacity
        if gfns is not None:
            np.frombuffer(self._gfns, self._gfns.typecode)[: self.count] = gfns
        self._oldest = 0
        self._mask = capacity - 1

    def take(self, most: int) -> list[int]:
        """Up to `most` of the oldest, off the list; empty only if the list is."""
        taken = min(most, self.count)
        start, end = self._oldest, self._oldest + taken
        gfns = self._gfns[start:end].tolist()
        if end > self._mask:
            gfns += self._gfns[: end & self._mask].tolist()
        self._oldest = end & self._mask
        self.count -= taken
        return gfns

    def append(self, gfn: int) -> None:
        """This is the youngest."""
        if self.count > self._mask:
            self._grow()
        self._gfns[(self._oldest + self.count) & self._mask] = gfn
        self.count += 1

    def extend(self, gfns: Sequence[int]) -> None:
        """These are the youngest, the last of them most of all."""
        while self.count + len(gfns) > len(self._gfns):
            self._grow()
        ring, mask = self._gfns, self._mask
        end = self._oldest + self.count
        for gfn in gfns:
            ring[end & mask] = gfn
            end += 1
        self.count += len(gfns)

    def _grow(self) -> None:
        """Double the room, and move the oldest page to its beginning."""
        start = self._oldest
        self._gfns = self._gfns[start:] + self._gfns[:start] * 2 + self._gfns[start:]
        self._oldest = 0
        self._mask = len(self._gfns) - 1
