"""What a guest's kernel is configured with; each a table of the scenario file as it stands."""

from __future__ import annotations

import msgspec


class KernelCosts(msgspec.Struct, frozen=True):
    """CPU time of kernel paths, ns (sources: semantics 9)."""

    tick_ns: int = 5_000
    trap_ns: int = 500
    context_switch_ns: int = 1_100
    irq_ns: int = 1_000
    spin_ns: int = 10_000


class SchedulerConfig(msgspec.Struct, frozen=True):
    """Tunables of its fair scheduler, ns."""

    latency_ns: int = 18_000_000
    min_granularity_ns: int = 2_250_000
    wakeup_granularity_ns: int = 3_000_000
    balance_ns: int = 64_000_000
