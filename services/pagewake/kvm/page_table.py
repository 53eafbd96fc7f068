"""What L0 knows of the pages of one VM: its nested page table and the pages behind it.

Per gfn one of five states.  `UNTOUCHED`: no frame, no swap copy.  `ABSENT`: in swap only.
`IN_FLIGHT`: the host is reading it.  `PRESENT`: in host memory but not in the page table (just
read, or under write-back).  `MAPPED`: a touch needs no exit.

The arrays `mapped`, `accessed` and `dirty` are what hardware sees and sets; access streams read and
write them in blocks.  A page counts as dirty until it has a valid copy in swap, so a first touch
makes it dirty whatever the access (design, "First touches"; semantics 3.1 and 3.6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pagewake.events.ids import Gfn

UNTOUCHED, ABSENT, IN_FLIGHT, PRESENT, MAPPED = range(5)


class PageTable:
    """State of `pages` guest frames; all arrays are indexed by gfn."""

    __slots__ = ("accessed", "dirty", "held", "mapped", "state")

    def __init__(self, pages: int) -> None:
        self.state: NDArray[np.uint8] = np.zeros(pages, np.uint8)
        self.mapped: NDArray[np.uint8] = np.zeros(pages, np.uint8)
        self.accessed: NDArray[np.uint8] = np.zeros(pages, np.uint8)
        self.dirty: NDArray[np.uint8] = np.zeros(pages, np.uint8)
        self.held: dict[int, int] = {}

    def populate(self, gfns: NDArray[np.int64], resident: NDArray[np.bool_]) -> None:
        """Pages written before time 0: those resident are mapped and dirty, the rest in swap."""
        inside, outside = gfns[resident], gfns[~resident]
        self.state[inside] = MAPPED
        self.mapped[inside] = 1
        self.dirty[inside] = 1
        self.state[outside] = ABSENT

    def map_page(self, gfn: Gfn) -> None:
        """Enter the page into the page table; its accessed bit starts clear."""
        self.state[gfn] = MAPPED
        self.mapped[gfn] = 1
        self.accessed[gfn] = 0

    def map_first_touch(self, gfn: Gfn) -> None:
        """A fresh frame: nothing in swap holds its content."""
        self.map_page(gfn)
        self.dirty[gfn] = 1

    def arrive(self, gfn: Gfn) -> None:
        """A read is complete: the page is in host memory, clean, not mapped yet."""
        if self.state[gfn] == IN_FLIGHT:
            self.state[gfn] = PRESENT
            self.dirty[gfn] = 0

    def hold(self, gfn: Gfn) -> None:
        """A completion or a waiting vcpu thread keeps a reference to the page."""
        self.held[gfn] = self.held.get(gfn, 0) + 1

    def release(self, gfn: Gfn) -> None:
        """Drop one such reference."""
        left = self.held[gfn] - 1
        if left:
            self.held[gfn] = left
        else:
            del self.held[gfn]

    def harvest(self, gfns: Sequence[int]) -> tuple[list[int], list[int]]:
        """Read and clear accessed bits: (accessed gfns, dirty gfns)."""
        where = np.asarray(gfns, np.int64)
        accessed = where[self.accessed[where] != 0]
        dirty = where[self.dirty[where] != 0]
        self.accessed[where] = 0
        return accessed.tolist(), dirty.tolist()

    def unmap(self, gfns: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """First step of eviction: (dropped, dirty, refused), by the state at this instant."""
        dropped: list[int] = []
        dirty: list[int] = []
        refused: list[int] = []
        where = np.asarray(gfns, np.int64)
        held = self.held
        for gfn, state, modified in zip(
            gfns, self.state[where].tolist(), self.dirty[where].tolist(), strict=True
        ):
            if gfn in held or state not in (PRESENT, MAPPED):
                refused.append(gfn)
            elif modified:
                dirty.append(gfn)
            else:
                dropped.append(gfn)
        self.mapped[dropped] = 0
        self.state[dropped] = ABSENT
        self.mapped[dirty] = 0
        self.dirty[dirty] = 0
        self.state[dirty] = PRESENT
        return dropped, dirty, refused

    def drop(self, gfns: Sequence[int]) -> tuple[list[int], list[int]]:
        """Second step, after write-back: (dropped, refused: mapped again or held)."""
        dropped: list[int] = []
        refused: list[int] = []
        held = self.held
        for gfn, state in zip(gfns, self.state[np.asarray(gfns, np.int64)].tolist(), strict=True):
            if gfn in held or state != PRESENT:
                refused.append(gfn)
            else:
                dropped.append(gfn)
        self.state[dropped] = ABSENT
        return dropped, refused
