"""What a reduced trace reads back as, and what may be left out of it."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagewake.scenario.page_trace import RawFile, read_trace
from pagewake.scenario.trace_formats.blocks import TraceBlock
from pagewake.scenario.trace_reduce import Row, write_rows


def blocks(rows: list[Row], size: int = 7) -> Iterator[TraceBlock]:
    for at in range(0, len(rows), size):
        icount, page, write, accesses = (
            np.array(column) for column in zip(*rows[at : at + size], strict=True)
        )
        yield TraceBlock(icount, page, write, accesses)


def read(path: Path) -> list[Row]:
    with path.open("rb") as file:
        found = list(read_trace(str(path), RawFile(file)))
    columns = (np.concatenate(column).tolist() for column in zip(*found, strict=True))
    return list(zip(*columns, strict=True))


def filtered(rows: list[Row], recent: int) -> list[Row]:
    """A list of pages by last use, and the rows that stand for those left out."""
    used: list[tuple[int, bool]] = []
    kept: list[Row] = []
    for place, (icount, page, write, accesses) in enumerate(rows):
        stored = dict(used).get(page)
        new = stored is None or (write and not stored)
        used = [each for each in used if each[0] != page] + [(page, bool(stored) or write)]
        used = used[-recent:]
        if new or place == len(rows) - 1:
            kept.append((icount, page, write, accesses))
        else:
            kept[-1] = (*kept[-1][:3], kept[-1][3] + accesses)
    return kept


@st.composite
def traces(draw: st.DrawFn) -> list[Row]:
    steps = st.tuples(
        st.integers(0, 3), st.integers(0x1FFF000, 0x1FFF006), st.booleans(), st.integers(1, 9)
    )
    icount, rows = 0, []
    for step, page, write, accesses in draw(st.lists(steps, min_size=1, max_size=60)):
        icount += step
        rows.append((icount, page, write, accesses))
    return rows


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.xz"])
@given(rows=traces())
def test_it_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, name: str, rows: list[Row]
) -> None:
    path = tmp_path_factory.mktemp("reduced") / "t"
    done = write_rows(path, name, blocks(rows))
    assert read(path) == rows
    assert done == (sum(row[3] for row in rows), len(rows), len({row[1] for row in rows}))


@given(rows=traces(), recent=st.integers(1, 5))
def test_accesses_to_the_pages_used_last_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], recent: int
) -> None:
    path = tmp_path_factory.mktemp("reduced") / "t"
    done = write_rows(path, "t.csv", blocks(rows), recent)
    assert read(path) == filtered(rows, recent)
    assert done == (sum(row[3] for row in rows), len(read(path)), len({row[1] for row in rows}))


def test_the_name_says_how_it_is_packed_and_the_bytes_are_always_the_same(tmp_path: Path) -> None:
    rows = [(1, 0x4A, False, 1), (2, 0x4B, True, 2)]
    text = b"icount,page,kind,count\n1,4a,L,1\n2,4b,S,2\n"
    unpackers: dict[str, Callable[[bytes], bytes]] = {
        "a.csv": bytes, "a.gz": gzip.decompress, "a.xz": lzma.decompress
    }  # fmt: skip
    for name, unpack in unpackers.items():
        written = []
        for place in ("one", "another"):
            write_rows(tmp_path / place, name, blocks(rows))
            written.append((tmp_path / place).read_bytes())
        assert unpack(written[0]) == text
        assert written[0] == written[1]
