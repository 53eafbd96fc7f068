"""Swap read-ahead: which neighbours a fault reads with its page (semantics 3.3; model, "Swap").

A fault on a page in swap reads a window of up to `2**page_cluster` pages.  Which ones depends on
the kernel (`read_ahead`) and the device:

    block    the aligned block of swap slots round the page's own, whole: up to 3.13
    cluster  the same, as large as the hits of late were: since 3.14 (579f82901f6f)
    vma      pages round it in address space, as large as the hits of late were: since 4.14
             (ec560175c0b6), unless a swap area rotates

A hit is a fault that finds a page which was read ahead.  Without hits, and away from the fault
before it, a window shrinks by half down to one page.  The memory of a VM is one mapping of its
process, so its vcpus share one window; the cluster's is kept per VM here, and is one of the whole
host in Linux.

Slots are handed out in the order in which pages leave, and kept until the page is written again.
Neighbours in a window whose slots follow each other are one request to the device.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Gfn
from pagewake.kvm.page_table import ABSENT
from pagewake.simtime.state import Saved

Window: TypeAlias = Literal["block", "cluster", "vma"]

ORDER_MAX: Final = 5
"""Of a window in address space (SWAP_RA_ORDER_CEILING); a larger one is refused for slots too."""
LEAF_PAGES: Final = 512
"""A window in address space stays within one page of page-table entries."""
PAGE_CLUSTER: Final = 3
"""`vm.page-cluster` where nobody set it, in every kernel with 16 MiB and more (swap_setup())."""
NO_SLOT: Final = -1


@mypyc_attr(allow_interpreted_subclasses=True)
class ReadAhead(Saved):
    """The window of one VM, and where in swap its pages lie."""

    __slots__ = ("_ahead", "_at_slot", "_hits", "_last", "_next_slot", "_size", "_slots", "kind",
                 "most")  # fmt: skip

    def __init__(self, kind: Window, page_cluster: int, pages: int) -> None:
        """`pages` of guest memory; windows of up to `2**page_cluster`."""
        self.kind = kind
        self.most = 1 << page_cluster
        self._last = NO_SLOT
        self._hits = 0
        self._size = 0
        self._ahead: dict[int, None] = {}
        self._next_slot = 0
        self._slots = array("q", [NO_SLOT]) * pages
        self._at_slot: dict[int, int] = {}

    def store(self, gfns: Iterable[int]) -> None:
        """These pages leave memory now, in this order: each gets a new slot."""
        for gfn in gfns:
            self._at_slot.pop(self._slots[gfn], None)
            self._slots[gfn] = self._next_slot
            self._at_slot[self._next_slot] = gfn
            self._next_slot += 1

    @property
    def alone(self) -> bool:
        """The window that was read last was of one page."""
        return self._size == 1

    def _size_for(self, gfn: Gfn) -> int:
        """How many pages a fault on this one reads, those in memory included."""
        if self.kind == "block":
            return self.most
        at = gfn if self.kind == "vma" else self._slots[gfn]
        pages = self._hits + 2
        if pages == 2:
            pages = 2 if abs(at - self._last) == 1 else 1
        else:
            pages = max(4, 1 << (pages - 1).bit_length())
        return max(min(pages, self.most), self._size // 2)

    def read(self, gfn: Gfn, state: bytearray, source: bytearray | None = None) -> list[int]:
        """A fault reads this page, and these beside it: all of them, in their order.

        `state` and `source` are the page table's.  What is in memory, on its way, or not in swap,
        is not read.
        """
        size = self._size_for(gfn)
        gfns = [
            near
            for near in self._window(gfn, size, len(state))
            if near == gfn or (state[near] == ABSENT and not (source and source[near]))
        ]
        self._last = gfn if self.kind == "vma" else self._slots[gfn]
        self._size = size
        self._hits = 0
        self._ahead.pop(gfn, None)
        for near in gfns:
            if near != gfn:
                self._ahead[near] = None
        return gfns

    def found(self, gfn: Gfn) -> None:
        """A fault finds this page in the swap cache, read or being read."""
        hit = gfn in self._ahead
        if hit:
            del self._ahead[gfn]
            self._hits += 1
        if self.kind == "vma":
            self._last = gfn

    def requests(self, gfns: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Pages of a window, split where their slots do not follow each other."""
        runs: list[list[int]] = []
        for gfn in gfns:
            if runs and abs(self._slots[gfn] - self._slots[runs[-1][-1]]) == 1:
                runs[-1].append(gfn)
            else:
                runs.append([gfn])
        return tuple(tuple(run) for run in runs)

    def _window(self, gfn: Gfn, size: int, pages: int) -> Sequence[int]:
        if self.kind == "vma":
            leaf = gfn - gfn % LEAF_PAGES
            first = _first(gfn, size, self._last)
            return range(max(first, leaf), min(first + size, leaf + LEAF_PAGES, pages))
        start = self._slots[gfn] & -size
        at_slot = self._at_slot
        return [at_slot[slot] for slot in range(start, start + size) if slot in at_slot]


def _first(gfn: int, size: int, last: int) -> int:
    """Where a window in address space begins: on from a walk upward or downward, else round."""
    if gfn == last + 1:
        return gfn
    if gfn == last - 1:
        return gfn - size + 1
    return gfn - (size - 1) // 2
