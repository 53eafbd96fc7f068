"""What `trace-info` counts, against the trace row by row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagewake.scenario import trace_info
from pagewake.scenario.trace_formats.blocks import TraceBlock
from pagewake.scenario.trace_info import PARTS, Expected
from pagewake.scenario.trace_text import PAGE_ROWS, Format

Row = tuple[int, int, bool, int]


@st.composite
def traces(draw: st.DrawFn) -> list[Row]:
    steps = st.tuples(
        st.integers(0, 9), st.integers(0x1FF, 0x210), st.booleans(), st.integers(1, 9)
    )
    icount, rows = 0, []
    for step, page, write, accesses in draw(st.lists(steps, min_size=1, max_size=80)):
        icount += step
        rows.append((icount, page, write, accesses))
    return rows


def blocks(rows: list[Row]) -> Iterator[TraceBlock]:
    yield TraceBlock(*(np.array(column) for column in zip(*rows, strict=True)))


@given(rows=traces())
def test_everything_is_counted(rows: list[Row]) -> None:
    info = trace_info.trace_info("t", PAGE_ROWS, blocks(rows))
    pages = [page for _, page, _, _ in rows]
    assert (info.touches, info.pages) == (len(rows), len(set(pages)))
    assert info.accesses == sum(accesses for _, _, _, accesses in rows)
    assert info.writes == sum(write for _, _, write, _ in rows)
    assert info.pages_written == len({page for _, page, write, _ in rows if write})
    assert (info.length, info.unit) == (rows[-1][0], "instructions")
    assert info.curve[-1] == Expected(info.pages, 0, 0.0)


@given(rows=traces())
def test_the_working_set_is_that_of_each_part(rows: list[Row]) -> None:
    info = trace_info.trace_info("t", PAGE_ROWS, blocks(rows))
    edges = [part * (rows[-1][0] + 1) // PARTS for part in range(PARTS + 1)]
    expected = [
        (since, len({page for icount, page, _, _ in rows if since <= icount < until}))
        for since, until in pairwise(edges)
    ]
    assert [(part.since, part.pages) for part in info.working_set] == expected


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(at * 3, at * at % 97, at % 5 == 0, 1) for at in range(200_000)]
    whole = trace_info.trace_info("t", PAGE_ROWS, blocks(rows), [10, 50])
    monkeypatch.setattr(trace_info, "PIECE_ROWS", 70_000)
    assert trace_info.trace_info("t", PAGE_ROWS, blocks(rows), [10, 50]) == whole
    assert [one.limit_pages for one in whole.limits] == [10, 50]


def test_a_format_without_writes_says_so() -> None:
    form = Format("faults", lambda *_: iter(()), by_time=True, knows_writes=False)
    info = trace_info.trace_info("t", form, blocks([(1, 2, False, 1)]))
    assert (info.writes, info.pages_written, info.unit) == (None, None, "nanoseconds")
    assert info.reuse is None


def test_a_long_trace_is_sampled_and_says_how_wrong_it_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = np.random.default_rng(3).integers(0, 4_000, 60_000)
    rows = [(at, page, False, 1) for at, page in enumerate(draws.tolist())]
    exact = trace_info.trace_info("t", PAGE_ROWS, blocks(rows), [1_000])
    monkeypatch.setattr(trace_info, "EXACT_ROWS_MAX", 16_000)
    part = trace_info.trace_info("t", PAGE_ROWS, blocks(rows), [1_000])
    assert (exact.one_page_in, exact.error) == (1, None)
    assert part.one_page_in == 4
    assert part.error is not None
    assert abs(part.limits[0].share - exact.limits[0].share) < part.error < 0.1
