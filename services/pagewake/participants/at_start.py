"""What each VM of a simulated host has in memory at time 0, and how soon it can need more.

The stock of a VM is what its vcpus have taken out of the free frames ahead: as on a Linux host,
each CPU holds a batch that it charged to the memory cgroup (MEMCG_CHARGE_BATCH in mm/memcontrol.c:
64 pages since 6.1, 32 before) and a batch of the page allocator (zone_batchsize() in
mm/page_alloc.c: 63 pages from 1 GiB on). One of the two is being used while the other is being
refilled; what a refill costs is part of a first touch, whose measured time has it in.

So frames that are free are never waited for. The host is asked when half of the stock is left, and
what it grants takes effect after its lookahead; hence the lookahead is at most the time in which
the vcpus of a VM can use up the other half.

With `host.huge_pages` the stock of a VM that will touch fresh memory has whole ranges of 512 frames
as well, so many that half of them last for a grant. What is left when they are used up is for first
touches of single pages, which the range then falls back to.

Memory that was written before time 0 is resident as far as the VM's limit and the host go, beside
the stocks and with reclaim at rest: as many frames are free as its watermarks ask for. Where the
host is short, VMs have their protection (`min`, then `low`) and then the same part of their limits:
where reclaim, which takes from the VM that fills its limit most, would have left them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pagewake.errors import ConfigError
from pagewake.events.types import MediumChanged
from pagewake.host_memory.frames import Watermarks, compressed, scaled_low
from pagewake.host_memory.media import MEDIA, Medium, synchronous_medium
from pagewake.kvm.huge_pages import HUGE
from pagewake.participants.regions import lay_out
from pagewake.scenario.model import Scenario, Vm
from pagewake.scenario.units import PAGE_BYTES, mib

BATCHES = 2
"""Per vcpu: one in use, one being refilled."""
LAGS_OF_EVICTION = 3
"""To the answer of AgePages, to that of PageUnmapped, and to the grant."""
_ONE = 1 << 32


class Start(NamedTuple):
    """One kind of VM: `room_pages` of what was populated are resident."""

    stock_pages: int
    reserve_pages: int
    room_pages: int


class _Kind(NamedTuple):
    """A `[[vm]]` table as one host sees it: `number` VMs that each want `want` pages resident."""

    vm: Vm
    number: int
    stock: int
    reserve: int
    populated: int
    want: int

    def swapped(self, room: int) -> int:
        """Pages of each in swap if it has room for so many: none where they are at a source."""
        return self.populated - room if self.vm.page_source == "swap" else 0


class _Host(NamedTuple):
    """What the VMs of a host have to share: frames, less what is in stocks or has to be free.

    `pool`: how many of its frames so many pages in swap take.
    """

    name: str
    memory: int
    stocks: int
    free: int
    pool: Callable[[int], int]


def starts(scenario: Scenario, index: int) -> Mapping[str, Start]:
    """By the name of the `[[vm]]` table; ConfigError if the host cannot hold the least of it."""
    kinds = _kinds(scenario, index)
    rooms = [kind.want for kind in kinds]
    if scenario.host.memory_pages is not None:
        rooms = _share(_host(scenario, index, scenario.host.memory_pages, kinds), kinds)
    return {
        kind.vm.name: Start(kind.stock, kind.reserve, room)
        for kind, room in zip(kinds, rooms, strict=True)
    }


def swapped_pages(scenario: Scenario) -> int:
    """Pages in swap at time 0, of all hosts."""
    total = 0
    for index in range(scenario.host.count):
        rooms = starts(scenario, index)
        total += sum(
            kind.number * kind.swapped(rooms[kind.vm.name].room_pages)
            for kind in _kinds(scenario, index)
        )
    return total


def refuse_overfull(scenario: Scenario) -> None:
    """Raise ConfigError if a host cannot hold what it must at time 0."""
    for index in range(scenario.host.count):
        starts(scenario, index)


def refill_ns(scenario: Scenario, index: int) -> int | None:
    """How soon a VM of this host can need what it asks for; None: no VM uses its stock."""
    times = [
        max(1, batch_pages(scenario, vm) // 2 // vm.vcpus - 1) * use_ns(scenario)
        for vm, _ in _counted(scenario, index)
        if draws(scenario, vm)
    ]
    return min(times, default=None)


def stock_pages(scenario: Scenario, vm: Vm) -> int:
    """Frames that the VM's vcpus hold ahead: at most 1/16 of the limit, which it counts against."""
    return _at_most(vm, _batches(scenario, vm) + _huge_pages_ahead(scenario, vm))


def batch_pages(scenario: Scenario, vm: Vm) -> int:
    """Those of them that are for single pages."""
    return _at_most(vm, _batches(scenario, vm))


def _batches(scenario: Scenario, vm: Vm) -> int:
    return BATCHES * scenario.host.charge_batch * vm.vcpus


def _at_most(vm: Vm, frames: int) -> int:
    limit = vm.limit_pages
    return max(1, min(frames, limit // 16)) if limit > 1 else 0


def has_huge_pages(scenario: Scenario, vm: Vm) -> bool:
    """Whether memory of the VM may be mapped so: user space and sources bring pages one by one."""
    return scenario.host.huge_pages and vm.userfault is None and vm.page_source == "swap"


def _huge_pages_ahead(scenario: Scenario, vm: Vm) -> int:
    """Frames for whole ranges: half of them last until the host has granted more."""
    if not has_huge_pages(scenario, vm) or all(t.populated or not t.region_pages for t in vm.tasks):
        return 0
    costs = scenario.host.costs
    each_ns = costs.exit_ns + costs.entry_ns + costs.huge_touch_ns
    ranges = scenario.host.reclaim_lag_ns // each_ns + 1
    return 2 * ranges * HUGE * vm.vcpus


def draws(scenario: Scenario, vm: Vm) -> bool:
    """Will it use its stock: by a first touch, or by a page-in of a synchronous medium?"""
    synchronous = any(medium.synchronous for medium in media_of(scenario))
    return any(task.region_pages and (synchronous or not task.populated) for task in vm.tasks)


def use_ns(scenario: Scenario) -> int:
    """The shortest time from one frame that a vcpu takes out of the stock to the next."""
    costs = scenario.host.costs
    page_ins = [costs.fault_ns + m.cost_ns for m in media_of(scenario) if m.synchronous]
    return costs.exit_ns + costs.entry_ns + min([costs.first_touch_ns, *page_ins])


def media_of(scenario: Scenario) -> list[Medium]:
    """The medium at time 0, and those it is changed to, in order of time.

    Those of other swap areas stand before it; zswap counts as one that is synchronous.
    """
    controls = [e.control for e in sorted(scenario.events, key=lambda event: event.at_ns)]
    changes = [MEDIA[c.medium] for c in controls if isinstance(c, MediumChanged)]
    swap = scenario.host.areas
    if swap is None:
        return [scenario.host.medium.device(), *changes]
    media = [area.medium for area in swap.areas]
    if swap.zswap is not None:
        zswap = synchronous_medium(
            swap.zswap.decompress_ns, name="zswap", ratio_milli=swap.zswap.ratio_milli
        )
        media.insert(0, zswap)
    return media


def memory_pages(scenario: Scenario, index: int) -> int:
    """Frames of one host."""
    if scenario.host.memory_pages is not None:
        return scenario.host.memory_pages
    return sum(number * vm.limit_pages for vm, number in _counted(scenario, index))


def _counted(scenario: Scenario, index: int) -> list[tuple[Vm, int]]:
    """The kinds of VM on a host, in file order, and how many there are of each.

    VMs are dealt out in turn (`Scenario.instances`): counted, not listed, as there may be many.
    """
    hosts = scenario.host.count
    counted: list[tuple[Vm, int]] = []
    before = 0
    for vm in scenario.vms:
        first = (index - before) % hosts
        number = len(range(first, vm.count, hosts))
        before += vm.count
        if number:
            counted.append((vm, number))
    return counted


def _kinds(scenario: Scenario, index: int) -> list[_Kind]:
    kinds: list[_Kind] = []
    lag_ns = scenario.host.reclaim_lag_ns
    direct = scenario.kernel.switches(0).reclaim == "fault"
    for vm, count in _counted(scenario, index):
        stock = stock_pages(scenario, vm)
        used = vm.vcpus * (lag_ns // use_ns(scenario) + 1) if draws(scenario, vm) else 0
        reserve = LAGS_OF_EVICTION * used
        regions = lay_out(vm).populated()
        most = [
            r.pages if r.resident_pages is None else min(r.pages, r.resident_pages) for r in regions
        ]
        room = vm.limit_pages - stock - Watermarks(vm.limit_pages, reserve, direct=direct).high
        want = min(sum(most), room)
        populated = sum(region.pages for region in regions)
        kinds.append(_Kind(vm, count, stock, reserve, populated, want))
    return kinds


def _host(scenario: Scenario, index: int, memory: int, kinds: list[_Kind]) -> _Host:
    reserve = sum(kind.number * kind.reserve for kind in kinds)
    return _Host(
        f"host-{index}",
        memory,
        sum(kind.number * kind.stock for kind in kinds),
        Watermarks(memory, reserve).high,
        lambda pages: _pool(scenario, memory, pages),
    )


def _share(host: _Host, kinds: list[_Kind]) -> list[int]:
    """Rooms that the host can give: min, then up to low, then the same part of every limit."""
    available = host.memory - host.stocks - host.free
    lows = sum(kind.number * kind.vm.low_pages for kind in kinds)

    def floor(part: int) -> list[int]:
        return [
            kind.vm.min_pages
            + max(0, scaled_low(kind.vm.low_pages, lows, host.memory) - kind.vm.min_pages)
            * part // _ONE
            for kind in kinds
        ]  # fmt: skip

    def rooms(protected: list[int], part: int) -> list[int]:
        return [
            min(kind.want, max(0, low - kind.stock) + kind.vm.limit_pages * part // _ONE)
            for kind, low in zip(kinds, protected, strict=True)
        ]

    def fits(given: list[int]) -> bool:
        pairs = list(zip(kinds, given, strict=True))
        held = sum(kind.number * room for kind, room in pairs)
        out = sum(kind.number * kind.swapped(room) for kind, room in pairs)
        return held + host.pool(out) <= available

    least = sum(kind.number * max(0, kind.vm.min_pages - kind.stock) for kind in kinds)
    if least > available or available < 1 or not fits(rooms(floor(0), 0)):
        raise ConfigError(_too_little(host, kinds, least))
    low = _most(lambda part: fits(rooms(floor(part), 0)))
    return rooms(floor(low), _most(lambda part: fits(rooms(floor(low), part))))


def _pool(scenario: Scenario, memory: int, pages: int) -> int:
    swap = scenario.host.areas
    if swap is not None:
        return swap.frames(pages, memory)
    ratio_milli = scenario.host.medium.device().ratio_milli
    return compressed(pages, ratio_milli) if ratio_milli else 0


def _most(fits: Callable[[int], bool]) -> int:
    """The largest part of _ONE that fits; 0 does."""
    least, most = 0, _ONE
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(middle) else (least, middle - 1)
    return least


def _too_little(host: _Host, kinds: list[_Kind], least: int) -> str:
    """The sizes that do not fit, and what can be done about each."""
    vms = sum(kind.number for kind in kinds)
    out = sum(kind.number * kind.swapped(0) for kind in kinds) - least
    pool = host.pool(max(0, out))
    parts = [
        (host.stocks, "frames taken ahead"),
        (host.free, "kept free by reclaim"),
        (least, "protected by min"),
        (pool, "of pages in the compressed medium"),
    ]
    needs = ", ".join(f"{mib(pages * PAGE_BYTES)} {what}" for pages, what in parts if pages)
    total = sum(pages for pages, _ in parts) + 1
    advice = ["raise host.memory", "have fewer VMs"]
    advice += ["lower min"] if least else []
    advice += ["populate less, or take another medium"] if pool else []
    return (
        f"{host.name}: host.memory is {mib(host.memory * PAGE_BYTES)}, its {vms} VMs need at least "
        f"{mib(total * PAGE_BYTES)} at time 0 ({needs}): {', or '.join(advice)}"
    )
