"""What a simulated host is told before time 0: its medium, its limits, its VMs, its interventions.

All of it is plain data, so that it travels to whoever runs the host. Charge means pages resident,
frames in the VM's stock and frames reserved for page-ins in flight (design, "First touches").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pagewake.errors import ConfigError
from pagewake.events.types import Control, MediumChanged
from pagewake.host_memory.media import MEDIA, Medium
from pagewake.host_memory.places import Swap
from pagewake.host_memory.replacement import SECOND_CHANCE


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """Where pages of a VM come from that are neither in memory nor in swap, and how.

    `copies`: user space copies them in, through userfaultfd; else they are of a mapped file, and
    `around_pages` of it are read at a time.  A worker asks user space `hop_ns` after the fault.
    `push` are gfns that come without being asked for, in this order; `follows`: each time, it goes
    on behind the page that was asked for last.
    """

    medium: Medium
    copies: bool
    hop_ns: int
    around_pages: int
    push: NDArray[np.int64]
    follows: bool


@dataclass(frozen=True, slots=True)
class VmMemory:
    """One VM's share of host memory at time 0.

    `populated` are the gfns written before time 0, in order of writing; `resident`, aligned with
    it, says which of them are in memory (the others are in swap, or at the `source`).
    `stock_pages` is the stock of frames granted at time 0, and the level to which it is refilled.
    `reserve_pages` may be used while one eviction goes on (see `frames.Watermarks`).  `min_pages`
    and `low_pages` are what reclaim of the host leaves it, always or if it can.  `direct`: nothing
    but its vcpu threads reclaims for it, as they come upon its limit.  `places`: where those in
    swap lie, in their order (`places.Swap`), if the host has more than one area.
    """

    vm: str
    pages: int
    limit_pages: int
    populated: NDArray[np.int64]
    resident: NDArray[np.bool_]
    stock_pages: int
    reserve_pages: int = 0
    min_pages: int = 0
    low_pages: int = 0
    direct: bool = False
    source: SourceConfig | None = None
    places: bytes = b""

    def check(self) -> None:
        """Raise ConfigError for what cannot be started."""
        inside = int(self.resident.sum())
        if self.limit_pages < 1:
            raise ConfigError(f"vm {self.vm}: limit of {self.limit_pages} pages must be 1 or more")
        if not 0 <= self.stock_pages < self.limit_pages:
            raise ConfigError(
                f"vm {self.vm}: a stock of {self.stock_pages} frames must be at least 0 and below "
                f"the limit of {self.limit_pages} pages"
            )
        if inside + self.stock_pages > self.limit_pages:
            raise ConfigError(
                f"vm {self.vm}: {inside} pages resident at time 0 and a stock of "
                f"{self.stock_pages} frames exceed the limit of {self.limit_pages} pages"
            )
        if len(self.populated) != len(self.resident):
            raise ConfigError(f"vm {self.vm}: residency is not known for every populated page")
        if (
            len(self.populated)
            and not 0 <= self.populated.min() <= self.populated.max() < self.pages
        ):
            raise ConfigError(f"vm {self.vm}: a populated gfn lies outside its {self.pages} pages")


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One simulated host.

    `media` are the presets that `MediumChanged` may name.  `memory_pages` None: as much as the VMs'
    limits add up to.  `refill_ns`: how soon a refill that was asked for at half the stock can be
    needed; None: no VM uses its stock.  `sources` are the media of VMs that have a source.
    `workers` bounds the page-ins that workers read at once; 0: it is not bounded, or they read
    none.  `controls` are the scheduled interventions for this host and its VMs.  `window_pages`: so
    many at most are read with one fault.  `replacement`: one of
    `host_memory.replacement.REPLACEMENTS`.  `swap`: areas of swap, `medium` the last of them, and
    zswap; None: there is that medium alone.  `direct_reclaim`: vcpu threads reclaim where
    `memory_pages` runs short.
    """

    name: str
    index: int
    seed: int
    medium: Medium
    reclaim_lag_ns: int
    memory_pages: int | None
    writeback_pages: int
    workers: int
    controls: Sequence[Control]
    refill_ns: int | None = None
    window_pages: int = 1
    sources: Sequence[Medium] = ()
    replacement: str = SECOND_CHANCE
    swap: Swap | None = None
    direct_reclaim: bool = False
    media: Mapping[str, Medium] = field(default_factory=lambda: dict(MEDIA))

    def check(self) -> None:
        """Raise ConfigError for what cannot be started."""
        if self.reclaim_lag_ns < 1:
            raise ConfigError(f"{self.name}: reclaim_lag must be above 0")
        if self.writeback_pages < 1:
            raise ConfigError(f"{self.name}: writeback_pages must be 1 or more")
        if self.workers < 0:
            raise ConfigError(f"{self.name}: workers must be 0 (no limit) or more")
        for control in self.controls:
            if isinstance(control, MediumChanged):
                self.medium_named(control.medium)

    def medium_named(self, name: str) -> Medium:
        """The preset of that name, or ConfigError with the names there are."""
        try:
            return self.media[name]
        except KeyError:
            known = ", ".join(sorted(self.media))
            raise ConfigError(f"{self.name}: unknown medium {name!r}; there are {known}") from None

    @property
    def lookahead_ns(self) -> int:
        """Nothing this host answers takes effect sooner after its cause (design, "Lookahead")."""
        named = [c.medium for c in self.controls if isinstance(c, MediumChanged)]
        media = [self.medium, *self.sources, *(self.medium_named(name) for name in named)]
        if self.swap is not None:
            media += [area.medium for area in self.swap.areas]
        bounds = [self.reclaim_lag_ns, self.refill_ns, *(m.min_service_ns for m in media)]
        return min(ns for ns in bounds if ns is not None)
