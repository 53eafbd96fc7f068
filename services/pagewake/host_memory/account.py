"""What the host keeps per VM besides its charge: pages, stock, waiters, state of reclaim.

The stock is what has been granted for first touches (and for page-ins of a synchronous medium) and
has not been reported as used. A VM whose stock is down to half is owed a refill: `owed` (memory
cgroups charge in batches for the same reason; design, "First touches").
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.events.types import PageNotPresent, PageRequested
from pagewake.host_memory.config import VmMemory
from pagewake.host_memory.frames import Watermarks
from pagewake.host_memory.lists import pages_of
from pagewake.host_memory.replacement import SECOND_CHANCE
from pagewake.host_memory.source import source_of
from pagewake.simtime.state import Saved

FLIGHTS_MIN: Final = 8
"""Reads before it is looked which are over: looking at every read costs more than keeping some."""


@mypyc_attr(allow_interpreted_subclasses=True)
class VmAccount(Saved):
    """One VM of the host; `index` is its place in name order."""

    __slots__ = (
        "name",
        "index",
        "pages",
        "marks",
        "stock",
        "stock_target",
        "owed",
        "waiting",
        "wanted",
        "awaited",
        "queued",
        "aging",
        "fruitless",
        "in_flight",
        "forget_at",
        "source",
    )

    def __init__(
        self, memory: VmMemory, index: int, replacement: str = SECOND_CHANCE, seed: int = 0
    ) -> None:
        self.name = memory.vm
        self.index = index
        self.pages = pages_of(replacement, memory.pages, memory.populated[memory.resident])
        self.marks = Watermarks(memory.limit_pages, memory.reserve_pages, direct=memory.direct)
        self.stock = memory.stock_pages
        self.stock_target = memory.stock_pages
        self.owed = 0
        self.waiting: list[PageNotPresent | PageRequested] = []
        self.wanted = 0
        self.awaited = 0
        self.queued = False
        self.aging: list[tuple[int, list[int]]] = []
        self.fruitless = 0
        self.in_flight: dict[int, int] = {}
        self.forget_at = FLIGHTS_MIN
        self.source = source_of(memory, seed)

    def short_of(self) -> int:
        """How many frames the VM waits for, its vcpu threads that reclaim included."""
        return self.wanted + self.owed + self.awaited

    def note_in_flight(self, now_ns: int, gfn: int, ready_ns: int) -> None:
        """Remember when a page will be ready; forget those that are, once they may be half."""
        self.in_flight[gfn] = ready_ns
        if len(self.in_flight) >= self.forget_at:
            self.in_flight = {gfn: ns for gfn, ns in self.in_flight.items() if ns > now_ns}
            self.forget_at = max(FLIGHTS_MIN, 2 * len(self.in_flight))
