"""What one VM is made of, in base units; the scenario builder fills it in (design section 10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pagewake.kvm.profile import Switches


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time of the steps around a fault, ns (semantics section 9 for the sources)."""

    exit_ns: int = 500
    entry_ns: int = 500
    fault_ns: int = 2_000
    first_touch_ns: int = 3_300
    worker_hop_ns: int = 2_400
    wake_ns: int = 2_400
    tick_ns: int = 5_000
    trap_ns: int = 500
    switch_ns: int = 1_100
    irq_ns: int = 1_000
    spin_ns: int = 10_000


@dataclass(frozen=True, slots=True)
class NestedConfig:
    """How the hypervisors of a nested VM are set up, and how often an L2 leaves, per s."""

    npt: bool = True
    l1_npt: bool = True
    l1_vintr_masking: bool = True
    l2_npt: bool = False
    l2_vintr_masking: bool = True
    exit_rates: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VmConfig:
    """One VM: `pages` of guest memory, `stock_pages` frames granted in advance."""

    name: str
    seed: int
    pages: int
    vcpus: int
    switches: Switches
    apf: Literal["pv", "nonpv", "off"] = "pv"
    irqchip: bool = True
    costs: Costs = field(default_factory=Costs)
    medium: str = ""
    media: dict[str, int] = field(default_factory=dict)
    """Synchronous media by name, with the CPU time of one page-in, ns."""
    stock_pages: int = 64
    tick_ns: int = 1_000_000
    idle_tick_ns: int = 100_000_000
    host_tick_ns: int = 0
    background_exit_ns: int = 0
    nested: NestedConfig | None = None
