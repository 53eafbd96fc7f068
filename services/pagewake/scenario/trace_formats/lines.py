"""Lines of text as numpy arrays: where they begin and end, and the numbers in them.

Numbers are read by arithmetic on eight characters at a time, which is what makes a trace of
hundreds of megabytes a matter of seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from pagewake.errors import DataError
from pagewake.scenario.trace_formats.blocks import Bools, Bytes, Ints, Words

_LONGEST_NUMBER = 15  # digits: that many of base 16 fit a signed 64-bit number
_LONGEST_LINE = 4096
"""A line is some tens of characters; a file without newlines must not be held in memory."""
_PAGE_DIGITS = 3  # of a hexadecimal address, those within a page
NEWLINE, SPACE = b"\n "


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


def marked(letters: bytes) -> Bools:
    """For every byte, whether it is one of the letters."""
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


def shown(line: bytes) -> str:
    """A line as messages have it: its beginning in quotes, or that it is no text."""
    text = line[:80].decode("utf-8", "replace").replace("\t", " ")
    if not text.isprintable() or text.count("\ufffd") * 4 > len(text):
        return "binary data"
    return f'"{line[:80].decode("utf-8", "backslashreplace")}"'


class Lines:
    """Whole lines of a file as bytes, with where each begins and ends."""

    def __init__(self, name: str, text: bytes, first_line: int) -> None:
        self.name = name
        self.first_line = first_line
        self.data: Bytes = np.frombuffer(text + b"\0\0\0", np.uint8)  # a line has four at least
        self.ends = np.flatnonzero(self.data == NEWLINE)
        self.starts = np.concatenate((np.zeros(1, np.int64), self.ends[:-1] + 1))
        self.numbers = _Numbers(text).read

    def line(self, row: int) -> bytes:
        """One line, without its end."""
        return bytes(self.data[self.starts[row] : self.ends[row]])

    def refuse(self, row: int, what: str) -> NoReturn:
        """Raise a DataError that shows the row and says what would be valid."""
        raise DataError(f"{self.name}:{self.first_line + row}: {shown(self.line(row))} is {what}")

    def refuse_first(self, bad: Bools, what: str, rows: Ints | None = None) -> None:
        """Refuse the first marked row, if there is one; `rows` are those that were looked at."""
        if bad.any():
            first = int(np.argmax(bad))
            self.refuse(first if rows is None else int(rows[first]), what)

    def marks(self, mark: int, per_line: int, chosen: Ints, what: str) -> Ints:
        """Positions of a character in the chosen lines, which must have exactly so many."""
        found = np.flatnonzero(self.data == mark)
        starts, ends = self.starts[chosen], self.ends[chosen]
        if len(found) == per_line * len(chosen):
            each: Ints = found.reshape(-1, per_line)
            if (each[:, 0] >= starts).all() and (each[:, -1] < ends).all():
                return each
        upto = np.searchsorted(found, ends)
        since = np.searchsorted(found, starts)
        wrong = upto - since != per_line
        if wrong.any():
            self.refuse(int(chosen[np.argmax(wrong)]), what)
        of_each: Ints = found[since[:, None] + np.arange(per_line)]
        return of_each

    def word_ends(self, starts: Ints) -> Ints:
        """Where the words end that begin at these positions."""
        ends = np.flatnonzero((self.data == NEWLINE) | (self.data == SPACE))
        return ends[np.searchsorted(ends, starts)]

    def pages(self, starts: Ints, ends: Ints) -> tuple[Ints, Bools]:
        """Pages of hexadecimal addresses of up to 16 digits, and which of them are none."""
        cuts = np.maximum(ends - _PAGE_DIGITS, starts)
        _, bad = self.numbers(cuts, ends, 16)
        small = cuts == starts
        page, bad_page = self.numbers(starts, np.where(small, ends, cuts), 16)
        return np.where(small, 0, page), bad | bad_page


def whole_lines(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Whole lines in pieces of a file, each with the number of its first line."""
    first_line, rest, chunk = 1, b"", begun
    while chunk:
        text, newline, rest = (rest + chunk).rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise DataError(f"{name}: not a text file: no end of line in {len(rest)} bytes")
        if newline:
            yield first_line, text + newline
            first_line += text.count(b"\n") + 1
        chunk = next(chunks, b"")
    if rest:
        yield first_line, rest + b"\n"


def numbered(name: str, first_line: int, text: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of a piece with their numbers; DataError at one that is too long to be one."""
    for number, line in enumerate(text.split(b"\n")[:-1], first_line):
        if len(line) > _LONGEST_LINE:
            raise DataError(
                f"{name}:{number}: {shown(line)} begins a line of {len(line)} bytes: it is torn"
            )
        yield number, line
