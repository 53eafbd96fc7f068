"""The text of page traces: `valgrind --tool=lackey --trace-mem=yes` output and its reductions.

Two formats, told apart by their first line:

- the page format, CSV with the header `icount,page,kind,count`: instructions so far, page number in
  hex, I (fetch), L (load), S (store) or M (load and store), and how many accesses the row stands
  for;
- native lackey text, `I  addr,size` and ` L addr,size` lines between valgrind's own `==pid==` ones.

Both become the same stream of numpy blocks.  A fetch is a read; only S and M write.  Lackey's
consecutive accesses to one page of one kind are merged, wherever the text was cut into chunks;
the rows of the page format stand as they are.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from pagewake.errors import DataError

HEADER = b"icount,page,kind,count"
_LONGEST_NUMBER = 15  # digits: that many of base 16 fit a signed 64-bit number
_LONGEST_LINE = 4096
"""A line is some tens of characters; a file without newlines must not be held in memory."""
_LARGEST_ACCESS = 512  # bytes, as in lackey itself
_COMMA, _NEWLINE, _SPACE, _FETCH = b",\n I"

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]


class TraceBlock(NamedTuple):
    """Some rows in order: instructions so far, page number, whether it writes, accesses it is."""

    icount: Ints
    page: Ints
    write: Bools
    accesses: Ints

    def part(self, start: int | None, stop: int | None) -> TraceBlock:
        """Some of the rows, as a slice has them."""
        which = slice(start, stop)
        return TraceBlock(
            self.icount[which], self.page[which], self.write[which], self.accesses[which]
        )


def read_blocks(name: str, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """The blocks of a text that comes in chunks; DataError at the first line that is not valid."""
    begun = next(chunks, b"")
    first = begun.partition(b"\n")[0]
    if begun.startswith(codecs.BOM_UTF8):
        raise DataError(f"{name}:1: begins with a byte order mark: save it as UTF-8 without one")
    if first.endswith(b"\r"):
        raise DataError(f"{name}:1: its lines end in CR LF: convert them to LF, as dos2unix does")
    parser = _CsvParser() if _is_csv(first) else _LackeyParser()
    empty = True
    for lines in _lines(name, parser, begun, chunks):
        block = parser.parse(lines)
        if len(block.page):
            empty = False
            yield block
    last = parser.rest()
    if len(last.page):
        yield last
    elif empty:
        raise DataError(f"{name}: no accesses in this trace")


def _is_csv(first: bytes) -> bool:
    """Whether the first line is meant for the page format's header, or is one of its rows."""
    columns = HEADER.split(b",")
    words = first.lower().replace(b";", b",").replace(b"\t", b",").split(b",")
    named = any(word.strip() in columns for word in words)
    return named or (first.count(b",") == len(columns) - 1 and first[:1] not in (b"=", b"-"))


class _Numbers:
    """Reads numbers out of a text by arithmetic on eight characters at a time.

    A character is looked up as the value of its digit first.  Little-endian words of eight such
    bytes then become numbers in three steps, each of which joins neighbouring lanes.
    """

    _FRONT = b"\0" * 16  # room before the text for the words of the first number

    def __init__(self, text: bytes) -> None:
        values = self._FRONT + text.translate(_DIGITS)
        self._words: Words = np.ndarray((len(values) - 7,), "<u8", values, strides=(1,))

    def read(self, starts: Ints, ends: Ints, base: int) -> tuple[Ints, Bools]:
        """The numbers between the positions, and which of them are none."""
        widths = ends - starts
        bad = (widths < 1) | (widths > _LONGEST_NUMBER)
        values = self._eight(ends + 8, widths, base, bad)
        if widths.max(initial=0) > 8:
            values += self._eight(ends, widths - 8, base, bad) * np.uint64(base**8)
        return values.astype(np.int64), bad

    def _eight(self, at: Ints, widths: Ints, base: int, bad: Bools) -> Words:
        digits: Words = self._words[at] & _LAST_BYTES[widths.clip(0, 8)]
        bad |= (digits + _OVER[base] & _HIGH_HALVES) != 0
        for lanes, bits, mask in _JOINS:
            digits = digits * np.uint64(base**lanes) + (digits >> bits) & mask
        return digits


def _digit_values() -> bytes:
    """The value of each hexadecimal digit; 128 for what is none."""
    values = bytearray([128]) * 256
    for digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
        for value, letter in enumerate(digits):
            values[letter] = value
    return bytes(values)


def _marked(letters: bytes) -> Bools:
    return np.isin(np.arange(256), list(letters))


_DIGITS = _digit_values()
_LAST_BYTES = np.array([(1 << 64) - (1 << 64 - 8 * n) for n in range(9)], np.uint64)
"""Words that keep the last n characters of eight."""
_OVER = {base: np.uint64(0x0101010101010101 * (16 - base)) for base in (10, 16)}
"""Added to eight digits, it brings those that are none of the base to 16 or more."""
_HIGH_HALVES = np.uint64(0xF0F0F0F0F0F0F0F0)
_JOINS = (
    (1, np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (2, np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (4, np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
)
_KINDS, _DATA_KINDS, _WRITES = _marked(b"ILSM"), _marked(b"LSM"), _marked(b"SM")


class _Lines:
    """Whole lines of a file as bytes, with where each begins and ends."""

    def __init__(self, name: str, text: bytes, first_line: int) -> None:
        self.name = name
        self.first_line = first_line
        self.data: Bytes = np.frombuffer(text + b"\0\0\0", np.uint8)  # a line has four at least
        self.ends = np.flatnonzero(self.data == _NEWLINE)
        self.starts = np.concatenate((np.zeros(1, np.int64), self.ends[:-1] + 1))
        self.numbers = _Numbers(text).read

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
        starts, ends = self.starts[chosen], self.ends[chosen]
        if len(commas) == per_line * len(chosen):
            each: Ints = commas.reshape(-1, per_line)
            if (each[:, 0] >= starts).all() and (each[:, -1] < ends).all():
                return each
        upto = np.searchsorted(commas, ends)
        since = np.searchsorted(commas, starts)
        wrong = upto - since != per_line
        if wrong.any():
            self.refuse(int(chosen[np.argmax(wrong)]), what)
        found: Ints = commas[since[:, None] + np.arange(per_line)]
        return found


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
        bad_kind = (commas[:, 2] != commas[:, 1] + 2) | ~_KINDS[kind]
        lines.refuse_first(bad_icount | bad_page | bad_count | bad_kind | (count < 1), self.valid)
        backwards = np.diff(icount, prepend=self.icount) < 0
        lines.refuse_first(backwards, "out of order: icount went back")
        self.icount = int(icount[-1])
        return TraceBlock(icount, page, _WRITES[kind], count)

    def rest(self) -> TraceBlock:
        """Nothing is held back."""
        return _NO_ROWS

    def header(self, name: str, line: bytes) -> bool:
        """Whether the first line is one to be skipped, which it must be; DataError if not."""
        if line != HEADER:
            shown = line[:80].decode("utf-8", "replace")
            if not shown.isprintable():
                raise DataError(f"{name}: not a text file: it does not begin with a line of text")
            raise DataError(
                f'{name}:1: "{shown}" is not the header of the page format, "{HEADER.decode()}":'
                " these four columns in this order"
            )
        return True


class _LackeyParser:
    """Accesses as valgrind's lackey prints them; the run of accesses under way is held back."""

    valid = 'not an access such as " L 1ffe,8" nor a "==pid==" line'

    def __init__(self) -> None:
        self.icount = 0
        self._held = _NO_ROWS

    def header(self, _name: str, _line: bytes) -> bool:
        """There is none."""
        return False

    def parse(self, lines: _Lines) -> TraceBlock:
        first = lines.data[lines.starts]
        remark = (first == ord("=")) | (first == ord("-")) | (lines.ends == lines.starts)
        rows = np.flatnonzero(~remark)
        starts, ends = lines.starts[rows], lines.ends[rows]
        commas = lines.commas(1, rows, self.valid)[:, 0]
        first, second = first[rows], lines.data[starts + 1]
        fetch = first == _FETCH
        kind_is_bad = ~_DATA_KINDS[second] | (first != _SPACE)
        bad = np.where(fetch, second != _SPACE, kind_is_bad) | (lines.data[starts + 2] != _SPACE)
        address, bad_address = lines.numbers(starts + 3, commas, 16)
        size, bad_size = lines.numbers(commas + 1, ends, 10)
        bad |= bad_address | bad_size | (size < 1) | (size > _LARGEST_ACCESS)
        if bad.any():
            lines.refuse(int(rows[np.argmax(bad)]), self.valid)
        icount = self.icount + np.cumsum(fetch, dtype=np.int64)
        self.icount = int(icount[-1]) if len(icount) else self.icount
        return self._merged(icount, address >> 12, _WRITES[second] & ~fetch)

    def _merged(self, icount: Ints, page: Ints, write: Bools) -> TraceBlock:
        """Runs of one page and kind that are over, each as its first access."""
        both = page * 2 + write
        new = np.flatnonzero(np.diff(both, prepend=self._held_both()))
        cuts = np.append(new, len(page))
        held = self._held._replace(accesses=self._held.accesses + cuts[0])
        block = join((held, TraceBlock(icount[new], page[new], write[new], np.diff(cuts))))
        self._held = block.part(-1, None)
        return block.part(None, -1)

    def _held_both(self) -> int:
        held = self._held
        return int(held.page[0]) * 2 + int(held.write[0]) if len(held.page) else -1

    def rest(self) -> TraceBlock:
        """The last run."""
        return self._held


def join(blocks: Sequence[TraceBlock]) -> TraceBlock:
    """The rows of several blocks as one."""
    return TraceBlock(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


_NONE = np.zeros(0, np.int64)
_NO_ROWS = TraceBlock(_NONE, _NONE, np.zeros(0, np.bool_), _NONE)


def _lines(
    name: str, parser: _CsvParser | _LackeyParser, begun: bytes, chunks: Iterator[bytes]
) -> Iterator[_Lines]:
    first_line, rest, chunk = 1, b"", begun
    while chunk:
        text, newline, rest = (rest + chunk).rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise DataError(f"{name}: not a text file: no end of line in {len(rest)} bytes")
        if newline:
            yield from _whole(name, parser, text + newline, first_line)
            first_line += text.count(b"\n") + 1
        chunk = next(chunks, b"")
    if rest:
        yield from _whole(name, parser, rest + b"\n", first_line)


def _whole(
    name: str, parser: _CsvParser | _LackeyParser, text: bytes, first_line: int
) -> Iterator[_Lines]:
    if first_line == 1:
        head, _, after = text.partition(b"\n")
        if parser.header(name, head):
            text, first_line = after, 2
    if text:
        yield _Lines(name, text, first_line)
