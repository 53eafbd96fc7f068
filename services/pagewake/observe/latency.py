"""How long requests took, from the instant at which each was meant to come to its answer.

Counted in a histogram of high dynamic range: percentiles are those of the nearest rank, at most
0.1 % too high, at any number of requests; mean and maximum are exact.
"""

from __future__ import annotations

import msgspec
from hdrh.histogram import HdrHistogram

NS_MAX = 1 << 62
"""Longer than any run can be."""
DIGITS = 3


class Latency(msgspec.Struct, frozen=True):
    """What the tasks of one group answered, in all its VMs.

    `unfinished` came before the end and were not answered by then; no latency counts them.
    Latencies are null where nothing was answered.
    """

    count: int
    unfinished: int
    throughput_per_s: float
    mean_ns: float | None = None
    p50_ns: int | None = None
    p90_ns: int | None = None
    p99_ns: int | None = None
    p999_ns: int | None = None
    max_ns: int | None = None

    def times_ns(self) -> dict[str, float | None]:
        """The latencies, by what people call them."""
        return {
            "mean": self.mean_ns,
            "p50": self.p50_ns,
            "p90": self.p90_ns,
            "p99": self.p99_ns,
            "p99.9": self.p999_ns,
            "max": self.max_ns,
        }


class Latencies:
    """Counts the latencies of one group."""

    __slots__ = ("_histogram", "count", "max_ns", "sum_ns")

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, NS_MAX, DIGITS)
        self.count = 0
        self.sum_ns = 0
        self.max_ns = 0

    def add(self, latency_ns: int) -> None:
        """Count one request."""
        self._histogram.record_value(latency_ns)
        self.count += 1
        self.sum_ns += latency_ns
        self.max_ns = max(self.max_ns, latency_ns)

    def merge(self, other: Latencies) -> None:
        """Count in the requests that another counted."""
        self._histogram.add(other._histogram)
        self.count += other.count
        self.sum_ns += other.sum_ns
        self.max_ns = max(self.max_ns, other.max_ns)

    def __getstate__(self) -> tuple[bytes, int, int, int]:
        return self._histogram.encode(), self.count, self.sum_ns, self.max_ns

    def __setstate__(self, state: tuple[bytes, int, int, int]) -> None:
        encoded, self.count, self.sum_ns, self.max_ns = state
        self._histogram = HdrHistogram.decode(encoded)

    def latency(self, sim_ns: int, unfinished: int) -> Latency:
        """What they come to in a run of that length."""
        count = self.count
        per_s = count * 1e9 / sim_ns
        if not count:
            return Latency(count, unfinished, per_s)
        p50, p90, p99, p999 = (self._at(percent) for percent in (50, 90, 99, 99.9))
        mean = self.sum_ns / count
        return Latency(count, unfinished, per_s, mean, p50, p90, p99, p999, self.max_ns)

    def _at(self, percent: float) -> int:
        return min(int(self._histogram.get_value_at_percentile(percent)), self.max_ns)
