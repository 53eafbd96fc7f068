"""Traces of the memory simulator Ramulator, 1 and 2.

A CPU trace has `INSTRUCTIONS ADDRESS` or `INSTRUCTIONS ADDRESS WRITTEN` a line, in decimal: so many
instructions without an access, one that reads, and the address that its cache line writes back.  A
memory trace has `0xADDRESS R` or `0xADDRESS W`, a load-store trace `LD ADDRESS` or `ST ADDRESS`:
an instruction each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pagewake.errors import DataError
from pagewake.scenario.trace_formats.blocks import PAGE_SHIFT, Runs, TraceBlock
from pagewake.scenario.trace_formats.lines import numbered, shown, whole_lines

_CPU = re.compile(rb"(\d{1,15}) (\d{1,15})(?: (\d{1,15}))?\s*")
_MEMORY = re.compile(rb"(0x[0-9a-fA-F]{1,16}) ([RW])\s*")
_LOAD_STORE = re.compile(rb"(LD|ST) (0x[0-9a-fA-F]{1,16}|\d{1,15})\s*")
_VALID = 'not "3 20734016", "0x12345680 R" or "LD 0x12340", as the lines before'
_WRITES = (b"W", b"ST")

Row = tuple[int, int, bool]


def blocks(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """Runs of accesses to one page of one kind; all lines are as the first is."""
    runs, icount = Runs(), 0
    first = begun.partition(b"\n")[0]
    pattern = next((one for one in (_CPU, _MEMORY, _LOAD_STORE) if one.fullmatch(first)), _CPU)
    for first_line, text in whole_lines(name, begun, chunks):
        rows: list[Row] = []
        for number, line in numbered(name, first_line, text):
            found = pattern.fullmatch(line)
            if found is None:
                raise DataError(f"{name}:{number}: {shown(line)} is {_VALID}")
            if pattern is _CPU:
                icount += int(found[1]) + 1
                rows.append((icount, int(found[2]) >> PAGE_SHIFT, False))
                if found[3]:
                    rows.append((icount, int(found[3]) >> PAGE_SHIFT, True))
            else:
                icount += 1
                address, kind = found.groups() if pattern is _MEMORY else found.groups()[::-1]
                rows.append((icount, int(address, 0) >> PAGE_SHIFT, kind in _WRITES))
        count, page, write = np.array(rows, np.int64).reshape(-1, 3).T
        yield runs.merged(count, page, write.astype(np.bool_))
    yield runs.rest
