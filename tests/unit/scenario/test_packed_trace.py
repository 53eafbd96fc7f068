"""A packed trace gives back every row, from wherever it is asked, in memory or from its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagewake.errors import ConfigError
from pagewake.scenario import packed_trace
from pagewake.scenario.packed_trace import PackedTrace, PageNumbers
from pagewake.scenario.trace_formats.blocks import TraceBlock

Row = tuple[int, int, bool]


def cut(rows: list[Row], size: int) -> Iterator[TraceBlock]:
    for at in range(0, len(rows), size):
        icount, page, write = (np.array(each) for each in zip(*rows[at : at + size], strict=True))
        yield TraceBlock(icount, page, write, np.full(len(page), 3))


def drawn(count: int, pages: int = 1 << 40) -> list[Row]:
    draw = np.random.default_rng(5)
    icount = np.cumsum(draw.integers(0, 300, count))
    columns = icount, draw.integers(0, pages, count), draw.random(count) < 0.4
    return list(zip(*(column.tolist() for column in columns), strict=True))


def expected(rows: list[Row]) -> list[Row]:
    numbers: dict[int, int] = {}
    return [(at, numbers.setdefault(page, len(numbers)), write) for at, page, write in rows]


def unpacked(trace: PackedTrace) -> list[Row]:
    rows: list[Row] = []
    while len(rows) < trace.rows:
        rows += zip(*(column.tolist() for column in trace.read(len(rows))), strict=True)
    return rows


steps = st.sampled_from([0, 1, 2, 255, 256, 70_000, 1 << 33])
pages = st.integers(0, 9) | st.integers(0, (1 << 60) - 1)


@given(
    st.lists(st.tuples(steps, pages, st.booleans()), min_size=1, max_size=60),
    st.integers(1, 70),
    st.integers(1, 70),
)
def test_every_row_comes_back(listed: list[Row], read: int, block_rows: int) -> None:
    icount, rows = 0, []
    for step, page, write in listed:
        icount += step
        rows.append((icount, page, write))
    trace = PackedTrace(cut(rows, read), block_rows)
    assert unpacked(trace) == expected(rows)
    assert trace.pages == len({page for _, page, _ in rows})
    assert (trace.rows, trace.instructions, trace.accesses) == (len(rows), icount, 3 * len(rows))


@pytest.mark.parametrize("kept_bytes", [0, 500, 1 << 30])
def test_it_reads_the_same_from_memory_and_from_a_file(
    monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    monkeypatch.setattr(packed_trace, "KEPT_BYTES_MAX", kept_bytes)
    rows = drawn(1_000)
    trace = PackedTrace(cut(rows, 70), 64)
    assert (trace._spool._file is None) == (kept_bytes == 1 << 30)
    assert unpacked(trace) == expected(rows)


def test_a_full_disk_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_trace, "KEPT_BYTES_MAX", 0)
    why = r"no room for a packed trace \(No space left.*TMPDIR"
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
        with pytest.raises(ConfigError, match=why):
            PackedTrace(cut(drawn(100), 70), 64)


def test_any_row_may_be_asked_for_at_any_time() -> None:
    rows = drawn(1_000)
    trace, wanted = PackedTrace(cut(rows, 70), 64), expected(rows)
    for row in (999, 0, 500, 64, 63, 999, 320, 321, 0, 64):
        icount, page, write = (column.tolist() for column in trace.read(row))
        assert (icount[0], page[0], write[0]) == wanted[row]
        assert len(trace._unpacked) <= packed_trace.UNPACKED_MAX


def test_pages_are_numbered_by_first_touch_and_keep_their_numbers() -> None:
    numbers = PageNumbers()
    assert numbers.of(np.array([50, 9, 50, 70])).tolist() == [0, 1, 0, 2]
    assert numbers.of(np.array([9, 1, 70])).tolist() == [1, 3, 2]
    assert numbers.of(np.array([1, 50, 2, 9])).tolist() == [3, 0, 4, 1]
    assert len(numbers) == 5


def test_pages_that_share_a_slot_are_told_apart() -> None:
    alike = np.array([7, 7 ^ (1 << 16 | 1), 7 ^ (2 << 16 | 2), 7 ^ (1 << 40)])
    numbers = PageNumbers()
    for turn in (alike, alike[::-1], np.repeat(alike, 2)):
        of = dict(zip(turn.tolist(), numbers.of(turn).tolist(), strict=True))
        assert [of[page] for page in alike.tolist()] == [0, 1, 2, 3]


def test_a_step_costs_few_bytes() -> None:
    rows = [(at, at // 100 % 200, at % 3 == 0) for at in range(100_000)]
    trace = PackedTrace(cut(rows, 1_000))
    assert trace._spool._ends[-1] < 2.2 * len(rows)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=60))
def test_the_most_pages_of_one_instruction_are_counted(listed: list[tuple[int, int]]) -> None:
    icount, of = 0, dict[int, set[int]]()
    for step, page in listed:
        icount += step
        of.setdefault(icount, set()).add(page)
    rows = [(at, page, False) for at, pages in of.items() for page in (*pages, *pages)]
    assert PackedTrace(cut(rows, 7)).at_once == max(map(len, of.values()))
