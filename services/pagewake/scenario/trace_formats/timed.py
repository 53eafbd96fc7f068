"""What formats have in common whose lines say when: faults, requests.

A nanosecond stands for an instruction, so a replay with `cpi = 1` keeps the recorded times.  Every
access is an instruction of its own: what happened at one time, or at none that is known, follows
one nanosecond apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pagewake.errors import DataError
from pagewake.scenario.trace_formats.blocks import (
    OF_ANOTHER_SPACE,
    PAGE_SHIFT,
    TraceBlock,
    single,
)
from pagewake.scenario.trace_formats.lines import numbered, shown, whole_lines

NS_PER_S = 1_000_000_000
_BACK_MAX_NS = NS_PER_S
"""Lines of several CPUs are a little out of order; more than a second is another recording."""
_SPACES_MAX = 255
"""Page numbers have 60 bits, of which an address takes 52."""


class Access(NamedTuple):
    """What a line says: when (None: it does not say), which page, and whether it writes."""

    time_ns: int | None
    page: int
    write: bool


class WrongLineError(Exception):
    """A line that is meant for an access and is none; says what it is instead."""


def nanoseconds(seconds: bytes) -> int:
    """A decimal number of seconds, without rounding."""
    whole, _, rest = seconds.partition(b".")
    return int(whole) * NS_PER_S + int(rest[:9].ljust(9, b"0") or 0)


class Spaces:
    """Numbers of pages by what they are offsets of: a file, a target."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def page(self, space: bytes, address: int) -> int:
        """The page of an address; b"" is the process's own addresses."""
        if not space:
            return address >> PAGE_SHIFT
        number = self._known.setdefault(space, len(self._known) + 1)
        if number > _SPACES_MAX:
            raise WrongLineError(f"the page of the {number}th file: {_SPACES_MAX} are told apart")
        return number << OF_ANOTHER_SPACE | address >> PAGE_SHIFT


class _Clock:
    """Turns times into instruction counts, each above the one before."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._latest = 0
        self._icount = 0

    def icount(self, time_ns: int | None) -> int:
        if time_ns is None:
            self._icount += 1
            return self._icount
        if self._first is None:
            self._first = self._latest = time_ns
        if time_ns < self._latest - _BACK_MAX_NS:
            raise WrongLineError(
                f"{(self._latest - time_ns) / NS_PER_S:.1f} s before a line above it: read one"
                " recording at a time, in order of time"
            )
        self._latest = max(self._latest, time_ns)
        self._icount = max(self._icount + 1, time_ns - self._first + 1)
        return self._icount


def accesses(
    name: str,
    begun: bytes,
    chunks: Iterator[bytes],
    parse: Callable[[bytes], Access | None],
) -> Iterator[TraceBlock]:
    """The accesses that `parse` finds in lines; None for a line that has none."""
    clock = _Clock()
    for first_line, text in whole_lines(name, begun, chunks):
        rows: list[tuple[int, int, bool]] = []
        for number, line in numbered(name, first_line, text):
            try:
                found = parse(line)
                if found is not None:
                    rows.append((clock.icount(found.time_ns), found.page, found.write))
            except WrongLineError as error:
                raise DataError(f"{name}:{number}: {shown(line)} is {error}") from None
        icount, page, write = np.array(rows, np.int64).reshape(-1, 3).T
        yield single(icount, page, write.astype(np.bool_))
