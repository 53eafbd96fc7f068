"""What a host counted: page-ins by kind, and how long the ones that had to be read took.

Times are counted in powers of two: bucket `b` holds those of 2**(b-1) to 2**b - 1 ns.
"""

from __future__ import annotations


class Counts:
    """Page requests of all VMs of one host."""

    __slots__ = (
        "joined",
        "served",
        "waited",
        "first_touches",
        "stock_touches",
        "page_in_ns_total",
        "page_in_ns_max",
        "page_in_ns_log2",
    )

    def __init__(self) -> None:
        self.joined = 0
        self.served = 0
        self.waited = 0
        self.first_touches = 0
        self.stock_touches = 0
        self.page_in_ns_total = 0
        self.page_in_ns_max = 0
        self.page_in_ns_log2 = [0] * 64

    def note_page_in(self, took_ns: int) -> None:
        """From request to readiness, waiting for a frame and for the device included."""
        self.page_in_ns_total += took_ns
        self.page_in_ns_max = max(self.page_in_ns_max, took_ns)
        self.page_in_ns_log2[took_ns.bit_length()] += 1

    def as_dict(self) -> dict[str, object]:
        """All of it, the empty end of the buckets left out."""
        used = max((b for b, count in enumerate(self.page_in_ns_log2) if count), default=-1)
        return {
            "joined": self.joined,
            "served": self.served,
            "waited_for_frame": self.waited,
            "first_touches_stock": self.stock_touches,
            "first_touches_waited": self.first_touches,
            "page_in_ns_total": self.page_in_ns_total,
            "page_in_ns_max": self.page_in_ns_max,
            "page_in_ns_log2": self.page_in_ns_log2[: used + 1],
        }
