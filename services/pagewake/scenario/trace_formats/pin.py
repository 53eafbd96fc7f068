"""`pinatrace.out`, which the example tools of Intel's Pin write: loads and stores of a program.

A line is `IP: R ADDRESS` or `IP: W ADDRESS`, in hexadecimal; the tool of SimpleExamples adds size
and value.  Comments begin with #.  An instruction's own page is fetched too, and instructions
without an access to memory are not in the file, so they do not count.  A line of the address of the
line before belongs to the same instruction if it is the write after a read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pagewake.scenario.trace_formats.blocks import Bools, Ints, Runs, TraceBlock
from pagewake.scenario.trace_formats.lines import SPACE, Lines, whole_lines

_COLON, _X, _ZERO, _COMMENT, _READ, _WRITE = b":x0#RW"
_VALID = 'not an access such as "0x401a2c: R 0x7ffd9fc8" nor a comment (#)'


def blocks(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """Runs of accesses to one page of one kind."""
    runs, order = Runs(), _Order()
    for first_line, text in whole_lines(name, begun, chunks):
        yield runs.merged(*order.fetched(*_accesses(Lines(name, text, first_line))))
    yield runs.rest


def _accesses(lines: Lines) -> tuple[Ints, Ints, Ints, Bools]:
    """Of each access the address and page of its instruction, its page, and whether it writes."""
    rows = np.flatnonzero((lines.data[lines.starts] != _COMMENT) & (lines.ends > lines.starts))
    starts = lines.starts[rows]
    colons = lines.marks(_COLON, 1, rows, _VALID)[:, 0]
    kinds = lines.data[colons + 2]
    exes = np.append(np.flatnonzero(lines.data == _X), len(lines.data) - 1)
    marks = exes[np.searchsorted(exes, colons)]
    ends = lines.word_ends(np.minimum(marks, lines.ends[rows]))
    bad = (kinds != _READ) & (kinds != _WRITE)
    bad |= (lines.data[starts] != _ZERO) | (lines.data[starts + 1] != _X)
    for blank in (colons + 1, colons + 3, marks - 2):
        bad |= lines.data[blank] != SPACE
    bad |= (lines.data[marks - 1] != _ZERO) | (marks > lines.ends[rows])
    code, bad_code = lines.pages(starts + 2, colons)
    page, bad_page = lines.pages(marks + 1, ends)
    lines.refuse_first(bad | bad_code | bad_page, _VALID, rows)
    low, _ = lines.numbers(np.maximum(colons - 3, starts + 2), colons, 16)
    return code << 12 | low, code, page, kinds == _WRITE


class _Order:
    """Counts instructions, and puts the fetch of each before what it accesses."""

    def __init__(self) -> None:
        self._icount = 0
        self._last = (-1, True)

    def fetched(self, ip: Ints, code: Ints, page: Ints, write: Bools) -> tuple[Ints, Ints, Bools]:
        """Instructions so far, page and kind of every fetch and access."""
        if not len(ip):
            return ip, page, write
        was_ip, was_write = self._last
        same = np.diff(ip, prepend=was_ip) == 0
        after_read = ~np.concatenate(([was_write], write[:-1]))
        new = ~(same & write & after_read)
        self._last = (int(ip[-1]), bool(write[-1]))
        icount = self._icount + np.cumsum(new)
        self._icount = int(icount[-1])
        place = np.arange(len(ip)) + np.cumsum(new)
        fetches = place[new] - 1
        size = int(place[-1]) + 1
        pages, writes = np.empty(size, np.int64), np.zeros(size, np.bool_)
        counts = np.empty(size, np.int64)
        pages[place], writes[place], counts[place] = page, write, icount
        pages[fetches], counts[fetches] = code[new], icount[new]
        return counts, pages, writes
