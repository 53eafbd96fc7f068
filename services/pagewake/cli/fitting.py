"""Whether this machine has the memory for a run, said before it is started.

Linux ends a process that it has no memory left for, without a word; so what is certainly too much
is refused.  An estimate is what a run takes at the least, so what is not refused may still fail.
"""

from __future__ import annotations

from pathlib import Path

from pagewake.errors import ConfigError
from pagewake.participants.at_start import refuse_overfull
from pagewake.participants.footprint import memory_bytes
from pagewake.scenario.model import Scenario

MEMINFO = Path("/proc/meminfo")
MIB = 1 << 20


def refuse_start(scenario: Scenario) -> None:
    """ConfigError for a scenario that cannot start, on its simulated hosts or on this machine."""
    refuse_overfull(scenario)
    needed, free = memory_bytes(scenario), free_bytes()
    if free is not None and needed > free:
        raise ConfigError(
            f"the memory of its VMs takes {needed // MIB:,} MiB to simulate, and this machine has"
            f" {free // MIB:,} MiB free: simulate less memory (vm.0.memory, and the working_set of"
            " its tasks) or fewer VMs (vm.0.count)"
        )


def side_by_side(needed: int, jobs: int) -> int:
    """How many runs that need as much each this machine has memory for; 1 at the least."""
    free = free_bytes()
    return jobs if free is None or not needed else max(1, min(jobs, free // needed))


def free_bytes() -> int | None:
    """Memory and swap that processes can still have; None where the system does not say."""
    try:
        lines = MEMINFO.read_text("ascii").splitlines()
        kib = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
        return 1024 * (kib["MemAvailable"] + kib.get("SwapFree", 0))
    except (OSError, ValueError, LookupError):
        return None
