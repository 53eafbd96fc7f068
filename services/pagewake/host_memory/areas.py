"""Several swap areas of one host, and zswap in front of them: where each page's copy lies.

Areas have a size and a priority.  Slots are taken from the area of the highest priority that has
any, and among areas of one priority in turn, a run of neighbours at a time (get_swap_pages() in
mm/swapfile.c; 18ab4d4ced08).  The last area is `host.medium`: ample, behind all others, so there is
a slot for every page.

A page has at most one slot.  It keeps it while the copy is valid, in memory too, and gives it up
when it is written out again, or once the host, which looks at dirty bits when it ages pages, has
seen that it was written to.  What is read from a synchronous area has none from then on, and is
dirty (0bcac06f27d7, since 4.15).

zswap (2b2811178e85) keeps the content of a page that leaves memory compressed in memory of the
host; the page has its slot all the same.  When the pool is full the oldest pages in it are written
to their slots, as many as it takes.  A load takes the page out of the pool and leaves it dirty
(b9c91c43412f, since 6.5; before, a copy stayed).  Some pages do not compress: they go to their
slots at once.

An area's number is its place in the file from 1 on, `host.medium` comes behind those, and zswap is
one more than that.  Shards are told these numbers, for a fault on a page of a synchronous area is
theirs to serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from mypy_extensions import mypyc_attr

from pagewake.host_memory.config import HostConfig, VmMemory
from pagewake.host_memory.frames import Frames, compressed
from pagewake.host_memory.places import IN_ZSWAP, SLOT_MASK, Swap, SwapArea, incompressible
from pagewake.host_memory.swap import Device
from pagewake.simtime.randomness import Draws
from pagewake.simtime.state import Saved

NO_SLOT: Final = 0
_GFN_BITS: Final = 40


class Written(NamedTuple):
    """Pages that went to one place together, and when the last of them is there."""

    done_ns: int
    gfns: list[int]
    area: int


class Moved(NamedTuple):
    """A page that zswap wrote to its slot; `at_ns`: shards know by then that it was there."""

    at_ns: int
    vm: int
    gfn: int
    area: int


@mypyc_attr(allow_interpreted_subclasses=True)
class Area(Saved):
    """One swap area: its slots in use, and pages out of memory whose only copy lies there."""

    __slots__ = ("device", "priority", "size_pages", "stored", "used")

    def __init__(self, area: SwapArea, device: Device) -> None:
        self.device = device
        self.priority = area.priority
        self.size_pages = area.size_pages
        self.used = 0
        self.stored = 0

    def free(self) -> int | None:
        """Slots that are left; None: any number."""
        return None if self.size_pages is None else self.size_pages - self.used


@mypyc_attr(allow_interpreted_subclasses=True)
class Areas(Saved):
    """The swap of one host that has more than one area, or zswap; see the module.

    VMs go by their place in name order.  `moved`: what zswap wrote out since it was last taken.
    """

    __slots__ = ("areas", "moved", "zswap_number", "_frames", "_incompressible", "_limited",
                 "_lookahead_ns", "_order", "_out", "_pool", "_pool_pages", "_slots",
                 "_zswap")  # fmt: skip

    def __init__(
        self, config: HostConfig, swap: Swap, vms: Sequence[VmMemory], frames: Frames
    ) -> None:
        self.areas = [
            Area(area, Device(area.medium, config.seed, f"{config.name}/swap-{number}", 0))
            for number, area in enumerate(swap.areas, 1)
        ]
        self.zswap_number = len(self.areas) + 1
        self.moved: list[Moved] = []
        self._frames = frames
        self._limited = config.memory_pages is not None
        self._zswap = swap.zswap
        self._pool_pages = 0
        if swap.zswap is not None:
            self._pool_pages = swap.zswap.pool_pages(frames.memory_pages)
        self._order = sorted(range(1, len(self.areas)), key=lambda at: -self._priority(at))
        self._order.append(len(self.areas))
        self._pool: dict[int, int] = {}
        self._lookahead_ns = config.lookahead_ns
        self._slots = [bytearray(vm.pages) for vm in vms]
        self._out = [bytearray(vm.pages) for vm in vms]
        share = 0.0 if swap.zswap is None else swap.zswap.incompressible
        self._incompressible = [incompressible(config.seed, vm.vm, vm.pages, share) for vm in vms]
        for index, vm in enumerate(vms):
            self._place_at_start(index, vm)
        words = Draws(config.seed, f"{config.name}/zswap")
        self._pool = dict.fromkeys(sorted(self._pool, key=words.u64), 0)
        self._account()

    # ------------------------------------------------------------------------------- where it lies

    def place(self, vm: int, gfn: int) -> int:
        """The number of the area that a page would be read from; 0: it has no copy."""
        if self._key(vm, gfn) in self._pool:
            return self.zswap_number
        return self._slots[vm][gfn]

    def places(self, vm: int) -> bytes:
        """`place` of all pages of a VM."""
        return bytes(self.place(vm, gfn) for gfn in range(len(self._slots[vm])))

    def slots(self, area: int) -> int:
        """How many slots of an area are in use."""
        return self.areas[area - 1].used

    def pool(self) -> int:
        """How many pages lie in zswap."""
        return len(self._pool)

    def queue(self, now_ns: int) -> int:
        """Requests that the devices have not completed."""
        return sum(area.device.queue(now_ns) for area in self.areas)

    # ------------------------------------------------------------------------------- what moves it

    def read(self, vm: int, gfn: int, now_ns: int) -> tuple[int, int]:
        """The page comes in: when it is there, and the number of the area it came from."""
        area = self.place(vm, gfn)
        soonest_ns = now_ns + self._lookahead_ns
        if self._load_ns(area):
            return soonest_ns + self.served(vm, gfn, area), area
        self._come_in(vm, gfn)
        return max(self.areas[area - 1].device.read(now_ns, False), soonest_ns), area

    def served(self, vm: int, gfn: int, area: int) -> int:
        """The page came in in its submission, and has no copy left; what that took, ns."""
        self._come_in(vm, gfn)
        self._give_up(vm, gfn)
        return self._load_ns(area)

    def write(self, vm: int, gfns: list[int], now_ns: int, most: int) -> list[Written]:
        """Pages are written out: to which places, in requests of up to `most` neighbours."""
        for gfn in gfns:
            self._give_up(vm, gfn)
        written: list[Written] = []
        soonest_ns = now_ns + self._lookahead_ns
        start = 0
        while start < len(gfns):
            number, taken = self._take_slots(min(most, len(gfns) - start))
            run = gfns[start : start + taken]
            start += taken
            for gfn in run:
                self._slots[vm][gfn] = number
            stored, refused = self._compressible(vm, run)
            if stored:
                assert self._zswap is not None
                done_ns = max(soonest_ns, now_ns + len(stored) * self._zswap.compress_ns)
                written.append(Written(done_ns, stored, self.zswap_number))
                self._store(vm, stored, now_ns, done_ns)
            if refused:
                done_ns = max(soonest_ns, self.areas[number - 1].device.write(now_ns, len(refused)))
                written.append(Written(done_ns, refused, number))
        self._account()
        return written

    def left(self, vm: int, gfns: Sequence[int]) -> None:
        """Pages have left memory; each has a valid copy."""
        for gfn in gfns:
            slot = self._slots[vm][gfn]
            assert slot, f"gfn {gfn} left memory without a copy in swap"
            self._out[vm][gfn] = 1
            if self._key(vm, gfn) not in self._pool:
                self.areas[slot - 1].stored += 1
        self._account()

    def written_to(self, vm: int, gfns: Sequence[int]) -> None:
        """Pages in memory are dirty: their copies are worth nothing."""
        for gfn in gfns:
            self._give_up(vm, gfn)
        self._account()

    # ------------------------------------------------------------------------------------- helpers

    def _load_ns(self, area: int) -> int:
        """CPU time of a page from there; 0: it is asynchronous."""
        if area == self.zswap_number:
            assert self._zswap is not None
            return self._zswap.decompress_ns
        return self.areas[area - 1].device.medium.cost_ns

    def _key(self, vm: int, gfn: int) -> int:
        return vm << _GFN_BITS | gfn

    def _give_up(self, vm: int, gfn: int) -> None:
        slot = self._slots[vm][gfn]
        if slot:
            assert not self._out[vm][gfn], f"gfn {gfn} lies in swap alone"
            self.areas[slot - 1].used -= 1
            self._slots[vm][gfn] = NO_SLOT
            self._pool.pop(self._key(vm, gfn), 0)

    def _come_in(self, vm: int, gfn: int) -> None:
        assert self._out[vm][gfn], f"gfn {gfn} is not in swap"
        self._out[vm][gfn] = 0
        key = self._key(vm, gfn)
        if key in self._pool:
            del self._pool[key]
        else:
            self.areas[self._slots[vm][gfn] - 1].stored -= 1
        self._account()

    def _take_slots(self, most: int) -> tuple[int, int]:
        """Up to so many slots of one area, which goes behind those of its priority."""
        for at, number in enumerate(self._order):
            area = self.areas[number - 1]
            free = area.free()
            taken = most if free is None else min(most, free)
            if taken:
                area.used += taken
                self._requeue(at)
                return number, taken
        raise AssertionError("the last area is ample")

    def _requeue(self, at: int) -> None:
        """The area at this place goes behind all others of its priority."""
        order = self._order
        number = order.pop(at)
        if number == len(self.areas):  # the ample one has none
            order.append(number)
            return
        priority = self._priority(number)
        while order[at] < len(self.areas) and self._priority(order[at]) == priority:
            at += 1
        order.insert(at, number)

    def _priority(self, number: int) -> int:
        return self.areas[number - 1].priority

    def _compressible(self, vm: int, gfns: list[int]) -> tuple[list[int], list[int]]:
        """Pages that zswap takes, and those it does not."""
        if self._zswap is None or not self._pool_pages:
            return [], gfns
        refuses = self._incompressible[vm]
        return [gfn for gfn in gfns if not refuses[gfn]], [gfn for gfn in gfns if refuses[gfn]]

    def _store(self, vm: int, gfns: list[int], now_ns: int, done_ns: int) -> None:
        """Into zswap, which writes out its oldest pages first if it is full."""
        for gfn in gfns:
            while len(self._pool) >= self._pool_pages:
                self._write_oldest(now_ns)
            self._pool[self._key(vm, gfn)] = done_ns

    def _write_oldest(self, now_ns: int) -> None:
        key = next(iter(self._pool))
        known_ns = max(self._pool.pop(key), now_ns + self._lookahead_ns)
        vm, gfn = key >> _GFN_BITS, key & ((1 << _GFN_BITS) - 1)
        number = self._slots[vm][gfn]
        area = self.areas[number - 1]
        area.device.write(now_ns, 1)
        area.stored += self._out[vm][gfn]
        self.moved.append(Moved(known_ns, vm, gfn, number))

    def _account(self) -> None:
        """Frames of the host that hold compressed pages."""
        stored, frames = len(self._pool), 0
        if self._zswap is not None:
            frames = compressed(stored, self._zswap.ratio_milli)
        for area in self.areas:
            stored += area.stored
            if area.device.medium.ratio_milli:
                frames += compressed(area.stored, area.device.medium.ratio_milli)
        self._frames.hold(stored, frames if self._limited else 0)

    def _place_at_start(self, vm: int, memory: VmMemory) -> None:
        """Pages in swap at time 0 lie where the plan of the host has them."""
        outside = memory.populated[~memory.resident].tolist()
        assert len(outside) == len(memory.places), "a page in swap has no place"
        for gfn, place in zip(outside, memory.places, strict=True):
            number = place & SLOT_MASK
            area = self.areas[number - 1]
            area.used += 1
            self._slots[vm][gfn] = number
            self._out[vm][gfn] = 1
            if place & IN_ZSWAP:
                self._pool[self._key(vm, gfn)] = 0
            else:
                area.stored += 1
