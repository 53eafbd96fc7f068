"""What the patterns touch, what a trace is made into, and what a stream costs in memory."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from pagewake.errors import ConfigError
from pagewake.guest_kernel import touch_buffer, trace_stream
from pagewake.guest_kernel.streams import (
    BLOCK_TOUCHES_MAX,
    PART_TOUCHES,
    AccessKind,
    AccessStream,
    HotSet,
    HotStream,
    PatternStream,
    Phase,
    PhasedStream,
    RandomStream,
    Region,
    SequentialStream,
    Touching,
    WorkStream,
    ZipfStream,
    ZipfTable,
    zipf_weights,
)
from pagewake.guest_kernel.trace_stream import TraceStream
from pagewake.scenario.packed_trace import PackedTrace
from pagewake.scenario.trace_formats.blocks import TraceBlock
from pagewake.simtime.randomness import Draws
from tests.support.pages import PageView


def view_of(pages: int, mapped: int = 1) -> PageView:
    return PageView(pages, mapped)


def touched(stream: AccessStream, touch_ns: int, count: int) -> list[tuple[int, bool]]:
    touches = []
    for _ in range(count):
        touches.append(stream.current())
        stream.advance(touch_ns)
    return touches


def gfns(stream: AccessStream, count: int) -> list[int]:
    return [gfn for gfn, _ in touched(stream, 100, count)]


# ------------------------------------------------------------------------------------ patterns


def test_work_never_misses() -> None:
    stream = WorkStream()
    assert stream.cpu_until_miss(10**15) == 10**15
    stream.advance(89)
    stream.unmapped([1, 2, 3])
    assert (stream.cpu_ns, stream.touches, stream.remaining_ns()) == (89, 0, None)


def test_work_ends_when_told_to() -> None:
    stream = WorkStream(finish_after_ns=100)
    stream.advance(60)
    assert stream.cpu_until_miss(1_000) == 40
    assert stream.remaining_ns() == 40


def test_random_touches_are_keyed_draws_scaled_to_the_region() -> None:
    region = Region(100_000, 1_000)
    stream = RandomStream(view_of(101_000), region, Touching(), 5, "vm/t-0")
    draws = Draws(5, "vm/t-0")
    words = [*draws.block_u32(0, 250), *draws.block_u32(1, 250)]
    assert gfns(stream, 500) == [100_000 + (int(word) * 1_000 >> 32) for word in words]


def test_random_touches_spread_evenly() -> None:
    pages = 512
    view = view_of(pages)
    stream = RandomStream(view, Region(0, pages), Touching(), 5, "t")
    counts = np.bincount(gfns(stream, 20_000), minlength=pages)
    expected = 20_000 / pages
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - pages) < 5 * (2 * pages) ** 0.5


@pytest.mark.parametrize(("access", "share"), [("read", 0.0), ("write", 1.0), ("mixed", 0.25)])
def test_the_share_of_writes_is_as_asked(access: AccessKind, share: float) -> None:
    touching = Touching(access, write_share=0.25)
    stream = RandomStream(view_of(512), Region(0, 512), touching, 5, "t")
    writes = sum(write for _, write in touched(stream, 100, 4_000))
    assert abs(writes / 4_000 - share) < 0.03 * (0 < share < 1) + 1e-9


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_mixed_access_with_an_extreme_share_is_pure(share: float) -> None:
    touching = Touching("mixed", write_share=share)
    stream = RandomStream(view_of(64), Region(0, 64), touching, 5, "t")
    assert {write for _, write in touched(stream, 100, 2_000)} == {bool(share)}


def test_writes_do_not_depend_on_which_page_is_drawn() -> None:
    mixed = Touching("mixed", write_share=0.5)
    plain = RandomStream(view_of(64), Region(0, 64), Touching(), 5, "t")
    both = RandomStream(view_of(64), Region(0, 64), mixed, 5, "t")
    assert gfns(plain, 300) == [gfn for gfn, _ in touched(both, 100, 300)]


@pytest.mark.parametrize("stride", [1, 3, 7, 10, 25])
def test_sequential_goes_round_the_region(stride: int) -> None:
    stream = SequentialStream(view_of(30), Region(20, 10), Touching(), 5, "t", stride)
    assert gfns(stream, 700) == [20 + i * stride % 10 for i in range(700)]


def test_a_hot_set_takes_its_share_wherever_it_begins() -> None:
    hot = HotSet(90, 20, round(0.9 * 2**32))
    stream = HotStream(view_of(100), Region(0, 100), Touching(), 1, "a", hot)
    found = np.bincount(gfns(stream, 20_000), minlength=100)
    inside = found[90:].sum() + found[:10].sum()
    assert inside / 20_000 == pytest.approx(0.9 + 0.1 * 0.2, abs=0.01)
    assert found.min() > 0


def test_phases_follow_one_another_and_go_on_where_they_stood() -> None:
    view, none = view_of(50), Touching()
    up = SequentialStream(view, Region(0, 30), none, 1, "up")
    down = SequentialStream(view, Region(0, 30), none, 1, "down", 29)
    phases = (Phase(3, up), Phase(2, down))
    stream = PhasedStream(view, Region(10, 30), none, 1, "both", phases)
    assert gfns(stream, 12) == [10, 11, 12, 10, 39, 13, 14, 15, 38, 37, 16, 17]
    assert stream.passes == 2


def a_stream(pattern: str) -> PatternStream:
    """Of each pattern one with a block of several parts, and one that is not whole."""
    view, region, touching = view_of(9_000), Region(500, 4_100), Touching("mixed")
    if pattern == "hot":
        return HotStream(view, region, touching, 5, "t", HotSet(4_000, 300, 1 << 31))
    if pattern == "sequential":
        return SequentialStream(view, region, touching, 5, "t", 7)
    if pattern == "zipf":
        return ZipfStream(view, region, touching, 5, "t", ZipfTable(4_100, 0.9))
    inner = RandomStream(view, Region(0, 4_100), Touching(), 5, "t/0")
    if pattern == "phased":
        return PhasedStream(view, region, touching, 5, "t", (Phase(300, inner), Phase(77, inner)))
    return RandomStream(view, region, touching, 5, "t")


@pytest.mark.parametrize("pattern", ["random", "hot", "sequential", "zipf", "phased"])
@pytest.mark.parametrize("index", [0, 1, 127, 128, 1_000, 1_024, 2_060])
def test_a_part_of_a_block_has_the_touches_of_the_block(pattern: str, index: int) -> None:
    stream = a_stream(pattern)
    whole, part = stream.rows(index), stream.rows(index, part=True)

    assert 1 <= len(part[0]) <= PART_TOUCHES < BLOCK_TOUCHES_MAX
    assert len(part[0]) == len(part[1])
    for column, expected in zip(part, whole, strict=True):
        assert column.tolist() == expected[: len(column)].tolist()


def test_a_task_that_misses_holds_a_part_and_one_that_hits_a_block() -> None:
    view = view_of(4_096)
    hits, misses = (
        RandomStream(view, Region(0, 4_096), Touching("write"), 5, "t") for _ in range(2)
    )
    assert hits.cpu_until_miss(100_000) == 100_000
    view.mapped[:] = bytes(4_096)
    assert misses.cpu_until_miss(100_000) == 0

    assert held_bytes(misses) <= 2 * PART_TOUCHES
    assert held_bytes(hits) > 2 * 1_000


def test_two_entities_touch_different_pages_and_one_always_the_same() -> None:
    one, same, other = (
        RandomStream(view_of(64), Region(0, 64), Touching(), 5, name) for name in "aab"
    )
    pages = gfns(one, 100)
    assert gfns(same, 100) == pages
    assert gfns(other, 100) != pages


@pytest.mark.parametrize("pages", [1, 7, 4_096, 100_000])
def test_a_write_marks_dirty_and_a_read_does_not(pages: int) -> None:
    accesses: tuple[AccessKind, ...] = ("read", "write")
    for access in accesses:
        view = view_of(pages)
        touching = Touching(access, touches=3_000)
        stream = RandomStream(view, Region(0, pages), touching, 5, "t")
        stream.advance(3_000 * 100)
        assert any(view.accessed)
        assert view.dirty == (view.accessed if access == "write" else bytearray(pages))


def test_nothing_outside_the_region_is_marked() -> None:
    view = view_of(200)
    stream = RandomStream(view, Region(50, 100), Touching("write"), 5, "t")
    stream.advance(10_000 * 100)
    assert ones(view.accessed) == list(range(50, 150))


# ---------------------------------------------------------------------------------------- zipf


@pytest.mark.parametrize("theta", [0.0, 0.5, 0.99, 1.0, 1.7])
@pytest.mark.parametrize("pages", [1, 2, 3, 100, 4_097])
def test_zipf_weights_follow_the_law(pages: int, theta: float) -> None:
    weights = zipf_weights(pages, theta)
    law = np.arange(1, pages + 1) ** -theta
    assert int(weights.sum()) == pages << 32
    assert np.abs(weights / weights[0] - law).max() < 1e-5


@pytest.mark.parametrize("theta", [0.0, 0.5, 0.99, 1.7])
@pytest.mark.parametrize("pages", [1, 2, 3, 100, 4_097])
def test_the_alias_table_draws_exactly_by_the_weights(pages: int, theta: float) -> None:
    drawn = ZipfTable(pages, theta).weights()
    assert sorted(drawn.tolist(), reverse=True) == zipf_weights(pages, theta).tolist()


def test_zipf_draws_match_their_weights() -> None:
    table = ZipfTable(64, 0.99)
    stream = ZipfStream(view_of(64), Region(0, 64), Touching(), 5, "t", table)
    counts = np.bincount(gfns(stream, 20_000), minlength=64)
    expected = table.weights() * (20_000 / (64 << 32))
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 64) < 5 * (2 * 64) ** 0.5


def test_hot_pages_are_spread_and_a_key_spreads_them_otherwise() -> None:
    hottest = [np.argsort(-ZipfTable(4_096, 0.99, key).weights())[:64] for key in (0, 1)]
    assert np.abs(np.diff(np.sort(hottest[0]))).max() > 64
    assert hottest[0].tolist() != hottest[1].tolist()


def test_a_pickled_table_is_three_numbers_and_the_same_table() -> None:
    table = ZipfTable(4_096, 0.99, key=3)
    packed = pickle.dumps(table)
    raw = Draws(1, "t").block_u32(0, 1_000)
    assert len(packed) < 200
    assert pickle.loads(packed).pick(raw).tolist() == table.pick(raw).tolist()


def test_zipf_pages_are_pinned_for_every_machine() -> None:
    table = ZipfTable(1_000, 0.99)
    stream = ZipfStream(view_of(1_000), Region(0, 1_000), Touching(), 1, "vm-0/t-0", table)
    assert gfns(stream, 8) == [517, 812, 279, 856, 734, 864, 91, 279]


# -------------------------------------------------------------------------------------- scheduling


def ones(bits: bytearray) -> list[int]:
    return [gfn for gfn, bit in enumerate(bits) if bit]


def test_a_touch_that_missed_is_made_again_at_the_same_instant() -> None:
    view = view_of(10, mapped=0)
    stream = SequentialStream(view, Region(0, 10), Touching("write"), 5, "t")
    assert stream.cpu_until_miss(1_000) == 0
    assert stream.current() == (0, True)
    assert (stream.touches, int(view.accessed[0])) == (0, 0)
    view.mapped[0] = 1
    assert stream.cpu_until_miss(1_000) == 100
    stream.advance(100)
    assert stream.current() == (1, True)
    assert (stream.touches, int(view.accessed[0]), int(view.dirty[0])) == (1, 1, 1)


def test_a_miss_exactly_at_the_limit_is_not_before_it() -> None:
    view = view_of(10)
    view.mapped[3] = 0
    stream = SequentialStream(view, Region(0, 10), Touching(), 5, "t")
    assert [stream.cpu_until_miss(limit) for limit in (299, 300, 301)] == [299, 300, 300]


def test_a_touch_under_way_counts_and_is_not_current() -> None:
    stream = SequentialStream(view_of(10), Region(0, 10), Touching(), 5, "t")
    stream.advance(250)
    assert stream.touches == 3
    with pytest.raises(AssertionError, match="no touch starts"):
        stream.current()


def test_a_page_unmapped_behind_the_look_ahead_is_noticed() -> None:
    view = view_of(1_000)
    stream = SequentialStream(view, Region(0, 1_000), Touching(), 5, "t")
    assert stream.cpu_until_miss(90_000) == 90_000
    view.mapped[5] = view.mapped[600] = 0
    stream.unmapped(np.array([600, 5]))
    assert stream.cpu_until_miss(90_000) == 500


def test_a_finite_stream_ends_after_its_last_touch() -> None:
    stream = SequentialStream(view_of(10), Region(0, 10), Touching(touches=7), 5, "t")
    assert stream.cpu_until_miss(10**9) == stream.remaining_ns() == 700
    stream.advance(700)
    assert (stream.touches, stream.remaining_ns(), stream.cpu_until_miss(10)) == (7, 0, 0)
    with pytest.raises(AssertionError, match="beyond the end"):
        stream.advance(1)


def test_looking_far_ahead_neither_holds_nor_loses_anything() -> None:
    view, far_ns = view_of(4_096), 40_000_000
    stream = RandomStream(view, Region(0, 4_096), Touching("write"), 5, "t")
    assert stream.cpu_until_miss(far_ns) == far_ns
    assert held_bytes(stream) < 64 * 1024
    stream.advance(1_000_000)
    assert stream.touches == 10_000
    expected = RandomStream(view_of(4_096), Region(0, 4_096), Touching("write"), 5, "t")
    expected.advance(1_000_000)
    assert view.dirty == expected.view.dirty


def held_bytes(stream: touch_buffer.BufferedStream) -> int:
    return sum((row if row.base is None else row.base).nbytes for row in stream._rows)


def test_a_stream_of_a_small_vm_is_small() -> None:
    """A hundred thousand of them are to fit into one process, most of them waiting for a page."""
    view = view_of(4_096)
    stream = RandomStream(view, Region(0, 4_096), Touching("write"), 5, "t")
    fixed = sys.getsizeof(stream) + sys.getsizeof(stream._draws) + 4 * 32
    assert fixed + held_bytes(stream) < 512
    view.mapped[gfns(RandomStream(view, Region(0, 4_096), Touching(), 5, "t"), 5_000)[-1]] = 0
    stream.advance(stream.cpu_until_miss(10**7))
    stream.current()
    waiting = fixed + held_bytes(stream)
    assert waiting < 3 * 1024


def test_a_pickled_stream_shares_its_page_view_and_drops_its_buffer() -> None:
    view = view_of(100_000)
    stream = RandomStream(view, Region(0, 100_000), Touching(), 5, "t")
    stream.cpu_until_miss(10_000)
    assert len(pickle.dumps(stream)) < len(pickle.dumps(view)) + 1_000
    view_again, again = pickle.loads(pickle.dumps((view, stream)))
    assert again.view is view_again


# -------------------------------------------------------------------------------------- traces


class ListedTrace:
    """A trace out of (icount, page, write) rows; counts how often it is opened."""

    def __init__(self, *rows: tuple[int, int, bool], block_rows: int = 65_536) -> None:
        self.rows = rows
        self.block_rows = block_rows
        self.opened = 0

    def open(self) -> PackedTrace:
        self.opened += 1
        icount, page, write = (np.array(column) for column in zip(*self.rows, strict=True))
        block = TraceBlock(icount, page, write, np.ones_like(page))
        return PackedTrace([block], self.block_rows)


R, W = False, True


def test_a_trace_touches_its_pages_at_their_instructions_in_frames_by_first_touch() -> None:
    source = ListedTrace((1, 0x999, R), (4, 0x111, W), (5, 0x999, R), (9, 0x500, R), block_rows=2)
    view = view_of(20, mapped=0)
    stream = TraceStream(view, Region(10, 3), source, repeat=2, cpi_ns=2)
    misses = []
    for _ in range(3):
        stream.advance(stream.cpu_until_miss(1_000))
        misses.append((stream.cpu_ns, *stream.current()))
        view.mapped[misses[-1][1]] = 1
    assert misses == [(2, 10, R), (8, 11, W), (18, 12, R)]
    assert stream.remaining_ns() == 2 * (9 + 1) * 2 - 18
    stream.advance(stream.cpu_until_miss(1_000))
    assert (stream.remaining_ns(), stream.touches) == (0, 8)
    assert ones(view.dirty) == [11]
    assert ones(view.accessed) == [10, 11, 12]


def test_an_instruction_executes_again_when_one_of_its_pages_was_lost() -> None:
    source = ListedTrace((1, 1, R), (1, 2, W), (3, 1, R))
    view = view_of(2, mapped=0)
    view.mapped[0] = 1
    stream = TraceStream(view, Region(0, 2), source)
    stream.advance(stream.cpu_until_miss(100))
    assert (stream.current(), stream.touches, int(view.accessed[0])) == ((1, W), 0, 0)
    view.mapped[:] = (0, 1)
    stream.unmapped([0])
    assert stream.cpu_until_miss(100) == 0
    assert stream.current() == (0, R)


def test_passes_are_counted_where_touches_have_an_order() -> None:
    sequential = SequentialStream(view_of(8), Region(0, 8), Touching(), 1, "s", stride=2)
    trace = TraceStream(view_of(2), Region(0, 2), ListedTrace((1, 7, R), (8, 9, W)), repeat=3)
    drawn = RandomStream(view_of(8), Region(0, 8), Touching(), 1, "r")
    found = []
    for _ in range(2):
        found.append((sequential.passes, trace.passes, drawn.passes))
        sequential.advance(400)
        trace.advance(9)
        drawn.advance(800)
    assert found == [(0, 0, None), (1, 1, None)]
    assert (sequential.touches, sequential.passes) == (8, 2)


def test_a_trace_with_more_pages_than_the_region_is_refused_when_it_gets_there() -> None:
    source = ListedTrace((1, 7, R), (2, 8, R), (5, 9, R), (6, 7, R), (7, 3, R), block_rows=4)
    stream = TraceStream(view_of(2), Region(0, 2), source, name="sort.csv.gz")
    assert stream.cpu_until_miss(5) == 5
    with pytest.raises(ConfigError, match=r"sort\.csv\.gz.*touches 4 pages.* only 2;"):
        stream.cpu_until_miss(6)
    stream.advance(5)
    with pytest.raises(ConfigError, match="touches 4 pages"):
        stream.advance(1)


def test_a_trace_is_opened_once_and_again_after_unpickling() -> None:
    source = ListedTrace(*[(at, at, W) for at in range(1, 51)], block_rows=5)
    stream = TraceStream(view_of(50), Region(0, 50), source, repeat=3)
    while stream.touches < 75:
        stream.advance(stream.cpu_until_miss(7))
    assert source.opened == 1
    again = pickle.loads(pickle.dumps(stream))
    while again.touches < 150:
        again.advance(again.cpu_until_miss(7))
    assert again.remaining_ns() == 0
    assert again._source.opened == 2


def test_a_short_trace_is_repeated_in_large_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(1, 5, R), (1, 6, W), (4, 5, R)]
    starts = []
    for most in (1, 7, 1_000):
        monkeypatch.setattr(trace_stream, "TILED_ROWS_MAX", most)
        stream = TraceStream(view_of(2), Region(0, 2), ListedTrace(*rows), repeat=5, cpi_ns=2)
        stream.cpu_until_miss(1_000)
        starts.append([stream._start_ns(index) for index in range(16)])
        assert len(stream._generate(0)[0]) == {1: 3, 7: 6, 1_000: 15}[most]
    assert starts[0] == [10 * turn + at for turn in range(5) for at in (2, 2, 8)] + [50]
    assert starts[0] == starts[1] == starts[2]


def test_a_trace_looked_at_too_far_ahead_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_stream, "AHEAD_ROWS_MAX", 7)
    source = ListedTrace(*[(at, at, W) for at in range(1, 51)], block_rows=5)
    view = view_of(50)
    stream = TraceStream(view, Region(0, 50), source)
    assert stream.cpu_until_miss(40) == 40
    stream.advance(20)
    assert (stream.touches, sum(view.dirty)) == (19, 19)
    assert held_bytes(stream) < 2_000
    assert source.opened == 1
