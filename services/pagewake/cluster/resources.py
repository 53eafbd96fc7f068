"""What this process uses of its machine, and how fast its part of a run goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pagewake.cluster.clock import Clock

STATM = Path("/proc/self/statm")


def cpu_s() -> float:
    """CPU time of the whole process so far, user and system."""
    return time.process_time()


def memory_bytes() -> int | None:
    """Resident memory of the process now; None where the system does not say."""
    try:
        pages = int(STATM.read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


class Speed:
    """Simulated by wall time of each run, since it was last asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[str, tuple[float, int]] = {}

    def of(self, run: str, at_ns: int) -> float | None:
        """None the first time, and where a takeover set the run back."""
        now_s = self._clock.monotonic_s()
        from_s, from_ns = self._at.get(run, (now_s, at_ns))
        self._at[run] = (now_s, at_ns)
        if now_s <= from_s or at_ns < from_ns:
            return None
        return (at_ns - from_ns) / 1e9 / (now_s - from_s)

    def forget(self, run: str) -> None:
        """The run is no longer this process's."""
        self._at.pop(run, None)
