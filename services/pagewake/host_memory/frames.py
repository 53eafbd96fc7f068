"""Frames of one host: how many each VM is charged with, and how many there are.

A charge is a page resident, a frame in a VM's stock, or a frame reserved for a page-in in flight
(design, "First touches"). As in a memory cgroup, a charge never exceeds the VM's limit, and all
charges together never exceed the host's memory; both are asserted on every change.

Pages that lie in a compressed medium (zram) take memory of the host as well, one frame for `ratio`
of them; no VM is charged for it, as no memory cgroup is for zram.

Watermarks follow kswapd's idea: reclaim starts when fewer than `low` frames are free and goes on
until `high` are free or on their way. `low` lasts for as long as an eviction takes, `reserve`
frames, at least 128; `high` is one batch of 64 more, so that write-back does not keep reads waiting
for long. They are kept small, so that a limit keeps its meaning: at most 1/64 and 1/32 of it.

Protection follows memory.min and memory.low of cgroup v2, between VMs of one host: a VM is pressed
for what it has beyond them. `low`s that add up to more than the host has count in proportion.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.simtime.state import Saved

SWAP_CLUSTER_MAX: Final = 32
"""Pages that try_charge() has reclaimed at a time (mm/memcontrol.c)."""
SCAN_MAX: Final = 1024
"""Of pages that are asked for in one event; chosen."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Watermarks(Saved):
    """When reclaim of one limit starts and stops, and how many pages it examines at a time.

    `min`: below it whoever allocates reclaims as well; Linux has `low` a quarter of it above.
    `direct`: none is kept free, and nothing is reclaimed before somebody waits for a frame, a batch
    of SWAP_CLUSTER_MAX pages at a time: a memory cgroup has no kswapd.
    """

    __slots__ = ("min", "low", "high", "batch", "direct")

    def __init__(self, limit_pages: int, reserve_pages: int = 0, *, direct: bool = False) -> None:
        self.direct = direct
        if direct:
            self.min = self.low = self.high = 0
            self.batch = min(SWAP_CLUSTER_MAX, max(1, limit_pages // 32))
            return
        low = max(128, reserve_pages)
        self.low = min(low, limit_pages // 64)
        self.min = self.low * 4 // 5
        self.high = min(low + 64, limit_pages // 32)
        self.batch = min(64, max(1, self.high))

    def to_examine(self, fruitless: int) -> int:
        """The size of a batch, behind so many pages among which no victim was found.

        Who reclaims directly looks at twice as many each time, as its scan priority falls.
        """
        return min(SCAN_MAX, max(self.batch, fruitless)) if self.direct else self.batch


class HasReserve(Protocol):
    """As much of a VM as the watermarks of its host depend on."""

    @property
    def reserve_pages(self) -> int:
        """Frames that it may use while an eviction goes on."""
        ...


def host_marks(memory_pages: int, vms: Iterable[HasReserve]) -> Watermarks:
    """Watermarks of a whole host: its VMs may all use frames at once."""
    return Watermarks(memory_pages, sum(vm.reserve_pages for vm in vms))


@mypyc_attr(allow_interpreted_subclasses=True)
class Frames(Saved):
    """Charges per VM, indexed by the VM's place in name order; `leaving`: those under reclaim."""

    __slots__ = (
        "charges", "floors", "leaving", "limits", "memory_pages", "pool", "ratio_milli", "stored",
        "total", "total_leaving",
    )  # fmt: skip

    def __init__(
        self,
        limits: Sequence[int],
        memory_pages: int | None,
        mins: Sequence[int] = (),
        lows: Sequence[int] = (),
    ) -> None:
        self.limits = array("q", limits)
        self.charges = array("q", bytes(8 * len(limits)))
        self.memory_pages = sum(limits) if memory_pages is None else memory_pages
        self.leaving = array("q", bytes(8 * len(limits)))
        self.total = 0
        self.total_leaving = 0
        self.stored = 0
        self.ratio_milli = 0
        self.pool = 0
        self.floors = _floors(limits, mins, lows, self.memory_pages)

    def under_limit(self, vm: int) -> int:
        """Frames the VM may take before it meets its own limit."""
        return self.limits[vm] - self.charges[vm]

    def left(self) -> int:
        """Frames of the host that nobody is charged with and that hold no compressed page."""
        return self.memory_pages - self.total - self.pool

    def free(self, vm: int) -> int:
        """Frames the VM can have now."""
        own = self.limits[vm] - self.charges[vm]
        host = self.memory_pages - self.total - self.pool
        return own if own <= host else max(0, host)

    def charge(self, vm: int, frames: int) -> None:
        """Charge the VM; there must be that many free for it."""
        charged = self.charges[vm] + frames
        self.total += frames
        assert charged <= self.limits[vm], "charge above the limit of the VM"
        assert self.total <= self.memory_pages, "charge above the memory of the host"
        self.charges[vm] = charged

    def uncharge(self, vm: int, frames: int) -> None:
        """Take back frames that a VM was charged for."""
        self.charges[vm] -= frames
        self.total -= frames
        assert self.charges[vm] >= 0, "frames given back twice"

    def leave(self, vm: int, frames: int) -> None:
        """Reclaim takes so many pages of the VM in hand; fewer than none: has done with them."""
        self.leaving[vm] += frames
        self.total_leaving += frames

    def store(self, pages: int) -> None:
        """So many more pages lie in swap; fewer than none: have been read."""
        self.stored += pages
        if self.ratio_milli:
            self.pool = compressed(self.stored, self.ratio_milli)

    def hold(self, stored: int, pool: int) -> None:
        """So many pages lie in swap, and take so many frames of the host there."""
        self.stored = stored
        self.pool = pool

    def keep_stored(self, ratio_milli: int) -> None:
        """Swap takes memory of the host at this ratio from now on; 0: none."""
        self.ratio_milli = ratio_milli
        self.pool = compressed(self.stored, ratio_milli) if ratio_milli else 0

    def least_ahead(self, marks: NDArray[np.int64]) -> int:
        """Of all VMs, the fewest frames beyond its mark that are free to it or will be."""
        charged = np.frombuffer(self.charges, np.int64) - np.frombuffer(self.leaving, np.int64)
        return int((np.frombuffer(self.limits, np.int64) - charged - marks).min())

    def by_pressure(self, floor: NDArray[np.int64]) -> list[int]:
        """VMs that have more than their floor: most of it relative to the limit first.

        What is under reclaim already is left out; ties go in name order.
        """
        staying = np.frombuffer(self.charges, np.int64) - np.frombuffer(self.leaving, np.int64)
        beyond = staying - floor
        share = beyond / np.frombuffer(self.limits, np.int64)
        return [int(vm) for vm in np.argsort(-share, kind="stable") if beyond[vm] > 0]


def compressed(pages: int, ratio_milli: int) -> int:
    """Frames that so many pages take in a compressed medium."""
    return -(-pages * 1000 // ratio_milli)


def scaled_low(low: int, lows: int, memory_pages: int) -> int:
    """A VM's part of all `low`s, which the host has to have."""
    return low if lows <= memory_pages else low * memory_pages // lows


def _floors(
    limits: Sequence[int], mins: Sequence[int], lows: Sequence[int], memory_pages: int
) -> list[NDArray[np.int64]]:
    """What reclaim leaves the VMs, at first and then if nobody has more: low, then min."""
    least = np.array(mins or [0] * len(limits), np.int64)
    if not any(lows):
        return [least]
    total = sum(lows)
    low = np.array([scaled_low(low, total, memory_pages) for low in lows], np.int64)
    return [np.maximum(least, low), least]
