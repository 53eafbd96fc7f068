"""What a run cost on the cluster: wall time of its participants, and what they wrote to Kafka.

Wall time is no part of a run, so nothing of this is in its log.  Each participant says at its end,
beside the announcement of its run, what the process that ended it spent on it.  What is neither
codec nor simulation is waiting: for the broker and for other participants, the work of the client
of Kafka included.  What was written is counted as it is made: once, whoever had to make it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pagewake.cluster.clock import Clock
from pagewake.observe.result import RunResult
from pagewake.participants.participant import LapKind


class Stopwatch:
    """Wall time by what it went to."""

    __slots__ = ("seconds", "_at_s", "_now_s")

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[LapKind, float] = {"codec": 0.0, "simulation": 0.0}
        self._now_s = clock.monotonic_s
        self._at_s = 0.0

    def start(self) -> None:
        """From now on."""
        self._at_s = self._now_s()

    def lap(self, part: LapKind) -> None:
        """What went by since the start, or the last lap, was this."""
        now_s = self._now_s()
        self.seconds[part] += now_s - self._at_s
        self._at_s = now_s


class Spent(msgspec.Struct, frozen=True):
    """One participant's account.

    `instance` owned it from `from_s` to `until_s` of its wall clock; `records` and `size` (bytes)
    are of all its commits.
    """

    instance: str
    from_s: float
    until_s: float
    codec_s: float
    simulation_s: float
    records: int
    size: int


class ProcessCost(msgspec.Struct, frozen=True):
    """Where the wall time of one process went while it owned a part of the run."""

    wall_s: float
    waiting_s: float
    codec_s: float
    simulation_s: float
    participants: int


class ClusterCost(msgspec.Struct, frozen=True):
    """Of a whole run; what is per fault is null if there was none."""

    windows: int
    faults_per_window: float
    records: int
    bytes: int
    records_per_fault: float | None
    bytes_per_fault: float | None
    processes: dict[str, ProcessCost]


def cost_of(result: RunResult, spent: Mapping[str, Spent]) -> ClusterCost:
    """From what the participants of a finished run said."""
    faults = sum(result.not_present.values())
    records = sum(each.records for each in spent.values())
    size = sum(each.size for each in spent.values())
    by_instance: dict[str, list[Spent]] = {}
    for each in spent.values():
        by_instance.setdefault(each.instance, []).append(each)
    return ClusterCost(
        windows=result.windows,
        faults_per_window=faults / max(1, result.windows),
        records=records,
        bytes=size,
        records_per_fault=records / faults if faults else None,
        bytes_per_fault=size / faults if faults else None,
        processes={name: _process(parts) for name, parts in sorted(by_instance.items())},
    )


def _process(parts: Sequence[Spent]) -> ProcessCost:
    wall_s = max(part.until_s for part in parts) - min(part.from_s for part in parts)
    codec_s = sum(part.codec_s for part in parts)
    simulation_s = sum(part.simulation_s for part in parts)
    waiting_s = max(0.0, wall_s - codec_s - simulation_s)
    return ProcessCost(wall_s, waiting_s, codec_s, simulation_s, len(parts))
