"""Frames of one host: how many each VM is charged with, and how many there are.

A charge is a page resident, a frame in a VM's stock, or a frame reserved for a page-in in flight
(design, "First touches"). As in a memory cgroup, a charge never exceeds the VM's limit, and all
charges together never exceed the host's memory; both are asserted on every change.

Watermarks follow kswapd's idea: reclaim starts when fewer than `low` frames are free and goes on
until `high` are free or on their way. They are chosen small, so that a limit keeps its meaning:
1/64 of the limit and at most 128 frames, which last for the few reclaim lags that an eviction
takes, and 1/32, at most 192: one batch of 64 more, so that write-back does not keep reads waiting
for long.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np


class Watermarks:
    """When reclaim of one limit starts and stops, and how many pages it examines at a time."""

    __slots__ = ("low", "high", "batch")

    def __init__(self, limit_pages: int) -> None:
        self.low = min(128, limit_pages // 64)
        self.high = min(192, limit_pages // 32)
        self.batch = min(64, max(1, self.high))


class Frames:
    """Charges per VM, indexed by the VM's place in name order; `leaving`: those under reclaim."""

    __slots__ = ("charges", "leaving", "limits", "memory_pages", "total", "total_leaving")

    def __init__(self, limits: Sequence[int], memory_pages: int | None) -> None:
        self.limits = array("q", limits)
        self.charges = array("q", bytes(8 * len(limits)))
        self.memory_pages = sum(limits) if memory_pages is None else memory_pages
        self.leaving = array("q", bytes(8 * len(limits)))
        self.total = 0
        self.total_leaving = 0

    def under_limit(self, vm: int) -> int:
        """Frames the VM may take before it meets its own limit."""
        return self.limits[vm] - self.charges[vm]

    def left(self) -> int:
        """Frames of the host that nobody is charged with."""
        return self.memory_pages - self.total

    def free(self, vm: int) -> int:
        """Frames the VM can have now."""
        own, host = self.limits[vm] - self.charges[vm], self.memory_pages - self.total
        return min(host, own)

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

    def by_pressure(self) -> list[int]:
        """VMs by staying charge relative to limit, fullest first, ties in name order."""
        staying = np.frombuffer(self.charges, np.int64) - np.frombuffer(self.leaving, np.int64)
        share = staying / np.frombuffer(self.limits, np.int64)
        return [int(vm) for vm in np.argsort(-share, kind="stable")]
