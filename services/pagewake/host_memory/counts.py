"""What a host counted: page-ins by kind, and how long those of a page out of swap took.

Times are counted in powers of two: bucket `b` holds those of 2**(b-1) to 2**b - 1 ns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mypy_extensions import mypyc_attr

from pagewake.simtime.state import Saved

BUCKETS = 64  # no time of a run has more bits


class PageIns(NamedTuple):
    """Pages read from swap, by how long that took."""

    ns_log2: list[int]
    ns_total: int

    @property
    def reads(self) -> int:
        """How many pages were read."""
        return sum(self.ns_log2)


class MemorySummary(NamedTuple):
    """What a host accounts for: `evictions` so far, and pages in memory by VM.

    `stored` pages lie in swap and take `pool` frames of the host there (zram; else 0).
    """

    medium: str
    evictions: int
    resident: dict[str, int]
    stored: int
    pool: int


@mypyc_attr(allow_interpreted_subclasses=True)
class Counts(Saved):
    """Counts the page-ins of all VMs of one host."""

    __slots__ = ("page_in_ns_total", "page_in_ns_log2")

    def __init__(self) -> None:
        self.page_in_ns_total = 0
        self.page_in_ns_log2 = [0] * BUCKETS

    def note_page_in(self, took_ns: int) -> None:
        """Count the time from request to readiness, waiting for a frame and the device included."""
        self.page_in_ns_total += took_ns
        self.page_in_ns_log2[took_ns.bit_length()] += 1

    def page_ins(self, under_way_ns: Sequence[int] = ()) -> PageIns:
        """The page-ins noted so far, without those under way, which will have taken these times."""
        ns_log2 = self.page_in_ns_log2[:]
        for took_ns in under_way_ns:
            ns_log2[took_ns.bit_length()] -= 1
        return PageIns(ns_log2, self.page_in_ns_total - sum(under_way_ns))
