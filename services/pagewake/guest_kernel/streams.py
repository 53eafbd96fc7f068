"""Access patterns of guest tasks: computation, uniform, sequential and Zipf-distributed touches.

They stand for the tasks of a scenario (design, "Scenario file"): `work` computes and never touches
memory that could be missing; the others touch one page of a region every `touch_ns` of CPU time.
What touch i does is a function of the seed, the entity, the region and i alone (design,
"Randomness"), so touches are drawn in blocks, ahead of time, and again if a buffer was dropped.

Zipf ranks are drawn by Walker's alias method in whole numbers: exact for weights rounded to 2^-32
of a page's mean share, and two table lookups instead of a search per touch.  Weights use only
correctly rounded operations (square roots, products), so that every machine draws the same pages.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.guest_kernel.touch_buffer import (
    ENDLESS,
    AccessStream,
    BufferedStream,
    Region,
    Rows,
)
from pagewake.kvm.page_table import Pages
from pagewake.simtime.randomness import Draws, mix_u64
from pagewake.simtime.state import Saved

__all__ = [
    "AccessKind",
    "AccessStream",
    "HotSet",
    "HotStream",
    "Pages",
    "Phase",
    "PhasedStream",
    "RandomStream",
    "Region",
    "SequentialStream",
    "Touching",
    "WorkStream",
    "ZipfStream",
    "ZipfTable",
]

AccessKind = Literal["read", "write", "mixed"]

BLOCK_TOUCHES_MIN: Final = 128
BLOCK_TOUCHES_MAX: Final = 8_192
AHEAD_TOUCHES_MAX: Final = 16_384
PART_TOUCHES: Final = 128
"""Of a block, for a task that misses all the time: a fault costs more than to draw them.  A
multiple of `randomness.WORDS_AT_ONCE`."""
GFN_SHORT_PAGES_MAX: Final = 65_536
THETA_BITS: Final = 30


class Touching(NamedTuple):
    """How a pattern touches: access, share of writes if mixed, CPU time each, and how many."""

    access: AccessKind = "read"
    write_share: float = 0.5
    touch_ns: int = 100
    touches: int | None = None


@mypyc_attr(allow_interpreted_subclasses=True)
class WorkStream(AccessStream):
    """Computation: no touch that can miss."""

    __slots__ = ("finish_after_ns",)

    def __init__(self, finish_after_ns: int | None = None) -> None:
        super().__init__()
        self.finish_after_ns = finish_after_ns

    def cpu_until_miss(self, limit_ns: int) -> int:
        if self.finish_after_ns is None:
            return limit_ns
        return min(limit_ns, self.finish_after_ns - self.cpu_ns)

    def advance(self, ran_ns: int) -> None:
        self.cpu_ns += ran_ns

    def current(self) -> tuple[int, bool]:
        raise AssertionError("a task that only computes has no touch that can miss")

    def unmapped(self, gfns: Sequence[int] | NDArray[Any]) -> None:
        """Nothing that it would touch."""

    def remaining_ns(self) -> int | None:
        return None if self.finish_after_ns is None else self.finish_after_ns - self.cpu_ns


@mypyc_attr(allow_interpreted_subclasses=True)
class PatternStream(BufferedStream):
    """Touch i starts at i * touch_ns; which page it is, the subclass says, for whole blocks.

    A block is a quarter of the region long, within bounds, and of short numbers where they suffice:
    a hundred thousand small VMs must not hold long buffers.  While it misses, it is drawn in parts.
    """

    __slots__ = ("_block_touches", "_coin", "_draws", "_write_below", "touch_ns")

    def __init__(
        self, view: Pages, region: Region, touching: Touching, seed: int, entity: str
    ) -> None:
        assert touching.touch_ns >= 1
        super().__init__(view, region, touching.touches, touching.access == "write")
        self.touch_ns = touching.touch_ns
        self._block_touches = min(max(region.pages // 4, BLOCK_TOUCHES_MIN), BLOCK_TOUCHES_MAX)
        self._draws = Draws(seed, entity)
        mixed = touching.access == "mixed"
        self._coin = Draws(seed, f"{entity}/access") if mixed else None
        self._write_below = round(touching.write_share * 2**32)

    def remaining_ns(self) -> int | None:
        return None if self._count == ENDLESS else self._count * self.touch_ns - self.cpu_ns

    @abstractmethod
    def _pick(self, block: int, start: int, stop: int) -> NDArray[np.int64]:
        """Pages of the region (a fresh array) of touches [start, stop) of the block."""

    def _start_ns(self, index: int) -> int:
        return index * self.touch_ns

    def _stop(self, target_ns: int) -> int:
        return min(-(-target_ns // self.touch_ns) - self._first, self._size)

    def ahead_max(self) -> int:
        return max(AHEAD_TOUCHES_MAX, 4 * self._block_touches)

    def _generate(self, index: int) -> Rows:
        return self.rows(index, self._misses())

    def rows(self, index: int, part: bool = False) -> Rows:
        """Touches from `index` on, to the end of their block or of a part of it."""
        size = self._block_touches
        block, skip = divmod(index, size)
        stop = min(size, self._count - block * size)
        start = 0
        if part:
            start = skip // PART_TOUCHES * PART_TOUCHES
            stop = min(stop, start + PART_TOUCHES)
        pages: NDArray[Any] = self._pick(block, start, stop)
        base, length = self.region
        if base:
            pages += base
        if base + length <= GFN_SHORT_PAGES_MAX:
            pages = pages.astype(np.uint16)
        skip -= start
        rows: Rows = (pages,)
        if self._coin is not None:
            rows = pages, self._coin.block_u32(block, stop, start) < self._write_below
        return tuple(column[skip:] for column in rows) if skip else rows


@mypyc_attr(allow_interpreted_subclasses=True)
class RandomStream(PatternStream):
    """Every page of the region equally likely, each touch for itself."""

    __slots__ = ()

    def _pick(self, block: int, start: int, stop: int) -> NDArray[np.int64]:
        product = _product(self._draws.block_u32(block, stop, start), self.region.pages)
        product >>= np.uint64(32)
        return product.view(np.int64)


class HotSet(NamedTuple):
    """`pages` from `first` on (round the end of the region) take `touches_below` / 2**32."""

    first: int
    pages: int
    touches_below: int


@mypyc_attr(allow_interpreted_subclasses=True)
class HotStream(PatternStream):
    """Most touches go to a hot set, whose pages are alike; the others to any page."""

    __slots__ = ("_heat", "hot")

    def __init__(
        self,
        view: Pages,
        region: Region,
        touching: Touching,
        seed: int,
        entity: str,
        hot: HotSet,
    ) -> None:
        super().__init__(view, region, touching, seed, entity)
        self._heat = Draws(seed, f"{entity}/hot")
        self.hot = hot

    def _pick(self, block: int, start: int, stop: int) -> NDArray[np.int64]:
        raw = self._draws.block_u32(block, stop, start)
        hot = self._heat.block_u32(block, stop, start) < self.hot.touches_below
        limits = np.where(hot, np.uint64(self.hot.pages), np.uint64(self.region.pages))
        place = ((raw * limits) >> np.uint64(32)).view(np.int64)
        place += np.where(hot, self.hot.first, 0)
        place -= place // self.region.pages * self.region.pages
        return place


class Phase(NamedTuple):
    """So many touches as `source` has them; its region begins at 0, and it only picks pages."""

    touches: int
    source: PatternStream


@mypyc_attr(allow_interpreted_subclasses=True)
class PhasedStream(PatternStream):
    """Phases in turn, over and over; each goes on where it stood a round before."""

    __slots__ = ("phases", "round_touches")

    def __init__(
        self,
        view: Pages,
        region: Region,
        touching: Touching,
        seed: int,
        entity: str,
        phases: tuple[Phase, ...],
    ) -> None:
        super().__init__(view, region, touching, seed, entity)
        self.phases = phases
        self.round_touches = sum(phase.touches for phase in phases)

    @property
    def passes(self) -> int:
        """Rounds through all phases."""
        return self.touches // self.round_touches

    def _pick(self, block: int, start: int, stop: int) -> NDArray[np.int64]:
        before = block * self._block_touches
        index, stop = before + start, before + stop
        found: list[NDArray[Any]] = []
        while index < stop:
            found.append(self._phase_pages(index)[: stop - index])
            index += len(found[-1])
        return np.concatenate(found).astype(np.int64)

    def _phase_pages(self, index: int) -> NDArray[Any]:
        """Pages from touch `index` on, as far as its phase and a block of that reach."""
        turn, at = divmod(index, self.round_touches)
        number = 0
        while at >= self.phases[number].touches:
            at -= self.phases[number].touches
            number += 1
        touches, source = self.phases[number]
        pages: NDArray[Any] = source.rows(turn * touches + at)[0]
        return pages[: touches - at]


@mypyc_attr(allow_interpreted_subclasses=True)
class SequentialStream(PatternStream):
    """Every `stride`-th page from the start of the region, wrapping around at its end."""

    __slots__ = ("stride",)

    def __init__(
        self,
        view: Pages,
        region: Region,
        touching: Touching,
        seed: int,
        entity: str,
        stride: int = 1,
    ) -> None:
        super().__init__(view, region, touching, seed, entity)
        self.stride = stride

    @property
    def passes(self) -> int:
        """How often it reached the end of its region."""
        return self.touches * self.stride // self.region.pages

    def _pick(self, block: int, start: int, stop: int) -> NDArray[np.int64]:
        pages = self.region.pages
        place = np.arange(stop - start, dtype=np.int64)
        place *= self.stride % pages
        place += (block * self._block_touches + start) * self.stride % pages
        place -= place // pages * pages
        return place


@mypyc_attr(allow_interpreted_subclasses=True)
class ZipfTable(Saved):
    """Alias table of a Zipf distribution: the page of rank r has weight 1 / r^theta.

    Ranks are spread over the region by a permutation keyed with `key`.  One table serves all
    streams of the same region size, theta and key; a snapshot holds the three and not the table.
    """

    __slots__ = ("_keep_below", "_page", "key", "pages", "theta")

    def __init__(self, pages: int, theta: float, key: int = 0) -> None:
        self.pages = pages
        self.theta = theta
        self.key = key
        weights = zipf_weights(pages, theta)
        self._keep_below, alias = _alias_table(weights)
        permutation = _permutation(pages, key)
        both = np.stack((permutation, permutation[alias]), axis=1)
        self._page: NDArray[np.int32] = both.reshape(-1).astype(np.int32)

    def __reduce__(self) -> tuple[type[ZipfTable], tuple[int, float, int]]:
        return ZipfTable, (self.pages, self.theta, self.key)

    def pick(self, raw: NDArray[np.uint32]) -> NDArray[np.int64]:
        """The pages that these draws stand for."""
        product = _product(raw, self.pages)
        fraction = product.astype(np.uint32)
        product >>= np.uint64(32)
        column = product.view(np.int64)
        aliased = fraction >= self._keep_below.take(column)
        column += column
        column += aliased
        return self._page.take(column).astype(np.int64)

    def weights(self) -> NDArray[np.int64]:
        """Weight of every page as drawn; they sum to pages * 2^32."""
        whole = np.zeros(self.pages, np.int64)
        keep = self._keep_below.astype(np.int64)
        np.add.at(whole, self._page[0::2], keep)
        np.add.at(whole, self._page[1::2], 2**32 - keep)
        return whole


@mypyc_attr(allow_interpreted_subclasses=True)
class ZipfStream(PatternStream):
    """Few pages take most touches: Zipf's law over the pages of the region."""

    __slots__ = ("table",)

    def __init__(
        self,
        view: Pages,
        region: Region,
        touching: Touching,
        seed: int,
        entity: str,
        table: ZipfTable,
    ) -> None:
        assert table.pages == region.pages
        super().__init__(view, region, touching, seed, entity)
        self.table = table

    def _pick(self, block: int, start: int, stop: int) -> NDArray[np.int64]:
        return self.table.pick(self._draws.block_u32(block, stop, start))


def zipf_weights(pages: int, theta: float) -> NDArray[np.int64]:
    """Whole weights of the ranks 1..pages, in proportion to 1 / rank^theta, sum pages * 2^32."""
    share = 1.0 / _power(np.arange(1, pages + 1, dtype=np.float64), theta)
    total = pages << 32
    weights: NDArray[np.int64] = (share * (total / math.fsum(share))).astype(np.int64)
    weights[0] += total - int(weights.sum())
    return weights


def _power(base: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """base ** exponent (rounded to 2^-30), from products and square roots alone."""
    whole, fraction = divmod(round(exponent * 2**THETA_BITS), 2**THETA_BITS)
    result = np.ones_like(base)
    for _ in range(whole):
        result *= base
    root = base
    for bit in reversed(range(THETA_BITS)):
        root = np.sqrt(root)
        if fraction >> bit & 1:
            result *= root
    return result


def _alias_table(weights: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Per column: the weight it keeps for itself, out of 2^32, and who has the rest.

    Columns that weigh less than 2^32 are filled up, in order, from those that weigh more, in
    order; a giver that has given so much that it falls short is filled up by the next one.  Both
    follow from running sums of what is lacking and of what is left over.
    """
    full = 1 << 32
    keep = weights.copy()
    alias = np.arange(len(weights), dtype=np.int64)
    light = np.flatnonzero(weights < full)
    heavy = np.flatnonzero(weights >= full)
    lacking = np.cumsum(full - weights[light])
    spare = np.cumsum(weights[heavy] - full)
    before = np.concatenate((np.zeros(1, np.int64), lacking))[:-1]
    alias[light] = heavy[spare.searchsorted(before, side="right")]
    overdrawn = lacking.searchsorted(spare, side="right")
    short = overdrawn < len(light)
    keep[heavy] = full
    givers = np.flatnonzero(short)
    keep[heavy[givers]] = full + spare[givers] - lacking[overdrawn[givers]]
    alias[heavy[givers]] = heavy[givers + 1]
    # A column that keeps everything is its own alias, so 2^32 need not be represented.
    return np.minimum(keep, full - 1).astype(np.uint32), alias


def _permutation(pages: int, key: int) -> NDArray[np.int64]:
    """A keyed order of `pages` pages."""
    words = mix_u64(key, "zipf-ranks", np.arange(pages, dtype=np.uint64))
    return np.argsort(words, kind="stable").astype(np.int64)


def _product(raw: NDArray[np.uint32], pages: int) -> NDArray[np.uint64]:
    """raw * pages, that is a page in the upper 32 bits and its fraction in the lower."""
    return np.multiply(raw, np.uint64(pages), dtype=np.uint64)
