"""State of one VM: its page table, its steps to come, what it has written down and told the host.

The rules work on it; `machine.py` executes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Concatenate, Final, ParamSpec, TypeAlias

import msgspec
from mypy_extensions import mypyc_attr

from pagewake.events import types as ev
from pagewake.events.digest import RunningDigest
from pagewake.events.ids import Gfn, Token
from pagewake.kvm.agenda import RANK_OWN, Agenda
from pagewake.kvm.areas import SwapAreas
from pagewake.kvm.config import HostCosts, VmConfig
from pagewake.kvm.host_cpus import HostCpus
from pagewake.kvm.huge_pages import HUGE, HugePages
from pagewake.kvm.page_table import IN_FLIGHT, PRESENT, PageTable
from pagewake.kvm.ports import GuestPort, Op
from pagewake.kvm.read_ahead import ReadAhead
from pagewake.kvm.thread import Unfinished, VcpuThread
from pagewake.kvm.userfault import Handler
from pagewake.simtime.state import Saved

Rest = ParamSpec("Rest")
Reclaiming: TypeAlias = ev.AgePages | ev.PageUnmapped | ev.PageDropped
"""A step of reclaim, as the memory manager asks for it."""
Ahead: TypeAlias = tuple[tuple[int, ...], ...]
"""What is read with a page, as in `PageNotPresent`."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Costs(Saved):
    """`HostCosts`, where every exit reads them."""

    __slots__ = (
        "entry_ns", "exit_ns", "fault_ns", "first_touch_ns", "huge_touch_ns", "read_page_ns",
        "read_request_ns", "reclaim_page_ns", "wake_ns", "worker_hop_ns", "worker_look_ns",
    )  # fmt: skip

    def __init__(self, costs: HostCosts) -> None:
        self.exit_ns = costs.exit_ns
        self.entry_ns = costs.entry_ns
        self.fault_ns = costs.fault_ns
        self.first_touch_ns = costs.first_touch_ns
        self.huge_touch_ns = costs.huge_touch_ns
        self.worker_hop_ns = costs.worker_hop_ns
        self.worker_look_ns = costs.worker_look_ns
        self.read_request_ns = costs.read_request_ns
        self.read_page_ns = costs.read_page_ns
        self.wake_ns = costs.wake_ns
        self.reclaim_page_ns = costs.reclaim_page_ns


NOBODY: Final[tuple[int, Token | None]] = (-1, None)
"""In the place of whoever waited first and was withdrawn."""


@mypyc_attr(allow_interpreted_subclasses=True)
class InFlight(Saved):
    """A gfn the host is reading: who waits, in order; `fresh` if there is nothing to read.

    `first`: whose worker began it, or looked for it first (None: none has yet); all others wait
    behind that one.
    """

    __slots__ = ("first", "fresh", "waiters")

    def __init__(self, fresh: bool, first: tuple[int, Token | None] | None) -> None:
        self.fresh = fresh
        self.first = first
        self.waiters: list[tuple[int, Token | None]] = []

    def withdraw(self, waiter: tuple[int, Token | None]) -> None:
        """Its work was cancelled; if it was the first, whoever is left joined: one hop later."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)
            if self.first == waiter:
                self.first = NOBODY


@mypyc_attr(allow_interpreted_subclasses=True)
class Vm(Saved, ABC):
    """See the module; `guest` objects are attached by the guest kernel before the first step.

    `room`: frames within its limit that the VM has not; below 0 it waits for some at the host.
    `short`: vcpu threads that wait for one here, in order.  `host_short`: as the host said last;
    `reclaiming`: vcpu threads that wait for a frame of it, in order; `found`: frames that such
    reclaim has found, and no fault has used yet.  `cpus` None: each thread has a CPU.
    """

    guest: GuestPort
    vcpus: list[VcpuThread]
    __slots__ = (
        "agenda",
        "areas",
        "config",
        "consumed",
        "costs",
        "cpus",
        "digest",
        "epoch",
        "found",
        "frozen_ns",
        "guest",
        "gup_failures",
        "handler",
        "host_alloc_failures",
        "host_short",
        "huge",
        "in_flight",
        "joining",
        "journal_out",
        "medium_cost_ns",
        "n",
        "name",
        "pages",
        "panicked",
        "read_ahead",
        "reclaiming",
        "room",
        "short",
        "silent",
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
        self.costs = Costs(config.costs)
        self.switches = config.switches
        self.cpus: HostCpus | None = None
        self.pages = PageTable(config.pages, config.page_source in ("postcopy", "uffd"))
        self.n = 1
        self.epoch = 0
        self.stock = config.stock_pages
        self.room = config.limit_pages - config.stock_pages
        self.short: list[Unfinished] = []
        self.host_short = False
        self.reclaiming: list[Unfinished] = []
        self.found = 0
        self.handler = None if config.userfault is None else Handler(self, config.userfault)
        self.synchronous = config.medium in config.media and self.handler is None
        self.medium_cost_ns = config.media.get(config.medium, 0)
        self.areas: SwapAreas | None = None
        if config.load_ns:
            self.areas = SwapAreas(config.pages, config.load_ns, config.zswap)
        self.read_ahead: ReadAhead | None = None
        if config.read_ahead is not None and self.handler is None:
            self.read_ahead = ReadAhead(config.read_ahead, config.page_cluster, config.pages)
        self.huge: HugePages | None = None
        if config.huge_floor is not None:
            self.huge = HugePages(self.pages)
        self.gup_failures = 0
        self.host_alloc_failures = 0
        self.joining = 0
        self.touched: list[int] = []
        self.silent: dict[str, int] = {}
        self.in_flight: dict[Gfn, InFlight] = {}
        self.agenda = Agenda()
        self.digest = RunningDigest()
        self.to_host: list[ev.ToHost] = []
        self.journal_out: list[ev.Journal] = []
        self.consumed: list[ev.ToShard] = []
        self.frozen_ns: int | None = None
        self.panicked = False
        self.until = 0

    # ------------------------------------------------------------------ order and output

    def report(self, event: ev.ToHost) -> None:
        """Tell the host; a frozen VM still answers, but unnumbered: it no longer counts."""
        if self.frozen_ns is None:
            assert event.n == self.n, f"{self.name}: {event} is not number {self.n}"
            self.n += 1
            self.digest.add(event)
        else:
            event = msgspec.structs.replace(event, n=0)
        self.to_host.append(event)

    def tell(
        self,
        event: Callable[Concatenate[int, str, int, Rest], ev.ToHost],
        at_ns: int,
        *args: Rest.args,
        **kwargs: Rest.kwargs,
    ) -> None:
        """Build such an event and report it; the VM's name and running number are filled in."""
        self.report(event(at_ns, self.name, self.n, *args, **kwargs))

    def journal(self, event: ev.Journal) -> None:
        """Write down what happened; the number it carries is taken by this alone."""
        if self.frozen_ns is None:
            n = self.n
            self.n = n + 1
            self.journal_out.append(event)
            digest = self.digest
            digest.pending.append(event)
            if len(digest.pending) >= digest.room:
                digest.fold()

    def rest(self) -> None:
        """Nothing more before the end of the window."""
        pending = self.digest.pending
        if pending:  # to look at the number of every event costs 1 % of a run
            assert pending[-1].n == self.n - 1, f"{self.name}: {pending[-1]} is not the last"
            self.digest.rest()

    def push(self, at_ns: int, vcpu: int, gen: int, op: Op, arg: object = None) -> None:
        """An own step of the VM at `at_ns`."""
        self.agenda.push(at_ns, RANK_OWN, vcpu, gen, op, arg)

    def never_ready(self, why: ev.SilentWhy | ev.ClearWhy | ev.LostWhy) -> None:
        """The guest was told of an absent page, or owed a broadcast, and gets no READY."""
        if self.frozen_ns is None:
            self.silent[why] = self.silent.get(why, 0) + 1

    def can_allocate(self) -> bool:
        """Of the host, atomically: for a work item, or a broadcast."""
        if self.host_alloc_failures == 0:
            return True
        if self.host_alloc_failures > 0:
            self.host_alloc_failures -= 1
        return False

    @abstractmethod
    def reclaim(self, at_ns: int, event: Reclaiming) -> None:
        """Do this step of reclaim, on the pages as they are now."""

    # ------------------------------------------------------------------ pages, for the vcpu threads

    def load_ns(self, gfn: Gfn) -> int:
        """CPU time of a page-in that its submission completes; 0: this one it does not."""
        if self.areas is not None:
            return self.areas.load_ns[self.areas.of(gfn)]
        at_once = self.synchronous and not self.pages.is_at_source(gfn)
        return self.medium_cost_ns if at_once else 0

    def map_page(self, gfn: Gfn) -> None:
        """Enter a present page into the page table."""
        self.pages.map_page(gfn)
        self.guest.mapped(gfn)

    def first_touch(self, at_ns: int, gfn: Gfn) -> bool:
        """Serve a first touch from the stock; False if the stock is empty."""
        if not self.stock:
            return False
        self.pages.map_first_touch(gfn)
        self.guest.mapped(gfn)
        self.touched.append(gfn)
        self.use_stock(at_ns)
        return True

    def huge_touch(self, at_ns: int, gfn: Gfn) -> bool:
        """Serve the first touch of a whole range from the stock; False if a single page has to do.

        The host hears of it at once: it is as much as many batches of single pages.
        """
        if self.huge is None or self.stock < HUGE + (self.config.huge_floor or 0):
            return False
        gfns = self.huge.untouched(gfn)
        if gfns is None:
            return False
        self.huge.map_range(gfns)
        for each in gfns:
            self.guest.mapped(Gfn(each))
        self.stock -= HUGE
        batch, self.touched = [*self.touched, *gfns], []
        self.tell(ev.PageTouched, at_ns, batch, huge=1)
        return True

    def use_stock(self, at_ns: int) -> None:
        """Take one frame; report the batch of first touches at half the stock and at its end."""
        self.stock -= 1
        target = self.config.stock_pages
        due = self.stock == target // 2 or self.stock == 0 or len(self.touched) * 2 >= target
        if due and self.touched:
            batch, self.touched = self.touched, []
            self.tell(ev.PageTouched, at_ns, batch)

    def wait_for(
        self,
        gfn: Gfn,
        vcpu: int,
        token: Token | None,
        fresh: bool,
        window: Sequence[int] = (),
    ) -> Ahead | None:
        """Queue behind a page: what is read with it, or None if it was in flight already."""
        flight = self.in_flight.get(gfn)
        ahead: Ahead | None = None
        if flight is None:
            ahead = ()
            if len(window) > 1 and self.read_ahead is not None:
                ahead = self.read_ahead.requests(window)
                for near in window:
                    if near != gfn:
                        self.read_unasked(Gfn(near))
            flight = self.in_flight[gfn] = InFlight(fresh, (vcpu, token))
            self.pages.state[gfn] = IN_FLIGHT
            self.room -= 1
        elif flight.first is None:
            flight.first = vcpu, token
        flight.waiters.append((vcpu, token))
        return ahead

    def window(self, gfn: Gfn) -> list[int]:
        """What a fault on this page is to read: it, and neighbours that are in swap.

        Nothing is said where pages are read alone.  Up to 5.7 they are read as far as there are
        frames: then the vcpu thread reclaims for all of them.
        """
        if self.read_ahead is None or self.synchronous or self.pages.is_at_source(gfn):
            return []
        gfns = self.read_ahead.read(gfn, self.pages.state, self.pages.source)
        if self.switches.reclaim == "fault":
            return gfns
        return self.with_frame(gfns, gfn)

    def polls_for_it(self) -> bool:
        """4.13 to 6.5: a window of one page is waited for in its submission."""
        return self.switches.swap_poll and self.read_ahead is not None and self.read_ahead.alone

    def with_frame(self, gfns: list[int], gfn: Gfn) -> list[int]:
        """Those of a window that there are frames for, in its order: the page itself before all."""
        without = len(gfns) - max(1, self.room)
        if without <= 0:
            return gfns
        late = [near for near in gfns if near != gfn][-without:]
        return [near for near in gfns if near not in late]

    def in_swap_cache(self, gfn: Gfn) -> bool:
        """The page was read from swap and is not mapped, or is being read."""
        flight = self.in_flight.get(gfn)
        return self.pages.state[gfn] == PRESENT if flight is None else not flight.fresh

    def read_unasked(self, gfn: Gfn) -> None:
        """This page is on its way as well, and nobody waits for it yet."""
        self.in_flight[gfn] = InFlight(False, None)
        self.pages.state[gfn] = IN_FLIGHT
        self.room -= 1

    def give_room(self, at_ns: int, frames: int) -> None:
        """Frames came free within the limit: as many as there are of those who wait try again."""
        self.room += frames
        if self.short and self.room > 0:
            ready, self.short = self.short[: self.room], self.short[self.room :]
            for waiting in ready:
                self.vcpus[waiting.vcpu].frame_found(at_ns, waiting)

    def host_is_short(self, at_ns: int, short: bool, frames: int) -> None:
        """The host says how it stands, and how many of those who reclaim there try again."""
        self.host_short = short
        ready, self.reclaiming = self.reclaiming[:frames], self.reclaiming[frames:]
        self.found = self.found + len(ready) if short else 0
        for waiting in ready:
            self.vcpus[waiting.vcpu].frame_found(at_ns, waiting)

    def must_reclaim(self) -> bool:
        """As the host is short: nobody's reclaim has found a frame that is still to be had."""
        if self.found:
            self.found -= 1
            return False
        return True

    def is_present(self, gfn: Gfn) -> bool:
        """In host memory: in the page table or not."""
        return self.pages.state[gfn] >= PRESENT

    def panic(self, at_ns: int, vcpu: int, why: ev.PanicWhy) -> None:
        """The guest's kernel panics: its tasks stop where they are."""
        self.journal(ev.GuestPanicked(at_ns, self.name, self.n, vcpu, why))
        self.panicked = True
        self.freeze(at_ns)

    def freeze(self, at_ns: int) -> None:
        """The VM is over: nothing of it counts any more."""
        self.frozen_ns = at_ns
        self.until = at_ns
        self.short = []
        self.reclaiming = []
        for vcpu in self.vcpus:
            vcpu.freeze(at_ns)
