"""`valgrind --tool=lackey --trace-mem=yes`: every fetch, load and store of a program.

`I  addr,size` and ` L addr,size` lines (also S and M) between valgrind's own `==pid==` ones.  A
fetch is a read; only S and M write.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pagewake.scenario.trace_formats.blocks import (
    PAGE_SHIFT,
    Bools,
    Ints,
    Runs,
    TraceBlock,
)
from pagewake.scenario.trace_formats.lines import SPACE, Lines, marked, whole_lines

_LARGEST_ACCESS = 512  # bytes, as in lackey itself
_COMMA, _FETCH = b",I"
_DATA_KINDS, _WRITES = marked(b"LSM"), marked(b"SM")
_VALID = 'not an access such as " L 1ffe,8" nor a "==pid==" line'


def blocks(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """Runs of accesses to one page of one kind."""
    runs, icount = Runs(), 0
    for first_line, text in whole_lines(name, begun, chunks):
        fetch, page, write = _accesses(Lines(name, text, first_line))
        counts = icount + np.cumsum(fetch, dtype=np.int64)
        icount = int(counts[-1]) if len(counts) else icount
        yield runs.merged(counts, page, write)
    yield runs.rest


def _accesses(lines: Lines) -> tuple[Bools, Ints, Bools]:
    """Of each access whether it is a fetch, its page, and whether it writes."""
    first = lines.data[lines.starts]
    remark = (first == ord("=")) | (first == ord("-")) | (lines.ends == lines.starts)
    rows = np.flatnonzero(~remark)
    starts, ends = lines.starts[rows], lines.ends[rows]
    commas = lines.marks(_COMMA, 1, rows, _VALID)[:, 0]
    first, second = first[rows], lines.data[starts + 1]
    fetch = first == _FETCH
    kind_is_bad = ~_DATA_KINDS[second] | (first != SPACE)
    bad = np.where(fetch, second != SPACE, kind_is_bad) | (lines.data[starts + 2] != SPACE)
    address, bad_address = lines.numbers(starts + 3, commas, 16)
    bad |= bad_address
    bad_size = _wrong_sizes(lines, commas + 1, ends)
    if bad_size.any():  # a blank behind it is no part of it
        bad_size = _wrong_sizes(lines, commas + 1, ends - (lines.data[ends - 1] == SPACE))
    lines.refuse_first(bad | bad_size, _VALID, rows)
    return fetch, address >> PAGE_SHIFT, _WRITES[second] & ~fetch


def _wrong_sizes(lines: Lines, starts: Ints, ends: Ints) -> Bools:
    size, bad = lines.numbers(starts, ends, 10)
    return bad | (size < 1) | (size > _LARGEST_ACCESS)
