"""Swap media: what one request costs, as data, with the source of every figure.

A request takes the time to reach its first page (an `AccessTime`, drawn) plus a transfer time for
each of its pages. Every distribution is bounded below by its stated minimum, because the shortest
service of an asynchronous medium bounds a run's lookahead (design, "Lookahead"). A synchronous
medium does a page-in inside the submission, at a CPU cost and without a queue, so a fault on it
never becomes asynchronous (semantics 3.3).

Figures: semantics 9, which suggests hdd 8 ms x1, sata ssd 100 us x4, nvme 20-80 us x16,
zram 2 us synchronous, rdma 10 us x8. "Chosen" below means: era knowledge, not measured and not
fitted.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from types import MappingProxyType
from typing import Protocol

from pagewake.errors import ConfigError

_US = 1_000
_WORD = 1 << 32  # one half of the 64 random bits


class AccessTime(Protocol):
    """Time until a request's first page moves; `bits` are 64 uniform random bits."""

    @property
    def min_ns(self) -> int:
        """The shortest time that any sample takes."""
        ...

    def sample_ns(self, bits: int) -> int:
        """The access time that these bits stand for."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every value from `min_ns` to `max_ns`, both included, equally likely."""

    min_ns: int
    max_ns: int

    def sample_ns(self, bits: int) -> int:
        return self.min_ns + (bits * (self.max_ns - self.min_ns + 1) >> 64)


@dataclass(frozen=True, slots=True)
class DiskArm:
    """A seek over a random distance, then a random part of a revolution.

    The seek grows with the square root of the distance between two independent uniform places, from
    `track_ns` (to the next track) to `longest_ns` (across the whole swap area), so its mean is
    `track_ns + 8/15 (longest_ns - track_ns)`.  Square roots are exactly rounded by IEEE 754: the
    same bits give the same time on every machine.
    """

    track_ns: int
    longest_ns: int
    revolution_ns: int

    @property
    def min_ns(self) -> int:
        """A seek to the next track that finds its sector under the head."""
        return self.track_ns

    def sample_ns(self, bits: int) -> int:
        distance = 1.0 - sqrt(1.0 - (bits >> 32) / _WORD)
        seek = int((self.longest_ns - self.track_ns) * sqrt(distance))
        return self.track_ns + seek + ((bits % _WORD) * self.revolution_ns >> 32)


@dataclass(frozen=True, slots=True)
class Later:
    """An access, and so long more that somebody takes for it."""

    access: AccessTime
    more_ns: int

    @property
    def min_ns(self) -> int:
        return self.access.min_ns + self.more_ns

    def sample_ns(self, bits: int) -> int:
        return self.access.sample_ns(bits) + self.more_ns


WHOLE = 1_000_000_000
"""All requests, in the unit of the shares of a quantile table: nine decimals are exact."""


@dataclass(frozen=True, slots=True)
class Empirical:
    """Measured quantiles, and every value between two of them equally likely.

    `ceilings` are the shares, in parts of the 2**64 draws, below which each of the rows but the
    first ends; `times_ns` are the times of all rows.  A draw is inverted in integers.
    """

    ceilings: tuple[int, ...]
    times_ns: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int]]) -> Empirical:
        """From rows of (share in `WHOLE` parts, nanoseconds), rising from 0 to `WHOLE`."""
        shares, times_ns = [share for share, _ in rows], [time_ns for _, time_ns in rows]
        assert (shares[0], shares[-1]) == (0, WHOLE), shares
        assert times_ns[0] > 0, times_ns
        assert all(a < b for a, b in pairwise(shares)), shares
        assert times_ns == sorted(times_ns), times_ns
        return cls(tuple((share << 64) // WHOLE for share in shares[1:]), tuple(times_ns))

    @property
    def min_ns(self) -> int:
        """The time of the first row."""
        return self.times_ns[0]

    def sample_ns(self, bits: int) -> int:
        row = bisect_right(self.ceilings, bits)
        floor = self.ceilings[row - 1] if row else 0
        low, high = self.times_ns[row], self.times_ns[row + 1]
        return low + (bits - floor) * (high - low + 1) // (self.ceilings[row] - floor)


@dataclass(frozen=True, slots=True)
class Medium:
    """A kind of swap device.

    `parallelism` requests are served at once; the others wait in order of submission.  A channel of
    one that is `pipelined` (a network) is held for the transfer alone: accesses overlap.  `cost_ns`
    is what a synchronous medium takes from the CPU per page; an asynchronous one has none here.
    `ratio_milli`: thousandths of a page that lie in one frame of the host; 0: they lie elsewhere.
    `rotational`: a disk.
    """

    name: str
    read: AccessTime
    write: AccessTime
    transfer_ns_per_page: int
    parallelism: int
    source: str
    synchronous: bool = False
    cost_ns: int = 0
    ratio_milli: int = 0
    rotational: bool = False
    pipelined: bool = False

    @property
    def read_min_ns(self) -> int:
        """The shortest service of a read."""
        return self.read.min_ns + self.transfer_ns_per_page

    @property
    def write_min_ns(self) -> int:
        """The shortest service of a write-back."""
        return self.write.min_ns + self.transfer_ns_per_page

    @property
    def min_service_ns(self) -> int | None:
        """The shortest service of any request; None for a synchronous medium, without requests."""
        return None if self.synchronous else min(self.read_min_ns, self.write_min_ns)


def uniform_medium(
    latency_ns: int,
    jitter_ns: int,
    parallelism: int,
    *,
    name: str = "custom",
    source: str = "scenario",
    transfer_ns_per_page: int = 0,
) -> Medium:
    """An asynchronous medium whose access takes `latency_ns` give or take `jitter_ns`.

    Raises ConfigError unless 0 <= jitter < latency and parallelism >= 1.
    """
    if not 0 <= jitter_ns < latency_ns:
        raise ConfigError(
            f"medium {name}: jitter {jitter_ns} ns must be at least 0 and below "
            f"latency {latency_ns} ns, so that the shortest service is known and above 0"
        )
    if parallelism < 1:
        raise ConfigError(f"medium {name}: parallelism {parallelism} must be 1 or more")
    access = Uniform(latency_ns - jitter_ns, latency_ns + jitter_ns)
    return Medium(name, access, access, transfer_ns_per_page, parallelism, source)


def synchronous_medium(
    cost_ns: int, *, name: str = "custom", source: str = "scenario", ratio_milli: int = 0
) -> Medium:
    """A medium that completes in submission, at `cost_ns` of CPU per page.

    Raises ConfigError unless the cost is above 0.
    """
    if cost_ns < 1:
        raise ConfigError(f"medium {name}: cost {cost_ns} ns must be above 0")
    access = Uniform(cost_ns, cost_ns)
    return Medium(name, access, access, 0, 1, source, True, cost_ns, ratio_milli)


# Known: 7200 rpm, so 8.333 ms per revolution. Semantics 9: mean seek 4 ms (2015 table), one request
# at a time, about 8 ms in all. Chosen: 0.8 ms to the next track and 6.8 ms across the swap area,
# which give that mean of 4.0 ms; 100 MB/s, 41 us per page; writes like reads. Mean service 8.2 ms,
# shortest 0.841 ms. (Data sheets of the time, from memory, say about 8.5 ms for a seek over the
# whole disk; that would make the mean 12.7 ms.)
_HDD_ARM = DiskArm(track_ns=800 * _US, longest_ns=6_800 * _US, revolution_ns=8_333_333)

MEDIA: Mapping[str, Medium] = MappingProxyType(
    {
        medium.name: medium
        for medium in (
            Medium(
                "hdd-2010",
                _HDD_ARM,
                _HDD_ARM,
                transfer_ns_per_page=41 * _US,
                parallelism=1,
                source="7200 rpm known; seek mean 4 ms: semantics 9; track, stroke, rate chosen",
                rotational=True,
            ),
            # Semantics 9: 100 us x4. Chosen: spread of 20 us each way; 4 KiB at 400 MB/s = 10 us.
            uniform_medium(
                90 * _US,
                20 * _US,
                4,
                name="ssd-sata",
                source="100 us x4: semantics 9; spread and rate chosen",
                transfer_ns_per_page=10 * _US,
            ),
            # Semantics 9: 20 to 80 us x16, transfer included. Chosen: 4 KiB at 2 GB/s = 2 us.
            uniform_medium(
                48 * _US,
                30 * _US,
                16,
                name="nvme",
                source="20-80 us x16: semantics 9; rate chosen",
                transfer_ns_per_page=2 * _US,
            ),
            # Semantics 9: 1.84 us per page before and 1.25 us after a change of 2017, sequential;
            # it suggests 2 us, synchronous. A ratio of 2 is what zram's own documentation expects
            # (Documentation/admin-guide/blockdev/zram.rst, "disksize").
            synchronous_medium(
                2 * _US,
                name="zram",
                source="1.84 us per page measured: semantics 9; 2:1 expected by zram.rst",
                ratio_milli=2_000,
            ),
            # Semantics 9: 10 us x8. Chosen: spread of 2 us; 4 KiB at 4 GB/s = 1 us.
            uniform_medium(
                9 * _US,
                2 * _US,
                8,
                name="rdma",
                source="10 us x8: semantics 9; spread and rate chosen",
                transfer_ns_per_page=1 * _US,
            ),
            # A page of memory behind CXL that is moved nearer before it is used. Semantics 9: about
            # 250 ns for one access. Chosen: the copy of a page at 20 GB/s, 0.2 us, and 1 us for
            # what the kernel does to move one.
            synchronous_medium(
                1_200,
                name="cxl",
                source="250 ns an access: semantics 9; rate and cost of moving a page chosen",
            ),
            # A stream between two hosts. Known: 4 KiB at 10 Gbit/s is 3.3 us. Chosen: headers make
            # that 3.5 us; round trip over TCP and two programs 200 us (semantics 9 has one of 30).
            dataclasses.replace(
                uniform_medium(
                    200 * _US,
                    50 * _US,
                    1,
                    name="migration",
                    source="10 Gbit/s: 3.5 us a page; round trip (semantics 9: 30 us) chosen",
                    transfer_ns_per_page=3_500,
                ),
                pipelined=True,
            ),
        )
    }
)
