"""What a load test found, as it is printed, saved and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log2
from typing import Literal, TypeAlias, TypeVar

import msgspec
from hdrh.histogram import HdrHistogram

from pagewake.events.journal import JournalMode

Number = TypeVar("Number", int, float)
LoadMode: TypeAlias = Literal["cluster", "embedded"]
LATENCY_SOURCES: Mapping[LoadMode, str] = {
    "cluster": "timestamps of records, by the broker's clock in whole milliseconds",
    "embedded": "wall time of each window of a simulated host in its process",
}

US_MAX = 3_600_000_000
"""One hour: the longest time that a size is measured for."""
GROWTH = 0.10
"""See `KNEE_RULE`. Chosen: below this, doubled load buys waiting rather than throughput."""
ROUNDING = 1e-9  # exactly 10 % more is enough, whatever the last bit of a float says
KNEE_RULE = (
    "the knee is the largest size whose faults/s exceed those of the best smaller one by at least"
    " 10 % for every doubling of the vcpus between the two"
)


class Latency(msgspec.Struct, frozen=True):
    """Wall time of windows, from a window's opening to its last close."""

    p50_s: float
    p99_s: float
    p999_s: float
    max_s: float


class Cost(msgspec.Struct, frozen=True):
    """What one process used: CPU while it was measured, resident memory at the end."""

    service: str
    cpu_share: float
    cpu_s_per_million_faults: float | None
    memory_bytes: int | None


class Measurement(msgspec.Struct, frozen=True):
    """One measured size.  A sum over all processes is null where one of them said nothing.

    `jobs` are the processes of an embedded one; null on a cluster.
    """

    vcpus: int
    vms: int
    hosts: int
    wall_s: float
    windows: int
    faults_per_s: float
    events_per_s: float
    faults_per_window: float
    simulated_per_wall: float
    window: Latency
    cpu_s_per_million_faults: float | None
    memory_bytes_per_vcpu: float | None
    kafka_bytes_per_fault: float | None
    services: list[Cost]
    jobs: int | None = None


class Regression(msgspec.Struct, frozen=True):
    """A figure that got worse by more than is allowed; `worse_by` as a share."""

    vcpus: int
    figure: str
    before: float
    now: float
    worse_by: float


class LoadResult(msgspec.Struct, frozen=True):
    """All sizes of a load test.  `knee_vcpus` is null if none was measured."""

    mode: LoadMode
    duration_s: float
    warm_s: float
    version: str
    python: str
    cores: int
    latency_source: str
    sizes: list[Measurement]
    knee_vcpus: int | None = None
    knee_rule: str = KNEE_RULE
    knee_reached: bool = False
    interrupted: bool = False
    regressions: list[Regression] = []
    journal: JournalMode = "full"


class Latencies:
    """Counts latencies in a high dynamic range histogram of three digits."""

    def __init__(self) -> None:
        self._counts = HdrHistogram(1, US_MAX, 3)

    def add(self, wall_s: float) -> None:
        """Count one window."""
        self._counts.record_value(min(max(0, round(wall_s * 1e6)), US_MAX))

    def merge(self, other: Latencies) -> None:
        """Count in the windows that another process counted."""
        self._counts.add(other._counts)

    def __getstate__(self) -> bytes:
        encoded: bytes = self._counts.encode()
        return encoded

    def __setstate__(self, encoded: bytes) -> None:
        self._counts = HdrHistogram.decode(encoded)

    def summary(self) -> Latency:
        """The percentiles; zeros if nothing was counted."""
        p50, p99, p999 = (
            self._counts.get_value_at_percentile(share) / 1e6 for share in (50, 99, 99.9)
        )
        return Latency(p50, p99, p999, self._counts.get_max_value() / 1e6)


def cost_of(service: str, cpu_share: float, faults_per_s: float, memory: int | None) -> Cost:
    """`cpu_share` is CPU seconds per wall second."""
    per_million = cpu_share / faults_per_s * 1e6 if faults_per_s else None
    return Cost(service, cpu_share, per_million, memory)


def total(values: Iterable[Number | None]) -> Number | None:
    """A sum; None of nothing, and where a part is not known."""
    known = list(values)
    sure = [value for value in known if value is not None]
    return sum(sure[1:], sure[0]) if sure and len(sure) == len(known) else None


def knee_of(sizes: Iterable[Measurement]) -> tuple[int | None, bool]:
    """Vcpus at the knee by `KNEE_RULE`, and whether a larger size was measured that is beyond."""
    ordered = sorted(sizes, key=lambda size: size.vcpus)
    if not ordered:
        return None, False
    knee = best = ordered[0]
    for size in ordered[1:]:
        needed = best.faults_per_s * (1 + GROWTH) ** log2(size.vcpus / best.vcpus)
        if size.faults_per_s >= needed * (1 - ROUNDING):
            knee = size
        if size.faults_per_s >= best.faults_per_s:
            best = size
    return knee.vcpus, knee is not ordered[-1]
