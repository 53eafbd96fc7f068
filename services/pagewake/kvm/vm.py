"""One VM as a deterministic machine: its order of events, its page table, what it tells the host.

A VM executes in the order (at_ns, rank, vcpu, insertion): control first, then what comes from the
host, then its own steps.  Everything it emits or consumes takes its next running number and enters
its digest (design, "Time").  What a vcpu thread decides at once is decided here and in
`run_loop.py`; what takes the device's time goes to the host.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import msgspec

from pagewake.errors import InternalError
from pagewake.events import types as ev
from pagewake.events.digest import BLOCK_EVENTS, RunningDigest
from pagewake.kvm import interventions
from pagewake.kvm.config import VmConfig
from pagewake.kvm.page_table import ABSENT, IN_FLIGHT, MAPPED, PRESENT, PageTable
from pagewake.kvm.ports import GuestPort
from pagewake.kvm.run_loop import OPS, VcpuThread

RANK_CONTROL, RANK_HOST, RANK_OWN = range(3)
OP_DELIVER = -1


class InFlight:
    """A gfn the host is reading: who waits, in order; `fresh` if there is nothing to read."""

    __slots__ = ("first", "fresh", "waiters")

    def __init__(self, fresh: bool, first: tuple[int, int | None] | None) -> None:
        self.fresh = fresh
        self.first = first
        self.waiters: list[tuple[int, int | None]] = []


class Vm:
    """See the module; `guest` objects are attached by the guest kernel before the first step."""

    guest: GuestPort
    __slots__ = (
        "config",
        "consumed",
        "costs",
        "digest",
        "epoch",
        "frozen_ns",
        "guest",
        "gup_failures",
        "heap",
        "host_alloc_failures",
        "in_flight",
        "joining",
        "journal_out",
        "medium_cost_ns",
        "n",
        "name",
        "pages",
        "seq",
        "stock",
        "switches",
        "synchronous",
        "to_host",
        "touched",
        "until",
        "vcpus",
    )

    def __init__(self, config: VmConfig) -> None:
        self.config = config
        self.name = config.name
        self.costs = config.costs
        self.switches = config.switches
        self.pages = PageTable(config.pages)
        self.n = 1
        self.seq = 0
        self.epoch = 0
        self.stock = config.stock_pages
        self.synchronous = config.medium in config.media
        self.medium_cost_ns = config.media.get(config.medium, 0)
        self.gup_failures = 0
        self.host_alloc_failures = 0
        self.joining = 0
        self.touched: list[int] = []
        self.in_flight: dict[int, InFlight] = {}
        self.heap: list[tuple[int, int, int, int, int, int, Any]] = []
        self.digest = RunningDigest()
        self.to_host: list[ev.ToHost] = []
        self.journal_out: list[ev.Journal] = []
        self.consumed: list[ev.ToShard] = []
        self.frozen_ns: int | None = None
        self.until = 0
        self.vcpus = [VcpuThread(self, index) for index in range(config.vcpus)]

    # ------------------------------------------------------------------ order and output

    def take_n(self) -> int:
        """The VM's next running number."""
        n = self.n
        self.n = n + 1
        return n

    def report(self, event: ev.ToHost) -> None:
        """Tell the host; a frozen VM still answers, but unnumbered: it no longer counts."""
        if self.frozen_ns is not None:
            event = msgspec.structs.replace(event, n=0)
        else:
            self.digest.add(event)
        self.to_host.append(event)

    def journal(self, event: ev.Journal) -> None:
        """Write down what happened."""
        if self.frozen_ns is None:
            self.journal_out.append(event)
            digest = self.digest
            digest.pending.append(event)
            if len(digest.pending) >= BLOCK_EVENTS:
                digest.fold()

    def push(self, at_ns: int, vcpu: int, gen: int, op: int, arg: object = None) -> None:
        """An own step of the VM at `at_ns`."""
        self.seq += 1
        heappush(self.heap, (at_ns, RANK_OWN, vcpu, self.seq, gen, op, arg))

    def deliver(self, event: ev.ToShard) -> None:
        """Something from the host or a control event, in the order in which the host sent it."""
        self.seq += 1
        rank = RANK_CONTROL if isinstance(event, ev.Control) else RANK_HOST
        vcpu = getattr(event, "vcpu", -1)
        heappush(self.heap, (event.at_ns, rank, vcpu, self.seq, 0, OP_DELIVER, event))

    def run(self, until_ns: int) -> None:
        """Execute everything before `until_ns`.

        A vcpu's next step is executed at once when nothing else of this VM can come before it;
        the order is the same as through the heap.
        """
        self.until = until_ns
        heap = self.heap
        vcpus = self.vcpus
        while heap and heap[0][0] < until_ns:
            at_ns, _, index, _, gen, op, arg = heappop(heap)
            if op == OP_DELIVER:
                self._consume(arg)
                continue
            if self.frozen_ns is not None:
                continue
            vcpu = vcpus[index]
            if gen >= 0 and gen != vcpu.gen:
                continue
            step = OPS[op](vcpu, at_ns, arg)
            while step is not None:
                at_ns, op = step
                if at_ns >= self.until or (heap and heap[0][0] <= at_ns):
                    self.seq += 1
                    heappush(heap, (at_ns, RANK_OWN, index, self.seq, vcpu.gen, op, None))
                    break
                step = OPS[op](vcpu, at_ns, None)

    # ------------------------------------------------------------------ what comes from the host

    def _consume(self, event: ev.ToShard) -> None:
        if self.frozen_ns is None:
            numbered = msgspec.structs.replace(event, n=self.take_n())
            self.consumed.append(numbered)
            self.digest.add(numbered)
        elif isinstance(event, ev.Control):
            return
        CONSUMERS.get(type(event), interventions.apply)(self, event)

    def take_page_ready(self, event: ev.PageReady) -> None:
        flight = self.in_flight.pop(event.gfn, None)
        if flight is None:
            raise InternalError(f"vm {self.name}: PageReady for gfn {event.gfn} not in flight")
        table = self.pages
        table.arrive(event.gfn)
        if flight.fresh:
            table.dirty[event.gfn] = 1
        if self.frozen_ns is not None:
            return
        for _ in flight.waiters:
            table.hold(event.gfn)
        hop = self.costs.worker_hop_ns
        for vcpu, token in flight.waiters:
            if (vcpu, token) != flight.first:
                arg = (event.gfn, token, self.epoch)
                self.joining += 1
                self.push(event.at_ns + hop, vcpu, -1, OP_JOINED, arg)
            else:
                self.vcpus[vcpu].page_in_done(event.at_ns, event.gfn, token)

    def take_frames_granted(self, event: ev.FramesGranted) -> None:
        self.stock += event.frames

    def _sync(self, at_ns: int) -> None:
        if self.frozen_ns is None:
            for vcpu in self.vcpus:
                vcpu.sync(at_ns)

    def take_age_pages(self, event: ev.AgePages) -> None:
        self._sync(event.at_ns)
        accessed, dirty = self.pages.harvest(event.gfns)
        self.report(ev.PagesAged(event.at_ns, self.name, self.take_n(), accessed, dirty))

    def take_page_unmapped(self, event: ev.PageUnmapped) -> None:
        self._sync(event.at_ns)
        dropped, dirty, refused = self.pages.unmap(event.gfns)
        self.report(ev.PagesEvicted(event.at_ns, self.name, self.take_n(), dropped, dirty, refused))
        if self.frozen_ns is None and (dropped or dirty):
            self.guest.unmapped(dropped + dirty)
            for vcpu in self.vcpus:
                vcpu.replan(event.at_ns)

    def take_page_dropped(self, event: ev.PageDropped) -> None:
        dropped, refused = self.pages.drop(event.gfns)
        self.report(ev.PagesEvicted(event.at_ns, self.name, self.take_n(), dropped, [], refused))

    # ------------------------------------------------------------------ pages, for the vcpu threads

    def map_page(self, gfn: int) -> None:
        """Enter a present page into the page table."""
        self.pages.map_page(gfn)
        self.guest.mapped(gfn)

    def first_touch(self, at_ns: int, gfn: int) -> bool:
        """Serve a first touch from the stock; False if the stock is empty."""
        if not self.stock:
            return False
        self.pages.map_first_touch(gfn)
        self.guest.mapped(gfn)
        self.touched.append(gfn)
        self.use_stock(at_ns)
        return True

    def use_stock(self, at_ns: int) -> None:
        """Take one frame; report the batch of first touches at half the stock and at its end."""
        self.stock -= 1
        target = self.config.stock_pages
        due = self.stock * 2 == target or self.stock == 0 or len(self.touched) * 2 >= target
        if due and self.touched:
            batch, self.touched = self.touched, []
            self.report(ev.PageTouched(at_ns, self.name, self.take_n(), batch))

    def wait_for(self, gfn: int, vcpu: int, token: int | None, fresh: bool) -> bool:
        """Queue behind a page; True if it was in flight already."""
        flight = self.in_flight.get(gfn)
        joined = flight is not None
        if flight is None:
            flight = self.in_flight[gfn] = InFlight(fresh, (vcpu, token))
            self.pages.state[gfn] = IN_FLIGHT
        flight.waiters.append((vcpu, token))
        return joined

    def is_present(self, gfn: int) -> bool:
        """In host memory: in the page table or not."""
        return int(self.pages.state[gfn]) in (PRESENT, MAPPED)

    def is_absent(self, gfn: int) -> bool:
        """In swap only."""
        return int(self.pages.state[gfn]) == ABSENT

    def freeze(self, at_ns: int) -> None:
        """The last task finished: nothing of this VM counts any more."""
        self.frozen_ns = at_ns
        self.until = at_ns
        for vcpu in self.vcpus:
            vcpu.freeze(at_ns)


def _joined(vcpu: VcpuThread, at_ns: int, arg: tuple[int, int | None, int]) -> None:
    gfn, token, epoch = arg
    vcpu.vm.joining -= 1
    if token is not None and epoch != vcpu.vm.epoch:
        vcpu.vm.pages.release(gfn)
    else:
        vcpu.page_in_done(at_ns, gfn, token)


OP_JOINED = len(OPS)
OPS.append(_joined)

CONSUMERS: dict[type[ev.ToShard], Any] = {
    ev.PageReady: Vm.take_page_ready,
    ev.FramesGranted: Vm.take_frames_granted,
    ev.AgePages: Vm.take_age_pages,
    ev.PageUnmapped: Vm.take_page_unmapped,
    ev.PageDropped: Vm.take_page_dropped,
}
