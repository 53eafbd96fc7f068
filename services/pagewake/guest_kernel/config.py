"""What a guest's kernel and its tasks are configured with, as the scenario file has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from pagewake.simtime.randomness import Draws


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


class Spread(msgspec.Struct, frozen=True):
    """A time that is always the same, or exponentially distributed with that mean."""

    mean_ns: int
    exponential: bool = False

    def draw(self, draws: Draws, counter: int) -> int:
        """Whole ns, rounded to the nearest."""
        if self.exponential:
            return round(draws.exponential(counter) * self.mean_ns)
        return self.mean_ns


# fmt: off
Op: TypeAlias = Literal[
    "touch", "run", "kernel", "user", "cli", "sti", "hlt", "wrmsr", "preempt-off", "preempt-on",
    "cpuid", "sleep", "finish",
]
"""What a script task can do; `scenario/script.py` has the language."""
# fmt: on


@dataclass(frozen=True, slots=True)
class ScriptStep:
    """One step of a script task; fields that its `op` does not use keep their defaults."""

    op: Op
    at_ns: int | None = None
    ns: int = 0
    page: int = 0
    write: bool = False
    msr: int = 0
    value: int = 0


@dataclass(frozen=True, slots=True)
class KernelSections:
    """Kernel-mode stretches of `for_ns` CPU time after every `every_ns` in user mode."""

    every_ns: int
    for_ns: int
    no_preempt: bool = False
