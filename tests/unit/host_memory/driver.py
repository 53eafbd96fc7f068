"""A small stand-in for a shard, and a window loop, to drive a `HostMemory` by itself.

The stand-in keeps one VM's pages the plain way, in dicts, and answers the host as a shard does:
deliveries before touches at the same instant, each answer at the instant of its question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter

import numpy as np

from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    AgePages,
    Control,
    FramesGranted,
    PageDropped,
    PageNotPresent,
    PageReady,
    PagesAged,
    PagesEvicted,
    PageTouched,
    PageUnmapped,
    ToHost,
    ToShard,
)
from pagewake.host_memory.config import HostConfig, VmMemory
from pagewake.host_memory.manager import HostMemory
from pagewake.host_memory.media import Medium, uniform_medium

US = 1_000
FIXED = uniform_medium(100 * US, 0, 1)

Touch = tuple[int, int, bool]


def memory(
    vm: str = "vm-0",
    *,
    pages: int = 64,
    limit: int = 32,
    populated: int = 0,
    resident: int = 0,
    stock: int = 0,
    direct: bool = False,
) -> VmMemory:
    """A VM whose first `resident` of `populated` pages are in memory."""
    inside = np.arange(populated) < resident
    return VmMemory(vm, pages, limit, np.arange(populated), inside, stock, direct=direct)


def host_with(
    *memories: VmMemory,
    medium: Medium = FIXED,
    lag: int = 50 * US,
    total: int | None = None,
    workers: int = 0,
    writeback: int = 32,
    controls: Sequence[Control] = (),
) -> HostMemory:
    """A host with these VMs; by default one whose every request takes exactly 100 us."""
    config = HostConfig(
        name="host-0",
        index=0,
        seed=1,
        medium=medium,
        reclaim_lag_ns=lag,
        memory_pages=total,
        writeback_pages=writeback,
        workers=workers,
        controls=controls,
    )
    return HostMemory(config, memories)


def request(
    at: int,
    gfn: int,
    *,
    vm: str = "vm-0",
    joined: bool = False,
    served: bool = False,
    first_touch: bool = False,
) -> PageNotPresent:
    """A fault of vcpu 0 with the gfn for a token."""
    return PageNotPresent(
        at,
        vm,
        1,
        0,
        Gfn(gfn),
        "read",
        3,
        1,
        1,
        "injected",
        Token(gfn),
        None,
        joined,
        served,
        first_touch,
    )


def drain(host: HostMemory) -> list[ToShard]:
    """All deliveries there are, without time moving on: they are handed out to nobody."""
    pending = host._outbox._pending
    events = [event for _, _, _, event, _ in sorted(pending, key=itemgetter(0, 1, 2))]
    pending.clear()
    return events


class FakeShard:
    """One VM: `state` of a gfn is absent, flight, present or mapped; untouched gfns have none."""

    def __init__(self, memory: VmMemory, touches: Sequence[Touch], *, synchronous: bool) -> None:
        self.vm = memory.vm
        self.synchronous = synchronous
        self.touches = sorted(touches)
        self.state: dict[int, str] = {}
        self.accessed: dict[int, bool] = {}
        self.dirty: dict[int, bool] = {}
        for gfn, inside in zip(memory.populated.tolist(), memory.resident.tolist(), strict=True):
            self.state[gfn] = "mapped" if inside else "absent"
            self.dirty[gfn] = inside
        self.target = self.stock = memory.stock_pages
        self.unreported: list[int] = []
        self.asked: dict[int, int] = {}
        self.answers = 0
        self.requests = 0
        self.n = 0
        self.log: list[ToShard] = []
        self.out: list[ToHost] = []

    def next_ns(self) -> int | None:
        return self.touches[0][0] if self.touches else None

    def in_memory(self) -> int:
        return sum(s in {"flight", "present", "mapped"} for s in self.state.values())

    def advance(self, until: int, deliveries: Sequence[ToShard]) -> list[ToHost]:
        self.out = []
        pending = [d for d in deliveries if d.vm == self.vm]
        while True:
            next_touch = self.touches[0][0] if self.touches else until
            if pending and pending[0].at_ns <= next_touch:
                self.receive(pending.pop(0))
            elif next_touch < until:
                self.touch(*self.touches.pop(0))
            else:
                return self.out

    def emit(self, event: type[ToHost], at: int, *args: object, **fields: object) -> None:
        self.n += 1
        self.out.append(event(at, self.vm, self.n, *args, **fields))

    def touch(self, at: int, gfn: int, write: bool) -> None:
        state = self.state.get(gfn)
        if state in {"mapped", "present"}:
            self.map(gfn, dirty=write or self.dirty[gfn])
        elif state == "flight":
            self.fault(at, gfn, joined=True)
        elif state is None and self.stock:
            self.map(gfn, dirty=True)
            self.stock -= 1
            self.unreported.append(gfn)
            if 2 * self.stock <= self.target and (
                2 * self.stock + 2 > self.target or not self.stock
            ):
                self.emit(PageTouched, at, self.unreported)
                self.unreported = []
        elif state == "absent" and self.synchronous and self.stock:
            self.stock -= 1
            self.map(gfn, dirty=write)
            self.fault(at, gfn, served=True)
        else:
            self.state[gfn] = "flight"
            self.asked[gfn] = at
            self.requests += 1
            self.fault(at, gfn, first_touch=state is None)

    def fault(self, at: int, gfn: int, **fields: bool) -> None:
        self.emit(PageNotPresent, at, 0, gfn, "read", 3, 1, 1, "injected", gfn, **fields)

    def map(self, gfn: int, *, dirty: bool) -> None:
        self.state[gfn] = "mapped"
        self.accessed[gfn] = True
        self.dirty[gfn] = dirty

    def receive(self, event: ToShard) -> None:
        self.log.append(event)
        match event:
            case PageReady(gfn=gfn):
                assert self.state[gfn] == "flight"
                del self.asked[gfn]
                self.answers += 1
                self.map(gfn, dirty=not event.read)
            case FramesGranted(frames=frames):
                self.stock += frames
            case AgePages(gfns=gfns):
                accessed = [g for g in gfns if self.accessed.get(g)]
                dirty = [g for g in gfns if self.dirty.get(g)]
                self.accessed.update(dict.fromkeys(gfns, False))
                self.emit(PagesAged, event.at_ns, accessed, dirty)
            case PageUnmapped(gfns=gfns):
                self.unmap(event.at_ns, gfns)
            case PageDropped(gfns=gfns):
                dropped = [g for g in gfns if self.state[g] == "present"]
                refused = [g for g in gfns if self.state[g] != "present"]
                self.state.update(dict.fromkeys(dropped, "absent"))
                self.emit(PagesEvicted, event.at_ns, dropped=dropped, refused=refused)

    def unmap(self, at: int, gfns: Sequence[int]) -> None:
        refused = [g for g in gfns if self.state[g] not in {"mapped", "present"}]
        dirty = [g for g in gfns if g not in refused and self.dirty[g]]
        dropped = [g for g in gfns if g not in refused and not self.dirty[g]]
        self.state.update(dict.fromkeys(dropped, "absent"))
        self.state.update(dict.fromkeys(dirty, "present"))
        self.dirty.update(dict.fromkeys(dirty, False))
        self.emit(PagesEvicted, at, dropped, dirty, refused)


def run(
    host: HostMemory,
    shards: Sequence[FakeShard],
    *,
    cut: Callable[[int, int], int] = lambda _now, until: until,
    batches: int = 1,
    most_windows: int = 200_000,
) -> None:
    """Windows until nothing is left to happen; `cut(now, until)` may end one sooner."""
    now = 0
    for _ in range(most_windows):
        bounds = [s.next_ns() for s in shards] + [host.next_ns()]
        known = [b for b in bounds if b is not None]
        if not known:
            return
        now = cut(now, min(known) + host.lookahead_ns)
        deliveries = host.take(now, now)
        events = [event for shard in shards for event in shard.advance(now, deliveries)]
        events.sort(key=attrgetter("at_ns", "vm", "n"))
        size = max(1, -(-len(events) // batches))
        for start in range(0, len(events), size):
            host.handle(events[start : start + size])
    raise AssertionError("the run does not come to rest")
