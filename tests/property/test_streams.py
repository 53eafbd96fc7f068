"""Access streams against a reference that makes one touch at a time.

The reference knows a list of touches (start, gfn, write) and walks it. Whatever is asked in
between, however time is cut, whatever is mapped, unmapped or pickled away, both must say the same.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagewake.guest_kernel.streams import (
    AccessKind,
    AccessStream,
    RandomStream,
    Region,
    SequentialStream,
    Touching,
    ZipfStream,
    ZipfTable,
)
from pagewake.guest_kernel.trace_stream import TraceStream
from pagewake.scenario.packed_trace import PackedTrace
from pagewake.scenario.trace_formats.blocks import TraceBlock
from tests.support.pages import PageView

SPACE = 80
REGION = Region(11, 40)
Touch = tuple[int, int, bool]


class ListedTrace:
    """A trace out of a list of rows, read in blocks of uneven size and packed in even ones."""

    def __init__(
        self, rows: list[tuple[int, int, bool]], sizes: list[int], block_rows: int
    ) -> None:
        self.rows = rows
        self.sizes = sizes
        self.block_rows = block_rows

    def open(self) -> PackedTrace:
        return PackedTrace(self.blocks(), self.block_rows)

    def blocks(self) -> Iterator[TraceBlock]:
        at = turn = 0
        while at < len(self.rows):
            rows = self.rows[at : at + self.sizes[turn % len(self.sizes)]]
            icount, page, write = (np.array(column) for column in zip(*rows, strict=True))
            yield TraceBlock(icount, page, write, np.ones_like(page))
            at, turn = at + len(rows), turn + 1


class Shortsighted(RandomStream):
    """A random stream that cannot hold what it has looked at."""

    def ahead_max(self) -> int:
        return 100


class ShortsightedTrace(TraceStream):
    def ahead_max(self) -> int:
        return 3


class Reference:
    """The same task, one touch after the other."""

    def __init__(self, touches: list[Touch], end_ns: int | None) -> None:
        self.touches = touches
        self.end_ns = end_ns
        self.cpu_ns = 0
        self.done = 0
        self.mapped = [False] * SPACE
        self.accessed = [0] * SPACE
        self.dirty = [0] * SPACE

    def cpu_until_miss(self, limit_ns: int) -> int:
        for start_ns, gfn, _ in self.touches[self.done :]:
            if start_ns >= self.cpu_ns + limit_ns:
                break
            if not self.mapped[gfn]:
                return start_ns - self.cpu_ns
        return limit_ns if self.end_ns is None else min(limit_ns, self.end_ns - self.cpu_ns)

    def advance(self, ran_ns: int) -> None:
        self.cpu_ns += ran_ns
        while self.done < len(self.touches) and self.touches[self.done][0] < self.cpu_ns:
            _, gfn, write = self.touches[self.done]
            self.accessed[gfn] = 1
            self.dirty[gfn] |= write
            self.done += 1

    def missed(self) -> tuple[int, bool] | None:
        for start_ns, gfn, write in self.touches[self.done :]:
            if start_ns == self.cpu_ns and not self.mapped[gfn]:
                return gfn, write
            if start_ns > self.cpu_ns:
                break
        return None


def blank_view() -> PageView:
    return PageView(SPACE, 0)


def touches_of(stream: AccessStream, touch_ns: int, count: int) -> list[Touch]:
    """What a pattern touches, learned one touch at a time from a copy that runs into nothing."""
    listed = []
    for index in range(count):
        listed.append((index * touch_ns, *stream.current()))
        stream.advance(touch_ns)
    return listed


TABLE = ZipfTable(REGION.pages, 0.9)


def a_pattern(kind: str, touching: Touching, view: PageView, seed: int) -> AccessStream:
    if kind == "random":
        return RandomStream(view, REGION, touching, seed, "task")
    if kind == "shortsighted":
        return Shortsighted(view, REGION, touching, seed, "task")
    if kind == "zipf":
        return ZipfStream(view, REGION, touching, seed, "task", TABLE)
    return SequentialStream(view, REGION, touching, seed, "task", stride=seed % 45 + 1)


@st.composite
def patterns(draw: st.DrawFn) -> tuple[AccessStream, PageView, Reference]:
    kind = draw(st.sampled_from(["random", "shortsighted", "zipf", "sequential"]))
    access: AccessKind = draw(st.sampled_from(["read", "write", "mixed"]))
    count = draw(st.none() | st.integers(0, 700))
    touch_ns = draw(st.sampled_from([1, 7, 100]))
    seed = draw(st.integers(0, 1_000))
    touching = Touching(access, 0.3, touch_ns, count)
    scout_view = PageView(SPACE)
    scout = a_pattern(kind, touching._replace(touches=None), scout_view, seed)
    touches = touches_of(scout, touch_ns, 2_500 if count is None else count)
    view = blank_view()
    reference = Reference(touches, None if count is None else count * touch_ns)
    return a_pattern(kind, touching, view, seed), view, reference


@st.composite
def traces(draw: st.DrawFn) -> tuple[AccessStream, PageView, Reference]:
    page = st.integers(0x7F0, 0x7F0 + REGION.pages - 1)
    step = st.tuples(st.sampled_from([0, 0, 1, 2, 9]), page, st.booleans())
    rows, icount = [], 1
    for ahead, virtual, write in draw(st.lists(step, min_size=1, max_size=60)):
        icount += ahead
        rows.append((icount, virtual, write))
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    repeat, cpi_ns = draw(st.integers(1, 5)), draw(st.integers(1, 30))
    frames: dict[int, int] = {}
    length_ns = (icount + 1) * cpi_ns
    touches = []
    for turn in range(repeat):
        for at, virtual, write in rows:
            gfn = REGION.base + frames.setdefault(virtual, len(frames))
            touches.append((turn * length_ns + at * cpi_ns, gfn, write))
    view = blank_view()
    kind = draw(st.sampled_from([TraceStream, ShortsightedTrace]))
    source = ListedTrace(rows, sizes, draw(st.integers(1, 70)))
    stream = kind(view, REGION, source, repeat, cpi_ns)
    return stream, view, Reference(touches, repeat * length_ns)


class Pair:
    """Stream and reference in step."""

    def __init__(self, stream: AccessStream, view: PageView, reference: Reference) -> None:
        self.stream = stream
        self.view = view
        self.reference = reference

    def map_pages(self, gfns: list[int]) -> None:
        for gfn in gfns:
            self.view.mapped[gfn] = self.reference.mapped[gfn] = True

    def unmap(self, gfns: list[int]) -> None:
        for gfn in gfns:
            self.view.mapped[gfn] = self.reference.mapped[gfn] = False
        self.stream.unmapped(gfns)

    def horizon_ns(self, limit_ns: int) -> int:
        """An endless stream is compared as far as the reference knows it."""
        if self.reference.end_ns is not None:
            return limit_ns
        return min(limit_ns, self.reference.touches[-1][0] - self.reference.cpu_ns)

    def plan(self, limit_ns: int) -> int:
        limit_ns = self.horizon_ns(limit_ns)
        planned_ns = self.stream.cpu_until_miss(limit_ns)
        assert planned_ns == self.reference.cpu_until_miss(limit_ns)
        return planned_ns

    def run(self, ran_ns: int) -> None:
        self.stream.advance(ran_ns)
        self.reference.advance(ran_ns)
        assert self.stream.cpu_ns == self.reference.cpu_ns
        assert self.stream.touches == self.reference.done
        assert list(self.view.accessed) == self.reference.accessed
        assert list(self.view.dirty) == self.reference.dirty

    def resolve(self) -> None:
        """If this is a miss, both must name it; then its page arrives."""
        missed = self.reference.missed()
        if missed is not None:
            assert self.stream.current() == missed
            self.map_pages([missed[0]])

    def pickled(self) -> None:
        self.view, self.stream = pickle.loads(pickle.dumps((self.view, self.stream)))

    def remaining(self) -> None:
        end_ns = self.reference.end_ns
        expected = None if end_ns is None else end_ns - self.reference.cpu_ns
        assert self.stream.remaining_ns() == expected


gfn_lists = st.lists(st.integers(0, SPACE - 1), max_size=12)
limits_ns = st.integers(0, 100) | st.integers(0, 2_000) | st.integers(0, 200_000)
actions = st.one_of(
    st.tuples(st.just("run"), limits_ns, st.sampled_from([1, 2, 3])),
    st.tuples(st.just("plan"), limits_ns),
    st.tuples(st.just("unmap"), gfn_lists),
    st.tuples(st.just("map"), gfn_lists),
    st.tuples(st.just("map"), st.just(list(range(SPACE)))),
    st.tuples(st.just("map"), st.just(list(range(SPACE)))),
    st.tuples(st.just("pickle")),
    st.tuples(st.just("remaining")),
)


def act(pair: Pair, action: tuple[Any, ...]) -> None:
    match action:
        case ("run", limit_ns, cuts):
            planned_ns = pair.plan(limit_ns)
            for cut in range(cuts):
                pair.run(planned_ns * (cut + 1) // cuts - planned_ns * cut // cuts)
            pair.resolve()
        case ("plan", limit_ns):
            pair.plan(limit_ns)
        case ("unmap", gfns):
            pair.unmap(gfns)
        case ("map", gfns):
            pair.map_pages(gfns)
        case ("pickle",):
            pair.pickled()
        case _:
            pair.remaining()


quick = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@quick
@given(patterns() | traces(), st.lists(actions, min_size=1, max_size=40))
def test_a_stream_does_what_one_touch_at_a_time_does(
    made: tuple[AccessStream, PageView, Reference], steps: list[tuple[Any, ...]]
) -> None:
    pair = Pair(*made)
    for step in steps:
        act(pair, step)


@quick
@given(patterns() | traces())
def test_a_stream_that_misses_everything_once_comes_to_its_end(
    made: tuple[AccessStream, PageView, Reference],
) -> None:
    pair = Pair(*made)
    for _ in range(SPACE + 1):
        pair.run(pair.plan(10**9))
        pair.resolve()
    if pair.reference.end_ns is not None:
        assert pair.stream.remaining_ns() == 0
        assert pair.stream.cpu_until_miss(5) == 0


@quick
@given(patterns() | traces(), st.data())
def test_running_through_an_unmapped_page_is_caught(
    made: tuple[AccessStream, PageView, Reference], data: st.DataObject
) -> None:
    pair = Pair(*made)
    if not pair.reference.touches:
        return
    pair.map_pages(list(range(SPACE)))
    victim = data.draw(st.sampled_from(pair.reference.touches))[1]
    pair.unmap([victim])
    to_miss_ns = pair.reference.cpu_until_miss(10**9)
    with pytest.raises(AssertionError):
        pair.stream.advance(to_miss_ns + 1)
