"""Time that the guest's kernel takes from its vcpu; a table of the scenario file as it stands."""

from __future__ import annotations

import msgspec


class KernelCosts(msgspec.Struct, frozen=True):
    """CPU time of kernel paths, ns (sources: semantics 9)."""

    tick_ns: int = 5_000
    trap_ns: int = 500
    context_switch_ns: int = 1_100
    irq_ns: int = 1_000
    spin_ns: int = 10_000
