"""Swap areas and zswap as they are set up, and where pages lie at time 0.

Memory that was written before the run and is not resident was swapped out in some order: areas
fill from the highest priority on, those of one priority evenly, and zswap holds what came last.
Which pages these are is a keyed draw; every VM of a host has the same part of its pages in each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pagewake.host_memory.frames import compressed
from pagewake.host_memory.media import Medium
from pagewake.simtime.randomness import mix_u64

SLOT_MASK: Final = 0x7F
"""Of a place at time 0: the number of the area."""
IN_ZSWAP: Final = 0x80
"""Of a place at time 0: its content is in zswap, not in its slot."""
AREAS_MAX: Final = 23
"""`[[host.swap]]` tables; what MAX_SWAPFILES leaves with all its reserved types, at least."""


@dataclass(frozen=True)
class SwapArea:
    """One swap area; `size_pages` None: ample."""

    medium: Medium
    size_pages: int | None = None
    priority: int = 0


@dataclass(frozen=True)
class Zswap:
    """The compressed pool in front of all areas; times are of the CPU, per page.

    `incompressible`: a share of all pages, which it refuses.
    """

    max_pool_percent: int
    ratio_milli: int
    compress_ns: int
    decompress_ns: int
    incompressible: float

    def pool_pages(self, memory_pages: int) -> int:
        """How many pages it holds at most, on a host with so many frames."""
        return memory_pages * self.max_pool_percent // 100 * self.ratio_milli // 1000


@dataclass(frozen=True)
class Swap:
    """All swap of a host: its areas, the ample one last, and zswap if it has it."""

    areas: tuple[SwapArea, ...]
    zswap: Zswap | None = None

    def in_zswap(self, pages: int, memory_pages: int) -> int:
        """How many of so many pages in swap zswap holds, if it has what it can."""
        if self.zswap is None:
            return 0
        compressible = pages - round(pages * self.zswap.incompressible)
        return min(compressible, self.zswap.pool_pages(memory_pages))

    def frames(self, pages: int, memory_pages: int) -> int:
        """Frames of the host that so many pages in swap take at time 0: at most these."""
        frames = 0
        if self.zswap is not None:
            frames = compressed(self.in_zswap(pages, memory_pages), self.zswap.ratio_milli)
        for area, taken in zip(self.areas, filled(self.areas, pages), strict=True):
            if area.medium.ratio_milli:
                frames += compressed(taken, area.medium.ratio_milli)
        return frames

    def places(
        self, seed: int, vm: str, pages: int, outside: NDArray[np.int64], taken: Sequence[int]
    ) -> bytes:
        """Where the gfns `outside` of a VM lie at time 0: `taken` is its share (`shares`)."""
        *slots, stored = taken
        words = mix_u64(seed, f"{vm}/areas", outside.astype(np.uint64))
        order = np.argsort(words, kind="stable")
        found = np.zeros(len(outside), np.uint8)
        found[order] = np.repeat(np.arange(1, len(slots) + 1, dtype=np.uint8), slots)
        if self.zswap is not None and stored:
            refuses = np.frombuffer(
                incompressible(seed, vm, pages, self.zswap.incompressible), np.uint8
            )
            latest = [at for at in order if not refuses[outside[at]]][-stored:]
            found[latest] |= IN_ZSWAP
        return found.tobytes()


def filled(areas: Sequence[SwapArea], pages: int) -> list[int]:
    """How many of so many pages each area gets, by priority; those of one priority alike."""
    taken = [0] * len(areas)
    ample = [at for at, area in enumerate(areas) if area.size_pages is None]
    for priority in sorted({area.priority for area in areas if area.size_pages is not None})[::-1]:
        group = [at for at, area in enumerate(areas) if area.priority == priority]
        group = [at for at in group if at not in ample]
        group.sort(key=lambda at: areas[at].size_pages or 0)
        for index, at in enumerate(group):
            taken[at] = min(areas[at].size_pages or 0, pages // (len(group) - index))
            pages -= taken[at]
    for at in ample:
        taken[at], pages = pages, 0
    return taken


def shares(outside: Mapping[str, int], totals: Sequence[int]) -> dict[str, list[int]]:
    """By VM: how many of its pages in swap are among each of the totals; all in proportion.

    `totals`: of each area, which add up to all, and of zswap.  Rounded so that none is exceeded.
    """
    *left, stored = totals
    pages = sum(outside.values())
    found: dict[str, list[int]] = {}
    for vm, count in outside.items():
        mine = [count * area // pages if pages else 0 for area in left]
        for _ in range(count - sum(mine)):
            at = max(range(len(left)), key=lambda at: left[at] - mine[at])
            mine[at] += 1
        kept = stored * count // pages if pages else 0
        left = [area - taken for area, taken in zip(left, mine, strict=True)]
        stored -= kept
        pages -= count
        found[vm] = [*mine, kept]
    return found


def incompressible(seed: int, vm: str, pages: int, share: float) -> bytearray:
    """Which pages of a VM do not compress: 1 for each, by a keyed draw."""
    if not share:
        return bytearray(pages)
    words = mix_u64(seed, f"{vm}/compressible", np.arange(pages, dtype=np.uint64))
    return bytearray((words >> np.uint64(11) < np.uint64(share * (1 << 53))).astype(np.uint8))
