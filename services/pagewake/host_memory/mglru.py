"""Generations of pages: victims come from the oldest, and what is used moves to the youngest.

The multi-generational LRU of mm/vmscan.c (ac35a4902374 "mm: multi-gen LRU: minimal implementation",
6.1), as far as it decides about the anonymous pages of one memory cgroup. There are two to four
generations. A page that is faulted in joins the youngest, a refault as well. Eviction takes from
the oldest: what was not accessed goes, all else joins the youngest. A new generation is begun when
eviction has only two left, or three of which the youngest has more than half of the pages or the
oldest less than a quarter.

Of a guest's accesses Linux learns here, at eviction, alone: where a new generation is begun it
walks the page tables of the VMM (bd74fdaea146), whose accessed bits a guest does not set; a walk
asks KVM for its own only since 6.13 (1d4832becdc2 "mm: multi-gen LRU: use
{ptep,pmdp}_clear_young_notify()").

Left out: that walk, and the look at the neighbours of an accessed page (018ee47f1489), which sees
the same bits; tiers, for pages read through file descriptors; file pages. At time 0 resident pages
are all of one generation, in order of writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.host_memory.replacement import ISOLATED, LISTED, OUT, Replacement, split
from pagewake.host_memory.ring import Ring

MIN_NR_GENS: Final = 2
MAX_NR_GENS: Final = 4
ROUNDS: Final = 2
"""A page that is not used: moved once for an access of before, and found."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Generations(Replacement):
    """`place[gfn]`: OUT, LISTED, or ISOLATED by reclaim; generations are numbered on and on."""

    __slots__ = ("_max_seq", "_min_seq", "_rings")

    def __init__(self, pages: int, resident: NDArray[np.int64]) -> None:
        super().__init__(pages, resident, ROUNDS)
        self._min_seq = 0
        self._max_seq = MIN_NR_GENS - 1
        empty = [Ring(pages) for _ in range(1, MAX_NR_GENS)]
        self._rings = [empty[0], Ring(pages, resident), *empty[1:]]

    def admit(self, gfn: int) -> None:
        """The page is of the youngest generation."""
        assert self.place[gfn] == OUT, "a second frame for a page that has one"
        self.place[gfn] = LISTED
        self._generation(self._max_seq).append(gfn)
        self.count += 1

    def restore(self, gfns: Sequence[int]) -> None:
        """Whatever eviction took and could not evict is of the youngest generation."""
        for gfn in gfns:
            assert self.place[gfn] == ISOLATED, "return of a page that reclaim did not take"
            self.place[gfn] = LISTED
        self._generation(self._max_seq).extend(gfns)
        self.count += len(gfns)

    def isolate(self, most: int, force: bool = False) -> list[int]:
        """Pages of the oldest generation, in the order in which they joined it."""
        if not self.count:
            return []
        self._age()
        gfns = self._generation(self._min_seq).take(most)
        for gfn in gfns:
            self.place[gfn] = ISOLATED
        self.count -= len(gfns)
        return gfns

    def judge(self, batch: list[int], accessed: list[int]) -> list[int]:
        """What was not accessed goes."""
        used, victims = split(batch, accessed)
        if used:
            self.restore(used)
        return victims

    def _generation(self, seq: int) -> Ring:
        return self._rings[seq % MAX_NR_GENS]

    def _age(self) -> None:
        """Begin generations as they are due, and be done with those that are empty."""
        while True:
            if self._aging_is_due():
                self._max_seq += 1
            elif not self._generation(self._min_seq).count:
                self._min_seq += 1
            else:
                return

    def _aging_is_due(self) -> bool:
        older = self._max_seq - self._min_seq
        if older != MIN_NR_GENS:
            return older < MIN_NR_GENS
        young = self._generation(self._max_seq).count
        old = self._generation(self._min_seq).count
        return young * MIN_NR_GENS > self.count or old * (MIN_NR_GENS + 2) < self.count
