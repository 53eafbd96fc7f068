"""Huge pages of the host: 2 MiB mappings of a VM's memory, and when they break up.

Transparent huge pages (71e3aac0724f, 2.6.38; semantics 3.1), where `host.huge_pages` is set.  A
first touch in an aligned range of which nothing was touched maps all of it, if there are frames;
what lies in memory as a whole at time 0 is mapped so too.  From then on hardware keeps one accessed
bit for the range, and one dirty bit, which is set, as nothing of a range has a copy in swap.

Reclaim that takes one page splits the mapping: its bits go to all pages of the range, which are on
their own from then on.  Pages come back from swap one by one, and nothing puts a range together
again, so an absent page is never part of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Gfn
from pagewake.kvm.page_table import MAPPED, UNTOUCHED, PageTable
from pagewake.simtime.state import Saved

HUGE: Final = 512
"""Pages of a range."""
_SET: Final = b"\1" * HUGE
_CLEAR: Final = bytes(HUGE)


@mypyc_attr(allow_interpreted_subclasses=True)
class HugePages(Saved):
    """The ranges of one VM that are mapped whole; range i begins at gfn i * HUGE.

    Streams set the bits of a gfn in `table`; here is what they say of its range.  `_used[gfn]`: the
    range was accessed since the host asked for this gfn.
    """

    __slots__ = ("_table", "_used", "_whole")

    def __init__(self, table: PageTable) -> None:
        self._table = table
        pages = len(table.state)
        self._whole = bytearray(pages // HUGE)
        self._used = bytearray(pages)

    def whole(self, gfn: int) -> bool:
        """Whether the page lies in a range that is mapped whole."""
        return gfn // HUGE < len(self._whole) and self._whole[gfn // HUGE] == 1

    def map_resident(self) -> None:
        """At time 0: ranges all of whose pages are in memory."""
        state = self._table.state
        for number in range(len(self._whole)):
            start = number * HUGE
            self._whole[number] = state.count(MAPPED, start, start + HUGE) == HUGE

    def untouched(self, gfn: Gfn) -> range | None:
        """The range of a page, if none of it was ever touched and all of it is memory."""
        start = gfn // HUGE * HUGE
        untouched = self._table.state.count(UNTOUCHED, start, start + HUGE)
        return range(start, start + HUGE) if untouched == HUGE else None

    def map_range(self, gfns: range) -> None:
        """Enter an untouched range: fresh frames, which hold no copy of anything in swap."""
        for gfn in gfns:
            self._table.map_first_touch(Gfn(gfn))
        self._whole[gfns.start // HUGE] = 1

    def gather(self, gfns: Sequence[int]) -> None:
        """Before the accessed bits of these pages are read: those of ranges are their ranges'.

        Reading clears the bit of the whole range; what it said is kept for the pages that the host
        has not asked for yet, since it takes ranges in parts.
        """
        accessed, used = self._table.accessed, self._used
        for start in self._starts(gfns):
            if accessed.find(1, start, start + HUGE) >= 0:
                accessed[start : start + HUGE] = _CLEAR
                used[start : start + HUGE] = _SET
        for gfn in gfns:
            if used[gfn]:
                used[gfn] = 0
                accessed[gfn] = 1

    def split(self, gfns: Sequence[int]) -> None:
        """Break up the ranges that these pages lie in."""
        table, used = self._table, self._used
        for start in self._starts(gfns):
            end = start + HUGE
            assert table.dirty.find(0, start, end) < 0, "a range with a copy in swap"
            self._whole[start // HUGE] = 0
            if table.accessed.find(1, start, end) >= 0:
                table.accessed[start:end] = _SET
            else:
                table.accessed[start:end] = used[start:end]
            used[start:end] = _CLEAR

    def _starts(self, gfns: Iterable[int]) -> list[int]:
        """Where the whole ranges begin that these pages lie in, each once, in their order."""
        return list(dict.fromkeys(gfn // HUGE * HUGE for gfn in gfns if self.whole(gfn)))
