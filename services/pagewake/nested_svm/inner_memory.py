"""A nested guest's memory: a range of L1's gfns behind L1's own table for it.

Only L0 swaps.  A touch walks L1's table first (absent: exit to L1, which maps without I/O), then
L0's; `mapped` is what both together allow.  Accessed and dirty bits live in L0's page table, of
which this is a window (design, "Nesting").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.kvm.page_table import Pages, PageTable


@mypyc_attr(allow_interpreted_subclasses=True)
class InnerMemory(Pages):
    """The gfns of the L2 guest: `pages` of L1's, from `base` on."""

    __slots__ = ("pages", "present", "table")

    def __init__(self, table: PageTable, base: int, pages: int) -> None:
        self.table = table
        self.base = base
        self.pages = pages
        self.present = bytearray(pages)
        self.mapped = bytearray(pages)
        self.accessed = table.accessed
        self.dirty = table.dirty

    def written(self, gfns: NDArray[np.int64]) -> None:
        """Pages (of L1's memory) written before time 0 are in L1's table."""
        for gfn in gfns[(gfns >= self.base) & (gfns < self.base + self.pages)].tolist():
            self.allow(gfn - self.base)

    def allow(self, gfn: int) -> None:
        """L1 mapped the L2 gfn."""
        self.present[gfn] = 1
        self.mapped[gfn] = self.table.mapped[gfn + self.base]

    def l0_mapped(self, gfn: int) -> None:
        """L0 mapped this gfn of L1."""
        inner = gfn - self.base
        if 0 <= inner < self.pages:
            self.mapped[inner] = self.present[inner]

    def l0_unmapped(self, gfns: Sequence[int]) -> list[int]:
        """L0 unmapped these gfns of L1; those of the L2 guest are returned."""
        inner = [gfn - self.base for gfn in gfns if 0 <= gfn - self.base < self.pages]
        for gfn in inner:
            self.mapped[gfn] = 0
        return inner
