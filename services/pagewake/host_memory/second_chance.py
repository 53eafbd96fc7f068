"""Second-chance replacement: one list, from which what was not accessed goes, oldest first.

Candidates leave from the old end. Those whose accessed bit turns out to be set, and those a shard
refuses, join again at the young end. At time 0 the list has the resident pages in order of
writing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.host_memory.replacement import ISOLATED, LISTED, OUT, Replacement, split
from pagewake.host_memory.ring import Ring


@mypyc_attr(allow_interpreted_subclasses=True)
class SecondChance(Replacement):
    """`place[gfn]`: OUT, LISTED, or ISOLATED by reclaim."""

    __slots__ = ("_ring",)

    def __init__(self, pages: int, resident: NDArray[np.int64]) -> None:
        super().__init__(pages, resident, 1)
        self._ring = Ring(pages, resident)

    def admit(self, gfn: int) -> None:
        """The page is the youngest."""
        assert self.place[gfn] == OUT, "a second frame for a page that has one"
        self.place[gfn] = LISTED
        self._ring.append(gfn)
        self.count += 1

    def restore(self, gfns: Sequence[int]) -> None:
        """Pages that reclaim took get their second chance: the youngest, in this order."""
        place = self.place
        for gfn in gfns:
            assert place[gfn] == ISOLATED, "return of a page that reclaim did not take"
            place[gfn] = LISTED
        self._ring.extend(gfns)
        self.count += len(gfns)

    def isolate(self, most: int, force: bool = False) -> list[int]:
        """Up to `most` of the oldest pages, off the list; empty only if the list is."""
        gfns = self._ring.take(most)
        self.count -= len(gfns)
        place = self.place
        for gfn in gfns:
            place[gfn] = ISOLATED
        return gfns

    def judge(self, batch: list[int], accessed: list[int]) -> list[int]:
        """What was not accessed goes."""
        used, victims = split(batch, accessed)
        if used:
            self.restore(used)
        return victims
