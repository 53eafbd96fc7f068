"""What DynamoRIO prints of a program's memory references.

The view of drmemtrace (`-tool view`) has a record a line, after a prefix of ordinals and thread:
`ifetch`, `read`, `write`, prefetches, flushes and markers.  Prefetches and flushes fault no page
in, so they do not count.  The samples memtrace_simple and memtrace_x86_text begin with the line
`Format:` and have an access a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pagewake.errors import DataError
from pagewake.scenario.trace_formats.blocks import PAGE_SHIFT, Bools, Ints, Runs, TraceBlock
from pagewake.scenario.trace_formats.lines import (
    SPACE,
    Lines,
    numbered,
    shown,
    whole_lines,
)

_AT, _ZERO, _X = b"@0x"
_NAME_TO_AT = 23  # "ifetch      " in twelve columns, a size in two, and " byte(s) @" up to the @
_REMARK = re.compile(
    rb"(?:\d+(?:\s+\d+)?:\s+[WT.\d]+\s*)?(?:<.*|-+|[0-9a-f]{2}(?: [0-9a-f]{2})*)?"
    rb"|Output format:|.* results:|\d+ : .*"
)
_VALID = 'not a record such as "1: T7 read  8 byte(s) @ 0x00007ffd9fc8 by PC 0x401a2c"'


def view(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """Runs of accesses to one page of one kind, all threads as they stand."""
    runs, icount = Runs(), 0
    for first_line, text in whole_lines(name, begun, chunks):
        fetch, page, write = _records(Lines(name, text, first_line))
        counts = icount + np.cumsum(fetch, dtype=np.int64)
        icount = int(counts[-1]) if len(counts) else icount
        yield runs.merged(counts, page, write)
    yield runs.rest


def _records(lines: Lines) -> tuple[Bools, Ints, Bools]:
    """Of each access whether it is a fetch, its page, and whether it writes."""
    every = np.flatnonzero(lines.data == _AT)
    since = np.searchsorted(every, lines.starts)
    has = since < np.searchsorted(every, lines.ends)
    for row in np.flatnonzero(~has).tolist():
        if not _REMARK.fullmatch(lines.line(row).strip()):
            lines.refuse(row, _VALID)
    rows = np.flatnonzero(has)
    at = every[since[rows]]
    starts = lines.starts[rows]
    name_at = at - _NAME_TO_AT
    for column in (12, 13):  # a size of three digits or more moves the name
        digit = lines.data[np.maximum(at - column, 0)]
        name_at -= (digit >= _ZERO) & (digit <= _ZERO + 9)
    inside = name_at > starts
    name_at = np.where(inside, name_at, starts + 1)
    first, second, third = (lines.data[name_at + place] for place in (0, 1, 2))
    fetch = (first == ord("i")) & (second == ord("f")) & (third == ord("e"))
    write = (first == ord("w")) & (second == ord("r"))
    data = write | ((first == ord("r")) & (second == ord("e")))
    other = (first == ord("p")) | (first == ord("d")) | ((first == ord("i")) & (third == ord("l")))
    bad = ~(fetch | data | other) | ~inside | (lines.data[name_at - 1] != SPACE)
    bad |= (lines.data[at + 2] != _ZERO) | (lines.data[at + 3] != _X)
    page, bad_page = lines.pages(at + 4, lines.word_ends(np.minimum(at + 4, lines.ends[rows])))
    lines.refuse_first(bad | bad_page, _VALID, rows)
    taken = fetch | data
    return fetch[taken], page[taken], write[taken]


# -------------------------------------------------------------------------- the samples' text

_SIMPLE = re.compile(rb"(?:0x)?([0-9a-fA-F]{1,16}): +\d+, (\S+)\s*")
_WITH_PC = re.compile(rb"(?:0x)?([0-9a-fA-F]{1,16}),(r|w),\d+,(?:0x)?([0-9a-fA-F]{1,16})\s*")
_FORMATS = {b"Format: <data address>": _SIMPLE, b"Format: <instr address>": _WITH_PC}
_DATA = {b"r": False, b"w": True}


def samples(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """Runs of accesses of a file that begins with `Format:`."""
    runs, icount = Runs(), 0
    pattern = next((form for head, form in _FORMATS.items() if begun.startswith(head)), None)
    if pattern is None:
        raise DataError(
            f"{name}:1: {shown(begun.partition(chr(10).encode())[0])} has no loads and stores:"
            " record with memtrace_simple, memtrace_x86_text or drmemtrace"
        )
    for first_line, text in whole_lines(name, begun, chunks):
        rows: list[tuple[int, int, bool]] = []
        for number, line in numbered(name, first_line, text):
            found = pattern.fullmatch(line)
            if found is None:
                if number == 1 or not line:
                    continue
                raise DataError(f"{name}:{number}: {shown(line)} is not an access as line 1 has it")
            icount = _add(rows, icount, *found.groups())
        count, page, write = np.array(rows, np.int64).reshape(-1, 3).T
        yield runs.merged(count, page, write.astype(np.bool_))
    yield runs.rest


def _add(
    rows: list[tuple[int, int, bool]], icount: int, first: bytes, kind: bytes, data: bytes = b""
) -> int:
    """The accesses of a line; returns the instructions so far."""
    page = int(first, 16) >> PAGE_SHIFT
    if data:
        icount += 1
        rows.append((icount, page, False))
        page = int(data, 16) >> PAGE_SHIFT
    elif kind not in _DATA:  # an opcode: the instruction itself
        icount += 1
    rows.append((icount, page, _DATA.get(kind, False)))
    return icount
