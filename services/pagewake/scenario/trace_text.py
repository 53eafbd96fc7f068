"""Which format a trace is in: told by what is in the file, never by its name.

Each format is a row of a table: its name, what marks a line of it, and what reads it.  The earliest
mark in the file decides; the page format and CSV of requests are known by their first line, and
records of ChampSim by not being text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from pagewake.errors import DataError
from pagewake.scenario.trace_formats import (
    champsim,
    damon,
    drmemtrace,
    faults,
    lackey,
    page_rows,
    pin,
    ramulator,
    requests,
)
from pagewake.scenario.trace_formats.blocks import TraceBlock
from pagewake.scenario.trace_formats.lines import shown

Reader = Callable[[str, bytes, Iterator[bytes]], Iterator[TraceBlock]]
"""Gets the file's name for messages, its first bytes, and the rest in chunks."""

_GLANCE_BYTES = 1 << 16


class Format(NamedTuple):
    """A format by its name.

    `by_time`: an instruction stands for a nanosecond; `only_faults`: hits are not in it.
    """

    name: str
    read: Reader
    by_time: bool = False
    knows_writes: bool = True
    only_faults: bool = False


PAGE_ROWS = Format("page format", page_rows.blocks)
REQUESTS = Format("CSV of requests", requests.blocks, by_time=True)
CHAMPSIM = Format("ChampSim", champsim.blocks)
PERF_TRACE = Format(
    "perf trace", faults.perf_trace, by_time=True, knows_writes=False, only_faults=True
)
FAULT_EVENTS = Format("page-fault events", faults.events, by_time=True, only_faults=True)
MARKED: dict[Format, bytes] = {
    Format("lackey", lackey.blocks): rb"^(?:I  | [LSM] |==\d+==|--\d+--)",
    Format("pinatrace", pin.blocks): rb"^(?:0x[0-9a-f]+: [RW] |#eof$|# Memory Access Trace)",
    Format("drmemtrace view", drmemtrace.view): rb" byte\(s\) @ 0x|<marker: |^Output format:$",
    Format("DynamoRIO memtrace", drmemtrace.samples): rb"^Format: <",
    Format("Ramulator", ramulator.blocks): (
        rb"^(?:\d{1,15} \d{1,15}(?: \d{1,15})?|0x[0-9a-fA-F]+ [RW]|(?:LD|ST) (?:0x)?[0-9a-f]+)\s*$"
    ),
    PERF_TRACE: rb"(?:min|maj)fault \[",
    FAULT_EVENTS: (
        rb"\b(?:page-|minor-|min-|major-|maj-)faults(?::\w+)?:|\bpage_fault_(?:user|kernel):"
        rb"|\bkvm_page_fault:"
    ),
    Format("userfaultfd log", faults.userfaults, by_time=True, only_faults=True): (
        rb"UFFD_EVENT_PAGEFAULT|postcopy_ram_fault_thread_request"
    ),
    Format("DAMON events", damon.events, by_time=True, knows_writes=False): (
        rb"\bdamon_aggregated: |\bdamos_before_apply: "
    ),
    Format("DAMON raw form", damon.raw, by_time=True, knows_writes=False): (
        rb"^(?:base_time_absolute|monitoring_start):"
    ),
    Format("DAMON record", damon.records, by_time=True, knows_writes=False): (
        rb'\A\s*\[\s*\{[^\0]{0,4000}"snapshots"'
    ),
}
"""Formats of lines, each with what marks it."""
LIKELY = {
    PERF_TRACE: rb"^[ \t]*\d+\.\d{3} \([^()\n]*\): \S",
    FAULT_EVENTS: rb"^[ \t]*\S.*[ \t]\d+\.\d+:[ \t]+[\w:-]+:\s",
}
"""Formats in which much else may stand before the first fault, by how that looks."""
FORMATS = (PAGE_ROWS, *MARKED, REQUESTS, CHAMPSIM)

_BINARY = {
    b"PERFILE2": "perf.data: print it with perf script -F comm,tid,time,event,addr",
    b"\x17\x08\x44tracing": "a file of trace-cmd: print it with trace-cmd report",
    b"PK\x03\x04": "a zip archive: unpack it; of drmemtrace, print it with -tool view",
    b"\x7fELF": "a program: record what it does, see docs/how-to/bring-a-trace.md",
}
"""First bytes of files that hold traces and are none, with what to do."""


def read_blocks(name: str, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """The blocks of a text that comes in chunks; DataError at the first line that is not valid."""
    return detected(name, chunks)[1]


def detected(name: str, chunks: Iterator[bytes]) -> tuple[Format, Iterator[TraceBlock]]:
    """The format of a file that comes in chunks, and its blocks."""
    begun = next(chunks, b"")
    if not begun:
        raise _nothing(name)
    form = _format(name, begun)
    return form, _some(name, form.read(name, begun, chunks))


def _some(name: str, blocks: Iterator[TraceBlock]) -> Iterator[TraceBlock]:
    """The blocks that have rows; DataError if none has."""
    filled = (block for block in blocks if len(block.page))
    first = next(filled, None)
    if first is None:
        raise _nothing(name)
    yield from chain((first,), filled)


def _nothing(name: str) -> DataError:
    return DataError(
        f"{name}: no accesses in this trace: it is empty, cut short, or of other events;"
        " docs/how-to/bring-a-trace.md says how to record"
    )


def _format(name: str, begun: bytes) -> Format:
    first = begun.partition(b"\n")[0]
    if begun.startswith(codecs.BOM_UTF8):
        raise DataError(f"{name}:1: begins with a byte order mark: save it as UTF-8 without one")
    known = next((what for magic, what in _BINARY.items() if begun.startswith(magic)), None)
    if known is not None:
        raise DataError(f"{name}: a binary file, {known}")
    if b"\0" in begun:
        return _binary(name, begun)
    if first.endswith(b"\r"):
        raise DataError(f"{name}:1: its lines end in CR LF: convert them to LF, as dos2unix does")
    if requests.is_requests(first):
        return REQUESTS
    if page_rows.is_header(first):
        return PAGE_ROWS
    marked = _marked(begun[:_GLANCE_BYTES]) or _marked(begun)
    if marked is not None:
        return marked
    if page_rows.is_row(first):
        return PAGE_ROWS
    likely = _marked(begun[:_GLANCE_BYTES], LIKELY)
    if likely is not None:
        return likely
    names = ", ".join(one.name for one in FORMATS)
    raise DataError(
        f"{name}:1: {shown(first)} is of no format that is read ({names});"
        " docs/how-to/bring-a-trace.md says how to record each"
    )


def _binary(name: str, begun: bytes) -> Format:
    if champsim.is_champsim(begun):
        return CHAMPSIM
    raise DataError(
        f"{name}: not a text file: a binary file, and none of ChampSim; print what it holds as"
        " text, or unpack it (gzip, bzip2, xz, zstd and zlib are unpacked here)"
    )


def _marked(begun: bytes, marks: Mapping[Format, bytes] = MARKED) -> Format | None:
    """The format whose mark comes first."""
    places = (
        (found.start(), form)
        for form, mark in marks.items()
        if (found := re.search(mark, begun, re.MULTILINE))
    )
    return min(places, key=lambda place: place[0], default=(0, None))[1]
