"""The memory manager of one simulated host: what Linux mm does in L0 once a vcpu thread has asked.

Purely reactive: every input may cause deliveries, each at a time that is known at once, because
the swap device serves in order of submission. So the host has no timers of its own (design,
"Effects").

A page-in takes a frame within the VM's limit, waiting for one in order of request while reclaim
runs; then the device reads the page (the worker of semantics 3.6: its end is `PageReady`). From 5.8
on the vcpu thread waits before it asks, and `FrameAwaited` has a batch reclaimed for it. A
synchronous medium serves out of the VM's stock in the shard (semantics 3.3) and comes here only
when the stock is empty. First touches come out of the stock too; it is refilled at half.

A VM may have a source besides swap (`source.py`), from which pages are asked for likewise. Of its
own accord the host does one thing: it pushes pages of such a VM (`go_on`).

Withdrawn tokens (`ApfCleared`) change nothing here: the I/O goes on, and the shard decides what
its `PageReady` still means (semantics 3.11).
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mypy_extensions import mypyc_attr

from pagewake.errors import ConfigError
from pagewake.events.ids import Gfn
from pagewake.events.types import (
    ApfCleared,
    Control,
    FrameAwaited,
    FramesGranted,
    MediumChanged,
    PageNotPresent,
    PageReady,
    PageRequested,
    PagesAged,
    PagesEvicted,
    PagesPushed,
    PageTouched,
    ToHost,
    ToShard,
)
from pagewake.host_memory.account import VmAccount
from pagewake.host_memory.areas import Areas
from pagewake.host_memory.config import HostConfig, VmMemory
from pagewake.host_memory.counts import Counts, MemorySummary, PageIns
from pagewake.host_memory.frames import Frames, host_marks
from pagewake.host_memory.media import Medium
from pagewake.host_memory.outbox import Outbox
from pagewake.host_memory.pressure import Pressure
from pagewake.host_memory.reclaim import Reclaim
from pagewake.host_memory.source import Source
from pagewake.host_memory.swap import Device
from pagewake.simtime.ports import UNKNOWN, Calm
from pagewake.simtime.state import Saved


@mypyc_attr(allow_interpreted_subclasses=True)
class HostMemory(Saved):
    """Memory of one simulated host; implements `pagewake.simtime.ports.HostDomain`.

    Raises ConfigError for a configuration that cannot be started.
    """

    def __init__(self, config: HostConfig, vms: Sequence[VmMemory]) -> None:
        config.check()
        for vm in vms:
            vm.check()
        memories = sorted(vms, key=lambda memory: memory.vm)
        self.config = config
        self.lookahead_ns = config.lookahead_ns
        self._limited = config.memory_pages is not None
        self._frames = Frames(
            [memory.limit_pages for memory in memories],
            config.memory_pages,
            [memory.min_pages for memory in memories],
            [memory.low_pages for memory in memories],
        )
        swapped = [int((~memory.resident).sum()) for memory in memories if memory.source is None]
        self._frames.store(sum(swapped))
        self._keep_stored(config.medium)
        self._areas: Areas | None = None
        if config.swap is not None:
            self._areas = Areas(config, config.swap, memories, self._frames)
        self._accounts = [
            VmAccount(memory, index, config.replacement, config.seed)
            for index, memory in enumerate(memories)
        ]
        self._fed = [account for account in self._accounts if account.source is not None]
        self._by_name = {account.name: account for account in self._accounts}
        self._charge_at_start()
        self._device = Device(config.medium, config.seed, config.name, config.workers)
        self._outbox = Outbox(self.lookahead_ns)
        marks = host_marks(self._frames.memory_pages, memories) if self._limited else None
        self._pressure: Pressure | None = None
        if marks is not None and config.direct_reclaim:
            self._pressure = Pressure(marks, self._frames, self._accounts, self._outbox)
        self._reclaim = Reclaim(
            self._frames,
            self._accounts,
            self._device,
            self._outbox,
            config.reclaim_lag_ns,
            config.writeback_pages,
            marks,
            self._areas,
        )
        self._blocked: deque[VmAccount] = deque()
        self._changes: list[MediumChanged] = []
        self._now_ns = 0
        self._counts = Counts()
        for control in config.controls:
            self.intervene(control)

    def handle(self, events: Sequence[ToHost]) -> None:
        """Take in one window's events of all shards, sorted by (at_ns, vm, n)."""
        handlers, accounts = HANDLERS, self._by_name
        for event in events:
            now_ns = event.at_ns
            assert now_ns >= self._now_ns, "events are handed over out of order"
            if self._fed:
                self._push(now_ns)
            self._now_ns = now_ns
            if self._changes and self._changes[0].at_ns <= now_ns:
                self._change_medium(now_ns)
            vm = accounts[event.vm]
            if isinstance(event, PageNotPresent):  # most
                self.not_present(vm, event)
            else:
                handlers[type(event)](self, vm, event)

    def take(self, from_ns: int, until_ns: int) -> list[ToShard]:
        """Hand out, once, what takes effect before `until_ns`: (at_ns, vm, insertion)."""
        return self._outbox.take(from_ns, until_ns)

    def go_on(self, from_ns: int) -> int | None:
        """Begin the pushes whose turn is before `from_ns`; when the next has its turn, if any."""
        if not self._fed:
            return None
        self._push(from_ns)
        return min((ns for vm in self._fed if (ns := _push_ns(vm)) is not None), default=None)

    def next_ns(self) -> int | None:
        """When the next delivery or intervention takes effect."""
        return self._outbox.next_ns()

    def calm(self) -> Calm:
        """How many page-ins can begin before frames are short, and when the first can be done.

        Nothing if that says no more than the lookahead.
        """
        medium = self._device.medium
        if self._changes or medium.synchronous or self._fed or self._areas is not None:
            return UNKNOWN
        soonest_ns = self._device.soonest_ns()
        reads_ns = max(medium.read_min_ns, soonest_ns - self._now_ns)
        if reads_ns <= self.lookahead_ns:
            return UNKNOWN
        spare = self._reclaim.spare()
        if self._pressure is not None:
            spare = min(spare, self._pressure.spare())
        reads = spare // self.config.window_pages
        if reads < 1:
            return UNKNOWN
        return Calm(reads, medium.read_min_ns, soonest_ns)

    def intervene(self, control: Control) -> None:
        """Schedule an intervention; it must not lie in a span that was handed out already.

        A medium that could answer sooner than this host's lookahead answers no sooner than that.
        Raises ConfigError for a medium or a VM that is not known.
        """
        if isinstance(control, MediumChanged):
            self.config.medium_named(control.medium)
            insort(self._changes, control, key=lambda change: change.at_ns)
        elif control.vm not in self._by_name:
            raise ConfigError(f"{self.config.name}: no VM is called {control.vm!r}")
        self._outbox.schedule(control, list(self._by_name))

    def summary(self) -> MemorySummary:
        """Accounting that is not events."""
        return MemorySummary(
            medium=self._device.medium.name,
            evictions=self._reclaim.evictions,
            resident={
                vm.name: vm.pages.count + self._frames.leaving[vm.index] for vm in self._accounts
            },
            stored=self._frames.stored,
            pool=self._frames.pool,
        )

    def page_ins(self, now_ns: int) -> PageIns:
        """The page-ins that the shards know of at `now_ns`, as in `run --json`."""
        return self._counts.page_ins(self._outbox.reads_under_way(now_ns))

    def swap_queue(self, now_ns: int) -> int:
        """Requests that the device has not completed."""
        if self._areas is not None:
            return self._areas.queue(now_ns)
        return self._device.queue(now_ns)

    # ------------------------------------------------------------------------------ what comes in

    def not_present(self, vm: VmAccount, event: PageNotPresent) -> None:
        if not event.user:
            self.requested(vm, event)

    def requested(self, vm: VmAccount, event: PageNotPresent | PageRequested) -> None:
        """A page is wanted: by a fault, or by the task in user space that brings it."""
        if event.joined:
            return
        if event.served:
            self._serve_from_stock(vm, event)
        elif vm.waiting or not self._start(vm, event, event.at_ns):
            vm.waiting.append(event)
            vm.wanted += frames_of(event)
            self._reclaim.short_of += frames_of(event)
        self._settle(vm, event.at_ns)

    def touched(self, vm: VmAccount, event: PageTouched) -> None:
        for gfn in event.gfns:
            vm.pages.admit(gfn)
        self._use_stock(vm, len(event.gfns))
        self._settle(vm, event.at_ns)

    def aged(self, vm: VmAccount, event: PagesAged) -> None:
        self._reclaim.aged(vm, event)
        self._settle(vm, event.at_ns)

    def evicted(self, vm: VmAccount, event: PagesEvicted) -> None:
        self._reclaim.evicted(vm, event)
        if event.dropped:
            self._frames_came_free(event.at_ns)
        self._settle(vm, event.at_ns)

    def frame_awaited(self, vm: VmAccount, event: FrameAwaited) -> None:
        if not event.host:
            self._reclaim.directly(vm, event.at_ns)
        elif self._pressure is not None and self._pressure.awaits(vm):
            self._reclaim.for_host(event.at_ns)
        self._settle(vm, event.at_ns)

    def cleared(self, vm: VmAccount, event: ApfCleared) -> None:
        """Nothing to do: the I/O of withdrawn tokens goes on."""

    # ------------------------------------------------------------------------------------ page-ins

    def _start(self, vm: VmAccount, request: PageNotPresent | PageRequested, now_ns: int) -> bool:
        """Begin a page-in, if there is a frame for it."""
        gfn = request.gfn
        if request.ahead:
            return self._start_window(vm, request, now_ns)
        source = vm.source
        if source is not None and source.brings(gfn, request.at_ns):
            return True
        if vm.pages.place[gfn]:
            self._answer_known(vm, request, now_ns)
            return True
        if not self._frames.free(vm.index):
            return False
        self._frames.charge(vm.index, 1)
        vm.pages.admit(gfn)
        ready_ns = now_ns + self.lookahead_ns
        read_ns = None
        area = 0
        if not (isinstance(request, PageNotPresent) and request.first_touch):
            if source is not None and source.has(gfn):
                ready_ns = self._fetch(vm, source, now_ns, request)
            elif self._areas is None:
                self._frames.store(-1)
                ready_ns = self._read(now_ns, request.token is not None)
            else:
                ready_ns, area = self._areas.read(vm.index, gfn, now_ns)
            read_ns = ready_ns - request.at_ns
            self._counts.note_page_in(read_ns)
        vm.note_in_flight(now_ns, gfn, ready_ns)
        self._answer(request, now_ns, ready_ns, read_ns, area=area)
        return True

    def _start_window(
        self, vm: VmAccount, request: PageNotPresent | PageRequested, now_ns: int
    ) -> bool:
        """Begin the reads of a page and its neighbours, if there are frames for all of them.

        A request for each list of neighbours; its pages are in memory together.
        """
        if self._frames.free(vm.index) < frames_of(request):
            return False
        plugged_ns = 0
        if isinstance(request, PageRequested):
            plugged_ns = max(0, request.at_ns + request.plugged_ns - now_ns)
        for gfns in request.ahead:
            absent = [gfn for gfn in gfns if not vm.pages.place[gfn]]
            ready_ns = now_ns + self.lookahead_ns
            if absent:
                self._frames.charge(vm.index, len(absent))
                self._frames.store(-len(absent))
                ready_ns = self._read(now_ns, request.token is not None, len(absent), plugged_ns)
            for gfn in gfns:
                read_ns = None
                if not vm.pages.place[gfn]:
                    vm.pages.admit(gfn)
                    vm.note_in_flight(now_ns, gfn, ready_ns)
                    read_ns = ready_ns - request.at_ns
                    self._counts.note_page_in(read_ns)
                self._answer(request, now_ns, max(ready_ns, vm.in_flight.get(gfn, 0)), read_ns, gfn)
        return True

    def _read(self, now_ns: int, by_worker: bool, pages: int = 1, plugged_ns: int = 0) -> int:
        """Have the device read pages that lie side by side; when they are in memory."""
        if self._device.medium.synchronous:
            return self._device.read(now_ns + self.lookahead_ns, pages=pages)
        ready_ns = self._device.read(now_ns, by_worker, pages, plugged_ns)
        return max(ready_ns, now_ns + self.lookahead_ns)

    def _fetch(
        self,
        vm: VmAccount,
        source: Source,
        now_ns: int,
        request: PageNotPresent | PageRequested,
    ) -> int:
        """Have the source send a page, of a file what surrounds it too; when it is in memory."""
        gfn = request.gfn
        if source.copies:
            return source.fetch(now_ns, gfn, request.token is not None)
        others = source.around(gfn, self._frames.free(vm.index))
        ready_ns = source.fetch_around(now_ns, gfn, others)
        if others:
            self._comes(vm, source, now_ns, others, ready_ns)
        return ready_ns

    def _comes(
        self, vm: VmAccount, source: Source, now_ns: int, gfns: list[int], ready_ns: int
    ) -> None:
        """Pages that nobody asked for have frames, and are on their way."""
        source.note_pushed(vm.waiting[0].at_ns if vm.waiting else now_ns, gfns, ready_ns)
        self._frames.charge(vm.index, len(gfns))
        for gfn in gfns:
            vm.pages.admit(gfn)
            vm.note_in_flight(now_ns, gfn, ready_ns)
        self._outbox.put(now_ns, PagesPushed(ready_ns, vm.name, 0, gfns))

    def _push(self, before_ns: int) -> None:
        """Begin the pushes whose turn is before this instant, in order of time."""
        while True:
            turns = [(ns, vm.index) for vm in self._fed if (ns := _push_ns(vm)) is not None]
            now_ns, index = min(turns, default=(before_ns, 0))
            if now_ns >= before_ns:
                return
            self._now_ns = now_ns
            self._push_next(self._accounts[index], now_ns)

    def _push_next(self, vm: VmAccount, now_ns: int) -> None:
        """A batch of frames is left to what is asked for; with fewer, who pushes has to reclaim."""
        source = vm.source
        assert source is not None
        gfn = source.next_push()
        if gfn is None:
            return
        if vm.waiting or vm.owed or self._frames.free(vm.index) <= vm.marks.batch:
            source.blocked = True
            if not self._frames.leaving[vm.index]:
                self._reclaim.directly(vm, now_ns)
            return
        self._comes(vm, source, now_ns, [gfn], source.push(now_ns, gfn))
        self._reclaim.balance(vm, now_ns)

    def _answer_known(
        self, vm: VmAccount, request: PageNotPresent | PageRequested, now_ns: int
    ) -> None:
        """The page has a frame: it is being read, or is in memory after all. No second read."""
        ready_ns = vm.in_flight.get(request.gfn, 0)
        self._answer(request, now_ns, max(ready_ns, now_ns + self.lookahead_ns))

    def _answer(
        self,
        request: PageNotPresent | PageRequested,
        now_ns: int,
        ready_ns: int,
        read_ns: int | None = None,
        beside: int | None = None,
        area: int = 0,
    ) -> None:
        """`read_ns`: how long the read takes that this request caused; None if it caused none.

        `beside`: the page, where several are read with one request.  `area`: of its read.
        """
        gfn = request.gfn if beside is None else Gfn(beside)
        ahead = beside is not None and (gfn != request.gfn or isinstance(request, PageRequested))
        ready = PageReady(
            ready_ns,
            request.vm,
            0,
            request.vcpu,
            gfn,
            request.epoch,
            None if ahead else request.token,
            read_ns is not None,
            ahead,
            area,
        )
        self._outbox.put(now_ns, ready, read_ns)

    def _serve_from_stock(self, vm: VmAccount, event: PageNotPresent | PageRequested) -> None:
        """The shard's synchronous page-in: a frame of the stock is this page's now."""
        gfn = event.gfn
        self._use_stock(vm, 1)
        if self._areas is not None:
            assert isinstance(event, PageNotPresent), "user space brings pages beside swap areas"
            vm.pages.admit(gfn)
            self._counts.note_page_in(self._areas.served(vm.index, gfn, event.area))
            return
        self._counts.note_page_in(self._device.medium.cost_ns)
        if vm.pages.place[gfn]:
            self._frames.uncharge(vm.index, 1)
        else:
            vm.pages.admit(gfn)
            self._frames.store(-1)

    # ------------------------------------------------------------------------------ giving frames

    def _use_stock(self, vm: VmAccount, frames: int) -> None:
        assert frames <= vm.stock, f"{vm.name} used more frames than it was granted"
        vm.stock -= frames
        self._owe(vm)

    def _owe(self, vm: VmAccount) -> None:
        """A stock at half or below is owed a refill."""
        before = vm.owed
        vm.owed = vm.stock_target - vm.stock if 2 * vm.stock <= vm.stock_target else 0
        self._reclaim.short_of += vm.owed - before

    def _settle(self, vm: VmAccount, now_ns: int) -> None:
        """Give the VM what is free, then see to it that enough will be."""
        if vm.waiting or vm.owed:
            self._serve(vm, now_ns)
        self._reclaim.balance(vm, now_ns)
        if vm.source is not None and not self._frames.leaving[vm.index]:
            vm.source.resume(now_ns)
        if self._pressure is not None:
            self._pressure.tell(now_ns)

    def _serve(self, vm: VmAccount, now_ns: int) -> None:
        """Waiters in order of request, then the stock, as far as frames go."""
        waiting = vm.waiting
        while waiting and self._start(vm, waiting[0], now_ns):
            frames = frames_of(waiting.pop(0))
            vm.wanted -= frames
            self._reclaim.short_of -= frames
        if vm.owed and not waiting:
            self._refill(vm, now_ns)
        if self._limited and not vm.queued and self._host_is_short_for(vm):
            vm.queued = True
            self._blocked.append(vm)

    def _refill(self, vm: VmAccount, now_ns: int) -> None:
        """Grant what is owed, or at least half of it: small grants would cost an event each."""
        frames = min(vm.owed, self._frames.free(vm.index))
        if 2 * frames < vm.owed:
            return
        self._frames.charge(vm.index, frames)
        vm.stock += frames
        self._owe(vm)
        self._outbox.put(now_ns, FramesGranted(now_ns + self.lookahead_ns, vm.name, 0, frames))

    def _host_is_short_for(self, vm: VmAccount) -> bool:
        """The VM waits for frames that its own limit would let it have."""
        return vm.short_of() > 0 and self._frames.under_limit(vm.index) > 0

    def _frames_came_free(self, now_ns: int) -> None:
        if self._blocked:
            self._serve_blocked(now_ns)
        for vm in self._fed:
            assert vm.source is not None
            vm.source.resume(now_ns)

    def _serve_blocked(self, now_ns: int) -> None:
        """Frames of the host came free: the VM that waits longest has them first."""
        while self._blocked and self._frames.left() > 0:
            vm = self._blocked[0]
            self._serve(vm, now_ns)
            if self._host_is_short_for(vm):
                return
            self._blocked.popleft()
            vm.queued = False

    # --------------------------------------------------------------------------------------- setup

    def _change_medium(self, now_ns: int) -> None:
        while self._changes and self._changes[0].at_ns <= now_ns:
            change = self._changes.pop(0)
            medium = self.config.medium_named(change.medium)
            self._device.change(change.at_ns, medium)
            self._keep_stored(medium)

    def _keep_stored(self, medium: Medium) -> None:
        """Pages in swap take memory of the host if the medium is memory; all of them move to it."""
        if self._limited:
            self._frames.keep_stored(medium.ratio_milli)

    def _charge_at_start(self) -> None:
        """Charge every VM for what it has in memory at time 0."""
        name, accounts = self.config.name, self._accounts
        if len(self._by_name) != len(accounts):
            raise ConfigError(f"{name}: two VMs have the same name")
        stocks = sum(vm.stock for vm in accounts)
        charged = stocks + sum(vm.pages.count for vm in accounts) + self._frames.pool
        memory = self._frames.memory_pages
        if charged > memory or stocks >= memory:
            raise ConfigError(
                f"{name}: at time 0 its VMs hold {charged} pages, {stocks} of them in stocks; the "
                f"host has {memory} (host.memory), which must hold them all and be more than the "
                f"stocks"
            )
        for vm in accounts:
            self._frames.charge(vm.index, vm.pages.count + vm.stock)


def frames_of(request: PageNotPresent | PageRequested) -> int:
    """How many frames a page-in takes, with what is read beside it."""
    return sum(map(len, request.ahead)) or 1


def _push_ns(vm: VmAccount) -> int | None:
    return None if vm.source is None else vm.source.push_ns()


HANDLERS: Final[Mapping[type[ToHost], Callable[[HostMemory, VmAccount, Any], None]]] = {
    PageRequested: HostMemory.requested,
    PageTouched: HostMemory.touched,
    PagesAged: HostMemory.aged,
    PagesEvicted: HostMemory.evicted,
    ApfCleared: HostMemory.cleared,
    FrameAwaited: HostMemory.frame_awaited,
}
