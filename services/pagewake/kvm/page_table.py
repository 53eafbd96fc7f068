"""What L0 knows of the pages of one VM: its nested page table and the pages behind it.

Per gfn one of five states.  `UNTOUCHED`: no frame, no swap copy.  `ABSENT`: in swap only, or at
the source of the VM (`source`: 1; user space may copy it in, or it is a page of a mapped file).
`IN_FLIGHT`: the host is reading it.  `PRESENT`: in host memory but not in the page table (just
read, or under write-back).  `MAPPED`: a touch needs no exit.

`mapped`, `accessed` and `dirty` are what hardware sees and sets; access streams read and write
them, one by one or in blocks.  A page counts as dirty until it has a valid copy in swap, so a first
touch makes it dirty whatever the access, and so does a worker that reads it (design, "First
touches"; semantics 3.1 and 3.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.events.ids import Gfn
from pagewake.simtime.state import Saved

UNTOUCHED: Final = 0
ABSENT: Final = 1
IN_FLIGHT: Final = 2
PRESENT: Final = 3
MAPPED: Final = 4


@mypyc_attr(allow_interpreted_subclasses=True)
class Pages(Saved):
    """The address space that a task touches: a byte for each gfn, 1 or 0.

    Accessed and dirty bits are those of L0's page table, in which gfn 0 of this space is `base`.
    """

    __slots__ = ("accessed", "base", "dirty", "mapped")

    mapped: bytearray
    accessed: bytearray
    dirty: bytearray
    base: int


@mypyc_attr(allow_interpreted_subclasses=True)
class PageTable(Pages):
    """State of `pages` guest frames; indexed by gfn."""

    __slots__ = ("copied_in", "held", "source", "state")

    def __init__(self, pages: int, copied_in: bool = False) -> None:
        self.base = 0
        self.source = bytearray()
        self.copied_in = copied_in
        self.state = bytearray(pages)
        self.mapped = bytearray(pages)
        self.accessed = bytearray(pages)
        self.dirty = bytearray(pages)
        self.held: dict[int, int] = {}

    def populate(
        self, gfns: NDArray[np.int64], resident: NDArray[np.bool_], has_source: bool = False
    ) -> None:
        """Pages written before time 0: those resident are mapped and dirty, the rest absent."""
        inside = gfns[resident]
        state = np.frombuffer(self.state, np.uint8)
        state[inside] = MAPPED
        state[gfns[~resident]] = ABSENT
        np.frombuffer(self.mapped, np.uint8)[inside] = 1
        np.frombuffer(self.dirty, np.uint8)[inside] = 1
        if has_source:
            self.source = bytearray(len(self.state))
            np.frombuffer(self.source, np.uint8)[gfns[~resident]] = 1

    def is_at_source(self, gfn: Gfn) -> bool:
        """Its content is at the VM's source, if it is not in memory; else in swap."""
        return bool(self.source) and self.source[gfn] == 1

    def waits_for_user_space(self, gfn: Gfn) -> bool:
        """A page that is missing in a userfaultfd: whoever copies it in allocates it, too."""
        return self.copied_in and self.is_at_source(gfn)

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
        """A read is complete: the page is in host memory, clean as yet, not mapped.

        What user space copied in has no copy elsewhere, and is dirty.
        """
        if self.state[gfn] == IN_FLIGHT:
            self.state[gfn] = PRESENT
            self.dirty[gfn] = 0
            if self.source and self.waits_for_user_space(gfn):
                self.dirty[gfn] = 1
                self.source[gfn] = 0

    def hold(self, gfn: Gfn) -> None:
        """A worker, a completion or a waiting vcpu thread keeps a reference to the page."""
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
        accessed = self.accessed
        dirty = self.dirty
        used = [gfn for gfn in gfns if accessed[gfn]]
        for gfn in used:
            accessed[gfn] = 0
        return used, [gfn for gfn in gfns if dirty[gfn]]

    def unmap(self, gfns: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """First step of eviction: (dropped, dirty, refused), by the state at this instant."""
        dropped: list[int] = []
        dirty: list[int] = []
        refused: list[int] = []
        for gfn in gfns:
            if gfn in self.held or self.state[gfn] < PRESENT:
                refused.append(gfn)
                continue
            self.mapped[gfn] = 0
            if self.dirty[gfn]:
                self.dirty[gfn] = 0
                self.state[gfn] = PRESENT
                if self.source:
                    self.source[gfn] = 0
                dirty.append(gfn)
            else:
                self.state[gfn] = ABSENT
                dropped.append(gfn)
        return dropped, dirty, refused

    def drop(self, gfns: Sequence[int]) -> tuple[list[int], list[int]]:
        """Second step, after write-back: (dropped, refused: mapped again or held)."""
        dropped: list[int] = []
        refused: list[int] = []
        for gfn in gfns:
            if gfn in self.held or self.state[gfn] != PRESENT:
                refused.append(gfn)
            else:
                self.state[gfn] = ABSENT
                dropped.append(gfn)
        return dropped, refused
