"""Active and inactive pages: a page has to be used again to stay, and victims are inactive.

What mm/vmscan.c and mm/workingset.c do with the anonymous pages of one memory cgroup. Reclaim looks
at the old end of the inactive list. What was not accessed goes; what was, stays there once, noted
as referenced, and is made active if it is found accessed again. The old end of the active list is
made inactive, accessed or not, while the inactive list is too short for it: shorter than one part
in sqrt(10 x GiB), and one in two below 1 GiB (556adecba110 "vmscan: second chance replacement for
anonymous pages", 2.6.28; 4002570c5c58, 5.9).

Since 5.9 a page starts inactive (b518154e59aa "mm/vmscan: protect the workingset on anonymous
LRU"), so a scan that uses each page once passes through that list and leaves the active one alone.
A page that comes back from swap starts active if it would not have been evicted, had the inactive
list been longer by as many pages as are active: between its eviction and its refault no more pages
than these were evicted or made active (170b04b7ae49, aae466b0052e "mm/swap: implement workingset
detection for anonymous LRU"). Such a refault also has active pages made inactive, whatever the
ratio, for the working set has changed.

Before 5.9 (`workingset` false) a page starts active, and is made active again by one access.

Left out: file pages, with which anonymous ones share reclaim; scan priority, by which Linux looks
at as many pages of each list as its size has parts; where active pages are made inactive, half of a
batch are these, as of two rounds of SWAP_CLUSTER_MAX. At time 0 resident pages are where new ones
start, in order of writing.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isqrt
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.host_memory.replacement import ISOLATED, LISTED, OUT, Replacement
from pagewake.host_memory.ring import Ring

ACTIVE: Final = 4
REFERENCED: Final = 8
GIB_SHIFT: Final = 18
"""Pages to GiB."""
AGE_MASK: Final = 0xFFFFFFFF
ROUNDS: Final = 3
"""A page that is not used: made inactive, kept once for an access of before, and found."""


@mypyc_attr(allow_interpreted_subclasses=True)
class TwoLists(Replacement):
    """`place[gfn]`: OUT, or LISTED or ISOLATED with ACTIVE and REFERENCED as page flags."""

    __slots__ = ("_active", "_age", "_inactive", "_refaulted", "_shadows", "_workingset")

    def __init__(self, pages: int, resident: NDArray[np.int64], workingset: bool = True) -> None:
        super().__init__(pages, resident, ROUNDS)
        self._workingset = workingset
        self._inactive = Ring(pages, resident if workingset else None)
        self._active = Ring(pages, None if workingset else resident)
        if not workingset:
            np.frombuffer(self.place, np.uint8)[resident] = LISTED | ACTIVE
        self._shadows = array("I", bytes(4 * pages if workingset else 0))
        self._age = 1
        self._refaulted = False

    def admit(self, gfn: int) -> None:
        """A new page, or a refault, which the shadow of its eviction tells."""
        assert self.place[gfn] == OUT, "a second frame for a page that has one"
        self.place[gfn] = LISTED | (ACTIVE if self._starts_active(gfn) else 0)
        self._list(gfn)

    def restore(self, gfns: Sequence[int]) -> None:
        """Back to the young end of their own list."""
        for gfn in gfns:
            flags = self.place[gfn]
            assert flags & ISOLATED, "return of a page that reclaim did not take"
            self.place[gfn] = flags ^ (ISOLATED | LISTED)
            self._list(gfn)

    def isolate(self, most: int, force: bool = False) -> list[int]:
        """Inactive pages, and active ones that are to be made inactive."""
        gfns: list[int] = []
        if not force and self._may_deactivate():
            gfns = self._active.take(max(1, most // 2))
            self._refaulted = False
        gfns += self._inactive.take(most - len(gfns))
        if force and not gfns:
            gfns = self._active.take(most)
        keep = REFERENCED if force else REFERENCED | ACTIVE
        for gfn in gfns:
            self.place[gfn] = ISOLATED | self.place[gfn] & keep
        self.count -= len(gfns)
        return gfns

    def judge(self, batch: list[int], accessed: list[int]) -> list[int]:
        """Inactive pages that were not accessed go; others may have to change lists."""
        used = frozenset(accessed)
        victims = []
        for gfn in batch:
            flags = self.place[gfn]
            if not flags & ACTIVE and gfn not in used:
                self.place[gfn] = ISOLATED
                victims.append(gfn)
            else:
                self.place[gfn] = self._moved(flags)
                self._list(gfn)
        return victims

    def forget(self, gfns: Sequence[int]) -> None:
        """They leave shadows, and what was evicted before is a page further away for each."""
        super().forget(gfns)
        if self._workingset:
            for gfn in gfns:
                self._shadows[gfn] = self._age
                self._grow_older()

    def _starts_active(self, gfn: int) -> bool:
        if not self._workingset:
            return True
        shadow = self._shadows[gfn]
        self._shadows[gfn] = 0
        if not shadow or (self._age - shadow) & AGE_MASK > self._active.count:
            return False
        self._grow_older()
        self._refaulted = True
        return True

    def _moved(self, flags: int) -> int:
        """What becomes of an isolated page that is active, or inactive and accessed."""
        if flags & ACTIVE:
            return LISTED | flags & REFERENCED
        if self._workingset and not flags & REFERENCED:
            return LISTED | REFERENCED
        self._grow_older()
        return LISTED | ACTIVE | REFERENCED

    def _list(self, gfn: int) -> None:
        ring = self._active if self.place[gfn] & ACTIVE else self._inactive
        ring.append(gfn)
        self.count += 1

    def _may_deactivate(self) -> bool:
        active, inactive = self._active.count, self._inactive.count
        gib = (active + inactive) >> GIB_SHIFT
        ratio = isqrt(10 * gib) if gib else 1
        return active > 0 and (self._refaulted or inactive * ratio < active)

    def _grow_older(self) -> None:
        """The age of what is out, in evictions and activations; never 0, which means no shadow."""
        self._age = self._age + 1 & AGE_MASK or 1
