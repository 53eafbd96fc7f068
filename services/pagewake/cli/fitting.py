"""Whether this machine has the memory for a run, said before it is started.

Linux ends a process that it has no memory left for, without a word; so what is certainly too much
is refused.  An estimate is what a run takes at the least, so what is not refused may still fail.
"""

from __future__ import annotations

import os
from pathlib import Path

from pagewake.cli.memory import available_bytes
from pagewake.errors import ConfigError
from pagewake.participants.at_start import refuse_overfull
from pagewake.participants.footprint import memory_bytes
from pagewake.scenario.model import Scenario

ROOT = Path("/")
ANYWAY = "PAGEWAKE_ANY_MEMORY"
MIB = 1 << 20


def refuse_start(scenario: Scenario, hosts: int | None = None) -> None:
    """ConfigError for a scenario that cannot start, on its simulated hosts or on this machine.

    `hosts` are built at a time, all by default.
    """
    refuse_overfull(scenario)
    count = scenario.host.count
    needed, free = memory_bytes(scenario) * (hosts or count) // count, free_bytes()
    if free is not None and needed > free:
        raise ConfigError(
            f"the memory of its VMs takes {needed // MIB:,} MiB to simulate, and this machine has"
            f" {free // MIB:,} MiB free: simulate less memory (vm.0.memory, and the working_set of"
            f" its tasks) or fewer VMs (vm.0.count); {ANYWAY}=1 runs it all the same"
        )


def side_by_side(needed: int, jobs: int) -> int:
    """How many runs that need as much each this machine has memory for; 1 at the least."""
    free = free_bytes()
    return jobs if free is None or not needed else max(1, min(jobs, free // needed))


def free_bytes() -> int | None:
    """Memory that this process can still have; None where nothing says so, or it is to be tried."""
    return None if os.environ.get(ANYWAY) == "1" else available_bytes(ROOT)
