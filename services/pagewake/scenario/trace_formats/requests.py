"""CSV of requests for objects, as libCacheSim reads and prints it: time, object, size, operation.

The header names the columns, in any order, with or without # before it.  Only the object is needed.
An object is a page, whatever its size; a column of addresses or of sectors of 512 bytes (lbn) says
where a request of so many bytes begins, which are then all pages from there on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pagewake.errors import DataError
from pagewake.scenario.trace_formats.blocks import PAGE_SHIFT, TraceBlock, single
from pagewake.scenario.trace_formats.lines import numbered, shown, whole_lines
from pagewake.scenario.trace_formats.timed import NS_PER_S, WrongLineError, nanoseconds

_SECTOR_SHIFT = 9
_OBJECTS = ("object", "obj", "obj_id", "objid", "object_id", "id", "key", "page", "pfn", "gfn")
_PLACES = {
    "address": 0, "addr": 0, "lbn": _SECTOR_SHIFT, "lba": _SECTOR_SHIFT, "sector": _SECTOR_SHIFT,
}  # fmt: skip
"""Columns of places, by how many bits make bytes of them."""
_TIMES = {
    "time": NS_PER_S, "timestamp": NS_PER_S, "clock_time": NS_PER_S, "time_s": NS_PER_S,
    "time_ms": 1_000_000, "time_us": 1_000, "time_ns": 1,
}  # fmt: skip
"""Columns of times, by the nanoseconds of one; libCacheSim's are seconds."""
_SIZES = ("size", "obj_size", "object_size", "length", "bytes")
_OPERATIONS = ("op", "operation", "opcode", "type", "rw")
_READS = (b"r", b"read", b"get", b"gets", b"load", b"l", b"0", b"28", b"88")
_WRITES = (
    b"w", b"write", b"set", b"put", b"store", b"s", b"add", b"replace", b"cas", b"append",
    b"prepend", b"delete", b"1", b"2a", b"8a",
)  # fmt: skip
"""By name, by number, and as SCSI commands: READ(10) is 28, WRITE(10) is 2a."""
_IS_WRITE = dict.fromkeys(_READS, False) | dict.fromkeys(_WRITES, True)
_OF_PAGE_ROWS = ("icount", "kind", "count")
_SPAN_MAX_PAGES = 1 << 20
_LARGEST = 1 << 60


class _Columns(NamedTuple):
    """Where a row has what; -1 for what it does not have."""

    separator: bytes
    columns: int
    time: int
    unit_ns: int
    object: int
    shift: int
    is_place: bool
    size: int
    operation: int


def is_requests(first: bytes) -> bool:
    """Whether the first line names columns of requests."""
    return _columns(first) is not None


def _columns(first: bytes) -> _Columns | None:
    separator = next((one for one in (b",", b";", b"\t") if one in first), b",")
    words = [word.strip().lower() for word in first.lstrip(b"# ").split(separator)]
    names = [word.decode("ascii", "replace") for word in words]
    place, objects = _first(names, _PLACES), _first(names, _OBJECTS)
    ours = any(name in names for name in _OF_PAGE_ROWS)
    if max(place, objects) < 0 or ours or not all(name.isidentifier() for name in names):
        return None
    time, is_place = _first(names, _TIMES), objects < 0
    return _Columns(
        separator,
        len(names),
        time,
        _TIMES[names[time]] if time >= 0 else 0,
        place if is_place else objects,
        _PLACES[names[place]] if is_place else 0,
        is_place,
        _first(names, _SIZES),
        _first(names, _OPERATIONS),
    )


def _first(names: list[str], wanted: Mapping[str, int] | tuple[str, ...]) -> int:
    return next((place for place, name in enumerate(names) if name in wanted), -1)


def blocks(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """A row for every page of every request."""
    columns = _columns(begun.partition(b"\n")[0])
    assert columns is not None
    rows = _Requests(columns)
    for first_line, text in whole_lines(name, begun, chunks):
        found: list[tuple[int, int, int, bool]] = []
        for number, line in numbered(name, first_line, text):
            if number == 1:
                continue
            try:
                found.append(rows.read(line))
            except WrongLineError as error:
                raise DataError(f"{name}:{number}: {shown(line)} is {error}") from None
        yield _spread(found)


def _spread(found: list[tuple[int, int, int, bool]]) -> TraceBlock:
    """Requests of several pages, page by page."""
    icount, page, span, write = np.array(found, np.int64).reshape(-1, 4).T
    behind = np.cumsum(span)
    inside = np.arange(int(span.sum())) - np.repeat(behind - span, span)
    return single(
        np.repeat(icount, span) + inside,
        np.repeat(page, span) + inside,
        np.repeat(write, span).astype(np.bool_),
    )


class _Requests:
    """Reads rows one after the other; each page is an instruction of its own."""

    def __init__(self, columns: _Columns) -> None:
        self._columns = columns
        self._first_ns: int | None = None
        self._icount = 0

    def read(self, line: bytes) -> tuple[int, int, int, bool]:
        """Instructions so far, first page, pages, and whether it writes."""
        its = self._columns
        words = [word.strip() for word in line.split(its.separator)]
        if len(words) != its.columns:
            raise WrongLineError(f"not a row of {its.columns} columns, as line 1 names them")
        page, span = self._pages(words)
        icount = self._icount + 1
        if its.time >= 0:
            icount = max(icount, self._time_ns(words[its.time]))
        self._icount = icount + span - 1
        return icount, page, span, its.operation >= 0 and _write(words[its.operation])

    def _pages(self, words: list[bytes]) -> tuple[int, int]:
        its = self._columns
        value = _whole(words[its.object], "object")
        if not its.is_place:
            return value, 1
        begin = value << its.shift
        size = max(1, _whole(words[its.size], "size")) if its.size >= 0 else 1
        span = (begin + size - 1 >> PAGE_SHIFT) - (begin >> PAGE_SHIFT) + 1
        if span > _SPAN_MAX_PAGES:
            raise WrongLineError(f"a request of {span} pages, more than {_SPAN_MAX_PAGES}")
        return begin >> PAGE_SHIFT, span

    def _time_ns(self, word: bytes) -> int:
        if not word.replace(b".", b"", 1).isdigit():
            raise WrongLineError("not a row with a time: a number was expected there")
        time_ns = nanoseconds(word) * self._columns.unit_ns // NS_PER_S
        if self._first_ns is None:
            self._first_ns = time_ns
        return time_ns - self._first_ns + 1


def _whole(word: bytes, what: str) -> int:
    digits = word[2:] if word[:2] in (b"0x", b"0X") else b""
    try:
        value = int(digits, 16) if digits else int(word)
    except ValueError:
        value = -1
    if not 0 <= value < _LARGEST:
        raise WrongLineError(f"not a row with a number for its {what}: give names numbers first")
    return value


def _write(word: bytes) -> bool:
    try:
        return _IS_WRITE[word.lower()]
    except KeyError:
        raise WrongLineError(
            f"of the operation {shown(word)}, which is not known: use r or w"
        ) from None
