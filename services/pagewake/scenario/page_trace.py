"""Page traces of real programs: `valgrind --tool=lackey --trace-mem=yes` output and its reductions.

Two formats, plain or gzip, told apart by their content:

- the page format, CSV with the header `icount,page,kind,count`: instructions so far, page number in
  hex, I (fetch), L (load), S (store) or M (load and store), and how many accesses the row stands
  for;
- native lackey text, `I  addr,size` and ` L addr,size` lines between valgrind's own `==pid==` ones.

Both become the same stream of numpy blocks. A fetch is a read; only S and M write. Lackey's
consecutive accesses to one page of one kind are merged, which changes no page's fate. Files are
streamed, never held whole. A trace source holds a name, so it pickles.
"""

from __future__ import annotations

import codecs
import functools
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from pagewake.errors import DataError
from pagewake.scenario.library import trace_path

HEADER = b"icount,page,kind,count"
_CHUNK_BYTES = 1 << 20  # parsed at a time; chosen: numpy is at its speed, and memory stays small
_LONGEST_NUMBER = 15  # digits: that many of base 16 fit a signed 64-bit number
_LONGEST_LINE = 4096
"""A line is some tens of characters; a file without newlines must not be held in memory."""
_LARGEST_ACCESS = 512  # bytes, as in lackey itself
_BAD_DIGIT = 255  # in the table of digit values: no digit has it
_COMMA, _NEWLINE, _SPACE, _FETCH = b",\n I"

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class TraceBlock(NamedTuple):
    """Some rows in order: instructions so far (int64), page number (int64), whether it writes."""

    icount: Ints
    page: Ints
    write: Bools


class TraceSummary(NamedTuple):
    """Distinct pages, rows, and instructions up to the last row."""

    pages: int
    rows: int
    instructions: int


def _digit_values() -> Bytes:
    values = np.full(256, _BAD_DIGIT, dtype=np.uint8)
    for digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
        for value, letter in enumerate(digits):
            values[letter] = value
    return values


_DIGITS = _digit_values()


class _Lines:
    """Whole lines of a file as bytes, with where each begins and ends."""

    def __init__(self, name: str, text: bytes, first_line: int) -> None:
        self.name = name
        self.first_line = first_line
        self.data = np.frombuffer(text + b"\0" * _LONGEST_NUMBER, dtype=np.uint8)
        self.ends = np.flatnonzero(self.data == _NEWLINE)
        self.starts = np.concatenate((np.zeros(1, np.int64), self.ends[:-1] + 1))

    def refuse(self, row: int, what: str) -> NoReturn:
        """Raise a DataError that shows the row and says what would be valid."""
        line = bytes(self.data[self.starts[row] : self.ends[row]])
        shown = line[:80].decode("utf-8", "backslashreplace")
        raise DataError(f'{self.name}:{self.first_line + row}: "{shown}" is {what}')

    def refuse_first(self, bad: Bools, what: str) -> None:
        """Refuse the first marked row, if there is one."""
        if bad.any():
            self.refuse(int(np.argmax(bad)), what)

    def commas(self, per_line: int, chosen: Ints, what: str) -> Ints:
        """Positions of the commas of the chosen lines, which must have exactly so many."""
        commas = np.flatnonzero(self.data == _COMMA)
        upto = np.searchsorted(commas, self.ends[chosen])
        since = np.searchsorted(commas, self.starts[chosen])
        wrong = upto - since != per_line
        if wrong.any():
            self.refuse(int(chosen[np.argmax(wrong)]), what)
        chosen_commas: Ints = commas[since[:, None] + np.arange(per_line)]
        return chosen_commas

    def numbers(self, starts: Ints, ends: Ints, base: int) -> tuple[Ints, Bools]:
        """The numbers between the positions, and which of them are none."""
        widths = ends - starts
        bad = (widths < 1) | (widths > _LONGEST_NUMBER)
        values = np.zeros(len(starts), dtype=np.int64)
        for place in range(min(int(widths.max(initial=0)), _LONGEST_NUMBER)):
            digits = _DIGITS[self.data[starts + place]]
            live = widths > place
            bad |= live & (digits >= base)
            values = np.where(live, values * base + digits, values)
        return values, bad


class _CsvParser:
    """Rows of the page format, after the header."""

    valid = "not a row such as 1024,4a21,L,3 (icount,page,kind,count)"

    def __init__(self) -> None:
        self.icount = 0

    def parse(self, lines: _Lines) -> TraceBlock:
        rows = np.arange(len(lines.ends))
        commas = lines.commas(3, rows, self.valid)
        icount, bad_icount = lines.numbers(lines.starts, commas[:, 0], 10)
        page, bad_page = lines.numbers(commas[:, 0] + 1, commas[:, 1], 16)
        count, bad_count = lines.numbers(commas[:, 2] + 1, lines.ends, 10)
        kind = lines.data[commas[:, 1] + 1]
        bad_kind = (commas[:, 2] != commas[:, 1] + 2) | ~np.isin(kind, list(b"ILSM"))
        lines.refuse_first(bad_icount | bad_page | bad_count | bad_kind | (count < 1), self.valid)
        backwards = np.diff(icount, prepend=self.icount) < 0
        lines.refuse_first(backwards, "out of order: icount went back")
        self.icount = int(icount[-1])
        return TraceBlock(icount, page, np.isin(kind, list(b"SM")))


class _LackeyParser:
    """Parses accesses as valgrind's lackey prints them."""

    valid = 'not an access such as " L 1ffe,8" nor a "==pid==" line'

    def __init__(self) -> None:
        self.icount = 0

    def parse(self, lines: _Lines) -> TraceBlock:
        first = lines.data[lines.starts]
        remark = (first == ord("=")) | (first == ord("-")) | (lines.ends == lines.starts)
        rows = np.flatnonzero(~remark)
        starts, ends = lines.starts[rows], lines.ends[rows]
        commas = lines.commas(1, rows, self.valid)[:, 0]
        fetch = first[rows] == _FETCH
        letter = np.where(fetch, lines.data[starts + 1], first[rows])
        kind = np.where(fetch, _FETCH, lines.data[starts + 1])
        bad = (letter != _SPACE) | (lines.data[starts + 2] != _SPACE)
        bad |= ~fetch & ~np.isin(kind, list(b"LSM"))
        address, bad_address = lines.numbers(starts + 3, commas, 16)
        size, bad_size = lines.numbers(commas + 1, ends, 10)
        bad |= bad_address | bad_size | (size < 1) | (size > _LARGEST_ACCESS)
        if bad.any():
            lines.refuse(int(rows[np.argmax(bad)]), self.valid)
        icount = self.icount + np.cumsum(fetch, dtype=np.int64)
        self.icount = int(icount[-1]) if len(icount) else self.icount
        return _merged(TraceBlock(icount, address >> 12, np.isin(kind, list(b"SM"))))


def _merged(block: TraceBlock) -> TraceBlock:
    new = np.ones(len(block.page), dtype=np.bool_)
    new[1:] = (np.diff(block.page) != 0) | (block.write[1:] != block.write[:-1])
    return TraceBlock(block.icount[new], block.page[new], block.write[new])


class _Form(NamedTuple):
    """How a trace file is written: which of the two formats, and whether gzip packed it."""

    is_csv: bool
    zipped: bool


def form_of(path: Path) -> _Form:
    """Tell the form from the beginning of the file; OSError if it cannot be read."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    beginning = next(_chunks(path, zipped), b"")
    if beginning.startswith(codecs.BOM_UTF8):
        raise DataError(f"{path}:1: begins with a byte order mark: save it as UTF-8 without one")
    if beginning.partition(b"\n")[0].endswith(b"\r"):
        raise DataError(f"{path}:1: its lines end in CR LF: convert them to LF, as dos2unix does")
    return _Form(beginning.lstrip().startswith(b"icount"), zipped)


class TraceSource(NamedTuple):
    """A trace by the name a loaded scenario has for it: a path, or `builtin:NAME`."""

    name: str

    def open(self) -> Iterator[TraceBlock]:
        """The whole trace, block by block; DataError at the first line that is not one."""
        return read_trace(trace_path(self.name))


def read_trace(path: Path) -> Iterator[TraceBlock]:
    """The blocks of a trace file; DataError at the first line that is not valid."""
    form = form_of(path)
    parser = _CsvParser() if form.is_csv else _LackeyParser()
    empty = True
    for lines in _lines(path, form):
        block = parser.parse(lines)
        if len(block.page):
            empty = False
            yield block
    if empty:
        raise DataError(f"{path}: no accesses in this trace")


def _lines(path: Path, form: _Form) -> Iterator[_Lines]:
    first_line, rest = 1, b""
    for chunk in _chunks(path, form.zipped):
        text, newline, rest = (rest + chunk).rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise DataError(f"{path}: not a text file: no end of line in {len(rest)} bytes")
        if newline:
            yield from _whole(path, form, text + newline, first_line)
            first_line += text.count(b"\n") + 1
    if rest:
        yield from _whole(path, form, rest + b"\n", first_line)


def _whole(path: Path, form: _Form, text: bytes, first_line: int) -> Iterator[_Lines]:
    if form.is_csv and first_line == 1:
        header, _, text = text.partition(b"\n")
        if header != HEADER:
            shown = header[:80].decode("utf-8", "replace")
            if not shown.isprintable():
                raise DataError(f"{path}: not a text file: it does not begin with a line of text")
            raise DataError(f'{path}:1: "{shown}" is not the header "{HEADER.decode()}"')
        first_line = 2
    if text:
        yield _Lines(str(path), text, first_line)


def _open(path: Path, zipped: bool) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if zipped else path.open("rb")


def _chunks(path: Path, zipped: bool) -> Iterator[bytes]:
    try:
        with _open(path, zipped) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is torn or damaged ({error})") from None


def summary(path: Path) -> TraceSummary:
    """Count what is in a trace file; it is read once per file and version of it."""
    state = path.stat()
    return _summary(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=64)
def _summary(path: Path, _mtime_ns: int, _size_bytes: int) -> TraceSummary:
    pages = np.zeros(0, dtype=np.int64)
    rows = instructions = 0
    for block in read_trace(path):
        pages = np.union1d(pages, block.page)
        rows += len(block.page)
        instructions = int(block.icount[-1])
    return TraceSummary(len(pages), rows, instructions)
