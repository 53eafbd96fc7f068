"""Taking frames back: when, from whom, and the exchange with the shard that it takes.

Like kswapd, reclaim works beside the vcpus, in batches, from when fewer than `low` frames are free
until `high` are free or on their way. A VM whose vcpu threads reclaim at its limit themselves (5.8)
has a batch reclaimed for each that waits, and nothing ahead. One batch goes through these steps,
each a delivery at its cause plus `reclaim_lag` or, for the last, at the completion of the
write-back:

1. `AgePages` -> `PagesAged`: accessed bits are read and cleared, and the VM's list of pages
   (`host_memory/replacement.py`) says which of the batch go;
2. `PageUnmapped` -> `PagesEvicted`: clean pages are gone and their frames free; pages refused go
   back; dirty pages are written to swap, `writeback_pages` neighbours per request;
3. `PageDropped` -> `PagesEvicted`: gone, or refused because they were mapped again meanwhile.

A frame is free only with the shard's answer, for the shard alone knows the page at that instant
(design, "Eviction in two steps"). Answers to `AgePages` come at the instant and in the order of the
questions. Pages being read are passed over; where no others are left, step 1 waits for the first of
them.

No page is spared for ever, so reclaim makes progress even if all pages are accessed all the time:
once as many pages as the VM has in memory (or that twice or three times, where a list finds a page
that is not used only the second or third time) were examined without finding a victim, batches skip
step 1, until `high` frames are free for the VM or a victim was found by its bit.

Where the host as a whole is short, a batch is taken from each VM in turn, the one with the largest
charge beyond its protection (less what is under reclaim already) relative to its limit first, ties
in name order, until the host's own `high` is reached. As in Linux, `min` and `low` protect a VM
from this alone, not from its own limit; where nobody has more than its `low`, only `min` protects.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from operator import itemgetter

import numpy as np
from mypy_extensions import mypyc_attr

from pagewake.events.types import (
    AgePages,
    PageDropped,
    PagesAged,
    PagesEvicted,
    PagesMoved,
    PageUnmapped,
)
from pagewake.host_memory.account import VmAccount
from pagewake.host_memory.areas import Areas
from pagewake.host_memory.frames import Frames, Watermarks
from pagewake.host_memory.outbox import Outbox
from pagewake.host_memory.swap import Device
from pagewake.simtime.state import Saved


@mypyc_attr(allow_interpreted_subclasses=True)
class Reclaim(Saved):
    """Reclaim of one host. `short_of`: frames that its VMs wait for, all together."""

    __slots__ = (
        "evictions",
        "short_of",
        "_frames",
        "_accounts",
        "_areas",
        "_device",
        "_outbox",
        "_lag_ns",
        "_writeback_pages",
        "_marks",
        "_lows",
    )

    def __init__(
        self,
        frames: Frames,
        accounts: Sequence[VmAccount],
        device: Device,
        outbox: Outbox,
        lag_ns: int,
        writeback_pages: int,
        host_marks: Watermarks | None,
        areas: Areas | None = None,
    ) -> None:
        self.evictions = 0
        self.short_of = 0
        self._frames = frames
        self._accounts = accounts
        self._areas = areas
        self._device = device
        self._outbox = outbox
        self._lag_ns = lag_ns
        self._writeback_pages = writeback_pages
        self._marks = host_marks
        self._lows = np.array([vm.marks.low for vm in accounts], np.int64)

    def balance(self, vm: VmAccount, now_ns: int) -> None:
        """Start as many batches as the VM, and the host, are short of."""
        marks = vm.marks
        short = vm.short_of()
        ahead = self._frames.under_limit(vm.index) + self._frames.leaving[vm.index] - short
        if ahead < marks.low:
            while ahead < marks.high and (taken := self._start_batch(vm, now_ns)):
                ahead += taken
        elif vm.fruitless and self._frames.free(vm.index) - short >= marks.high:
            vm.fruitless = 0
        if self._marks is not None:
            self._balance_host(self._marks, now_ns)

    def directly(self, vm: VmAccount, now_ns: int) -> None:
        """A vcpu thread of the VM reclaims: a batch, whatever is under way."""
        vm.awaited += 1
        self._start_batch(vm, now_ns)

    def for_host(self, now_ns: int) -> None:
        """A vcpu thread reclaims for a frame of the host: a batch, whatever is under way."""
        for floor in self._frames.floors:
            for index in self._frames.by_pressure(floor):
                if self._start_batch(self._accounts[index], now_ns):
                    return

    def spare(self) -> int:
        """So many frames may be taken, by whatever VMs, before `balance` has anything to do."""
        if self.short_of:
            return 0
        spare = self._frames.least_ahead(self._lows)
        if self._marks is not None:
            spare = min(spare, self._frames.left() + self._frames.total_leaving - self._marks.low)
        return spare

    def aged(self, vm: VmAccount, event: PagesAged) -> None:
        """Step 1 is answered: unmap what was not accessed."""
        assert vm.aging, f"{vm.name} answered an AgePages that was not asked"
        _, batch = vm.aging.pop(0)
        if self._areas is not None:
            self._areas.written_to(vm.index, event.dirty)
        victims = vm.pages.judge(batch, event.accessed)
        if victims:
            vm.fruitless = 0
            self._unmap(vm, event.at_ns, victims)
        else:
            vm.fruitless += len(batch)
        if len(victims) < len(batch):
            self._frames.leave(vm.index, len(victims) - len(batch))

    def evicted(self, vm: VmAccount, event: PagesEvicted) -> None:
        """Step 2 or 3 is answered: free, put back, or write."""
        gone = event.dropped
        if gone:
            vm.pages.forget(gone)
            self._frames.uncharge(vm.index, len(gone))
            left = self._frames.under_limit(vm.index) - vm.wanted - vm.owed
            vm.awaited = max(0, vm.awaited - max(0, left))
            self._frames.leave(vm.index, -len(gone))
            if self._areas is None:
                back = vm.source.take_back(gone) if vm.source is not None else 0
                self._frames.store(len(gone) - back)
            else:
                self._areas.left(vm.index, gone)
            if event.n:  # what a frozen VM answers does not count
                self.evictions += len(gone)
        if event.refused:
            self._restore(vm, event.refused)
        if event.dirty:
            self._write_back(vm, event.at_ns, event.dirty)

    def _balance_host(self, marks: Watermarks, now_ns: int) -> None:
        ahead = self._frames.left() + self._frames.total_leaving - self.short_of
        if ahead >= marks.low:
            return
        for floor in self._frames.floors:
            taken = 1
            while taken:
                taken = 0
                for index in self._frames.by_pressure(floor):
                    taken += self._start_batch(self._accounts[index], now_ns)
                    if ahead + taken >= marks.high:
                        return
                ahead += taken

    def _start_batch(self, vm: VmAccount, now_ns: int) -> int:
        """Examine the VM's oldest pages; how many, 0 if it has none to examine."""
        in_memory = vm.pages.count + self._frames.leaving[vm.index]
        force = 0 < in_memory * vm.pages.rounds <= vm.fruitless
        gfns = vm.pages.isolate(vm.marks.to_examine(vm.fruitless), force)
        if not gfns:
            return 0
        self._frames.leave(vm.index, len(gfns))
        at_ns = now_ns + self._lag_ns
        if vm.in_flight:
            gfns, at_ns = self._pass_over_reads(vm, now_ns, gfns)
        if force:
            self._outbox.put(now_ns, PageUnmapped(at_ns, vm.name, 0, gfns))
        else:
            insort(vm.aging, (at_ns, gfns), key=itemgetter(0))
            self._outbox.put(now_ns, AgePages(at_ns, vm.name, 0, gfns))
        return len(gfns)

    def _pass_over_reads(
        self, vm: VmAccount, now_ns: int, gfns: list[int]
    ) -> tuple[list[int], int]:
        """Pages that are not being read, for now; or if all are, all of them, for the first end."""
        soonest = now_ns + self._lag_ns
        if vm.in_flight.keys().isdisjoint(gfns):
            return gfns, soonest
        ready = vm.in_flight.get
        here = [gfn for gfn in gfns if ready(gfn, 0) <= now_ns]
        if not here:
            return gfns, max(soonest, min(vm.in_flight[gfn] for gfn in gfns))
        if len(here) < len(gfns):
            self._restore(vm, [gfn for gfn in gfns if ready(gfn, 0) > now_ns])
        return here, soonest

    def _unmap(self, vm: VmAccount, now_ns: int, gfns: list[int]) -> None:
        self._outbox.put(now_ns, PageUnmapped(now_ns + self._lag_ns, vm.name, 0, gfns))

    def _restore(self, vm: VmAccount, gfns: list[int]) -> None:
        vm.pages.restore(gfns)
        self._frames.leave(vm.index, -len(gfns))

    def _write_back(self, vm: VmAccount, now_ns: int, dirty: list[int]) -> None:
        if vm.source is not None:
            vm.source.written(dirty)
        soonest = now_ns + self._outbox.lookahead_ns
        size = self._writeback_pages
        if self._areas is not None:
            for done, gfns, area in self._areas.write(vm.index, dirty, now_ns, size):
                self._outbox.put(now_ns, PageDropped(done, vm.name, 0, gfns, area))
            self._tell_moved(now_ns, self._areas)
            return
        for start in range(0, len(dirty), size):
            cluster = dirty[start : start + size]
            done = max(soonest, self._device.write(now_ns, len(cluster)))
            self._outbox.put(now_ns, PageDropped(done, vm.name, 0, cluster))

    def _tell_moved(self, now_ns: int, areas: Areas) -> None:
        """Where pages lie that zswap wrote out, an event for as many as can be told together."""
        together: dict[tuple[int, int, int], list[int]] = {}
        for moved in areas.moved:
            together.setdefault((moved.at_ns, moved.vm, moved.area), []).append(moved.gfn)
        areas.moved = []
        for (at_ns, vm, area), gfns in together.items():
            self._outbox.put(now_ns, PagesMoved(at_ns, self._accounts[vm].name, 0, gfns, area))
