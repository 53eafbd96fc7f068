"""What one VM is made of, in base units (design, "Scenario file").

`HostCosts` and `NestedConfig` are tables of the scenario file as they stand; `VmConfig` has
none but for areas of swap, so whoever builds a VM says all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from pagewake.kvm.profile import Switches
from pagewake.kvm.read_ahead import Window


class HostCosts(msgspec.Struct, frozen=True):
    """Time the host takes, of a vcpu thread or another, ns (sources: semantics 9)."""

    exit_ns: int = 500
    entry_ns: int = 500
    fault_ns: int = 2_000
    first_touch_ns: int = 3_300
    huge_touch_ns: int = 100_000
    worker_hop_ns: int = 2_400
    worker_look_ns: int = 2_400
    read_request_ns: int = 0
    read_page_ns: int = 0
    wake_ns: int = 2_400
    reclaim_page_ns: int = 1_000


class ExitRates(msgspec.Struct, frozen=True):
    """How often an L2 vcpu leaves for reasons other than memory, per second of its CPU time."""

    hlt: float = 0.0
    msr: float = 0.0
    io: float = 0.0
    cpuid: float = 0.0
    intr: float = 0.0


class NestedConfig(msgspec.Struct, frozen=True):
    """How the hypervisors of a nested VM are set up."""

    npt: bool = True
    l1_npt: bool = True
    l1_vintr_masking: bool = True
    l2_npt: bool = False
    l2_vintr_masking: bool = True
    exits: ExitRates = ExitRates()


class Userfault(msgspec.Struct, frozen=True):
    """What user space takes, ns, where it brings the pages of a VM; `local`: a share at hand.

    No measurement was found: chosen so that a page at hand costs about what one reader of a
    userfaultfd takes (11 us: semantics 9).
    """

    signal_ns: int = 1_000
    wake_ns: int = 5_000
    take_ns: int = 1_000
    copy_ns: int = 2_000
    exit_ns: int = 3_000
    local: float = 0.0


class EmulatorLoad(msgspec.Struct, frozen=True):
    """How often the emulator of a VM wakes for more than its vcpus, and what that takes, ns.

    Both are chosen: it depends on the devices of the VM.
    """

    every_ns: int = 1_000_000
    for_ns: int = 20_000


PageSource: TypeAlias = Literal["swap", "postcopy", "uffd", "file"]
"""Where what was written before time 0 is, as far as it is not in memory."""

Feature: TypeAlias = Literal["async_pf", "async_pf_int", "async_pf_vmexit"]
"""A bit of CPUID leaf 0x40000001, EAX: 4, 14, 10."""


def _by_default() -> list[Feature]:
    return ["async_pf", "async_pf_int"]


class Cpuid(msgspec.Struct, frozen=True):
    """What the VMM of a level shows its guest of KVM's asynchronous page faults.

    QEMU had no name for `async_pf_vmexit` before February 2024.
    """

    l1: list[Feature] = msgspec.field(default_factory=_by_default)
    l2: list[Feature] = msgspec.field(default_factory=_by_default)


@dataclass(frozen=True, slots=True)
class VmConfig:
    """One VM: `pages` of guest memory, `stock_pages` frames granted in advance.

    `cpuid` is what L1 sees of KVM.  `media` are the synchronous media by name, with the CPU time of
    one page-in, ns.  A period of 0 means that there are no such interrupts or exits; `nested` None,
    that nothing runs inside; `userfault` None, that KVM lets no task in user space answer.
    `protected`: registers of the guest are hidden.  `read_ahead` None: pages are read alone, and
    that is not looked at; else in windows of up to 2**`page_cluster` pages.  `halt_poll_ns`: the
    longest poll before a vcpu thread blocks.  `huge_floor` None: no huge pages; else so many frames
    of the stock are left to first touches of single pages.  `load_ns`, if the host has several swap
    areas: what a page-in from each takes in submission (`areas.SwapAreas`), `zswap` its number.
    `emulator` None: it takes no CPU.
    """

    name: str
    seed: int
    pages: int
    vcpus: int
    switches: Switches
    apf: Literal["pv", "nonpv", "off"]
    cpuid: frozenset[Feature]
    irqchip: bool
    hlt_exits: bool
    protected: bool
    costs: HostCosts
    medium: str
    media: dict[str, int]
    limit_pages: int
    stock_pages: int
    huge_floor: int | None
    tick_ns: int
    idle_tick_ns: int
    host_tick_ns: int
    background_exit_ns: int
    halt_poll_ns: int
    nested: NestedConfig | None
    userfault: Userfault | None
    read_ahead: Window | None
    page_cluster: int
    page_source: PageSource
    load_ns: tuple[int, ...] = ()
    zswap: int = 0
    emulator: EmulatorLoad | None = None
