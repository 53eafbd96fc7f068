"""Where in swap each page of a VM lies, where its host has more than one swap area, or zswap.

A page of a synchronous area, and one in zswap, is there when its submission returns, so a fault on
it is never asynchronous (semantics 3.3); on one of another area it can be.  The host says where a
page went as it leaves memory (`PageDropped`), and when zswap writes it to its slot (`PagesMoved`).
"""

from __future__ import annotations

from collections.abc import Iterable

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Gfn
from pagewake.simtime.state import Saved


@mypyc_attr(allow_interpreted_subclasses=True)
class SwapAreas(Saved):
    """Areas by number, as in `PageReady`; `load_ns`: of one page in submission, 0 = asynchronous.

    `zswap`: its number; 0: there is none.
    """

    __slots__ = ("_at", "load_ns", "zswap")

    def __init__(self, pages: int, load_ns: tuple[int, ...], zswap: int) -> None:
        self._at = bytearray(pages)
        self.load_ns = load_ns
        self.zswap = zswap

    def start(self, gfns: Iterable[int], places: bytes) -> None:
        """Where these pages lie at time 0; the topmost bit stands for zswap."""
        for gfn, place in zip(gfns, places, strict=True):
            self._at[gfn] = self.zswap if place & 0x80 else place

    def put(self, gfns: Iterable[int], area: int) -> None:
        """The copies of these pages lie there from now on."""
        for gfn in gfns:
            self._at[gfn] = area

    def of(self, gfn: Gfn) -> int:
        """The area that a page is read from."""
        return self._at[gfn]

    def leaves_dirty(self, area: int) -> bool:
        """Has a page from there no copy left: of zram (0bcac06f27d7) and zswap (b9c91c43412f)?"""
        return self.load_ns[area] > 0
