"""The touches a guest task is about to make, looked at and executed in blocks.

Touch i of a stream starts at CPU time c_i of the task (whole ns, never decreasing) and executes
over [c_i, c_i+1).  A touch of a mapped page needs no exit and only sets what hardware sets: the
accessed bit and, for a write, the dirty bit.  A touch of an unmapped page leaves the guest, and is
made again, at the same c_i, once the page is mapped (semantics 3.1; design, "Windows").

So a scheduler asks for the CPU time to the next miss and lets the task run that long.  Both are
array operations over a buffer of coming touches: a run of hits costs per block, not per touch.
`_clean` is the index below which every touch not yet executed is known to be mapped: each touch is
looked up once, first in short steps, so that a thrashing task never pays for a long one.  Results
depend neither on the steps nor on how time is cut into calls; the buffer can be dropped at will.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.kvm.page_table import Pages
from pagewake.simtime.ports import NEVER_NS
from pagewake.simtime.state import Saved, attributes

STEP_TOUCHES_MIN: Final = 8
"""So few are looked up one by one, which is cheaper than an array operation."""
STEP_TOUCHES_MAX: Final = 16_384
RELEASE_TOUCHES_MIN: Final = 512

ENDLESS: Final = NEVER_NS
"""The number of touches of a stream that goes on for ever."""

Rows = tuple[NDArray[Any], ...]
"""Parallel columns of coming touches: gfns, then (unless all are alike) whether each writes."""


class Region(NamedTuple):
    """`pages` gfns from `base` on."""

    base: int
    pages: int


@mypyc_attr(allow_interpreted_subclasses=True)
class AccessStream(Saved, ABC):
    """What one task does with its CPU time, as far as memory is concerned."""

    __slots__ = ("cpu_ns", "touches")

    cpu_ns: int
    """CPU time of the task so far."""
    touches: int
    """Touches executed so far, which is the index of the next one."""

    def __init__(self) -> None:
        self.cpu_ns = 0
        self.touches = 0

    @abstractmethod
    def cpu_until_miss(self, limit_ns: int) -> int:
        """CPU time from now to the next touch of an unmapped page.

        `limit_ns` if none starts strictly before it; never beyond the end of the stream.
        """

    @abstractmethod
    def advance(self, ran_ns: int) -> None:
        """Consume CPU time: execute all touches with cpu_ns <= c_i < cpu_ns + ran_ns."""

    @abstractmethod
    def current(self) -> tuple[int, bool]:
        """(gfn, is write) of the touch that starts exactly now, which is a miss.

        Where several start now, the first whose page is unmapped.
        """

    @abstractmethod
    def remaining_ns(self) -> int | None:
        """CPU time until the stream is finished; None = never."""

    @abstractmethod
    def unmapped(self, gfns: Sequence[int] | NDArray[Any]) -> None:
        """These pages lost their mapping: what is known of touches not yet executed is void."""

    @property
    def passes(self) -> int | None:
        """How often it was through all there is to touch; None where that has no order."""
        return None


@mypyc_attr(allow_interpreted_subclasses=True)
class BufferedStream(AccessStream):
    """An access stream with a buffer of coming touches, filled by its subclass."""

    __slots__ = (
        "_clean",
        "_count",
        "_first",
        "_gfns",
        "_rows",
        "_size",
        "_step",
        "_writing",
        "region",
        "view",
    )

    def __init__(self, view: Pages, region: Region, count: int | None, writing: bool) -> None:
        super().__init__()
        assert region.pages >= 1
        self.view = view
        self.region = region
        self._count = ENDLESS if count is None else count
        self._writing = writing
        self._clean = 0
        self._step = STEP_TOUCHES_MIN
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        """All but the buffer and what was learned from it."""
        return {name: getattr(self, name) for name in attributes(self)} | self._cold()

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._forget()

    def _cold(self) -> dict[str, Any]:
        return {"_rows": (), "_gfns": None, "_clean": self.touches}

    # ------------------------------------------------------------------ what a subclass knows

    @abstractmethod
    def _start_ns(self, index: int) -> int:
        """c of touch `index`; the end of the stream for the index after the last."""

    @abstractmethod
    def _stop(self, target_ns: int) -> int:
        """How many buffered touches start before `target_ns`."""

    @abstractmethod
    def _generate(self, index: int) -> Rows:
        """Touches from `index` on, at least one; may be none for a stream that ends here."""

    @abstractmethod
    def ahead_max(self) -> int:
        """Touches that may be buffered before they are executed."""

    def _misses(self) -> bool:
        """Whether the last touch that was looked at missed, or one just before it."""
        return self._step == STEP_TOUCHES_MIN

    # ----------------------------------------------------------------------------- the stream

    def cpu_until_miss(self, limit_ns: int) -> int:
        cpu_ns = self.cpu_ns
        until_ns = cpu_ns + limit_ns
        mapped = self.view.mapped
        while True:
            index = self._clean
            start_ns = self._start_ns(index)
            if start_ns >= until_ns:
                return limit_ns
            if index == self._count:
                return start_ns - cpu_ns
            offset = index - self._first
            if not 0 <= offset < self._size:
                offset = self._load(index)
            if not mapped[self._gfns[offset]]:
                return start_ns - cpu_ns
            self._look_ahead(mapped, offset)

    def _look_ahead(self, mapped: bytearray, offset: int) -> None:
        """The touch at `offset` hits: see how many of those behind it do, too."""
        stop = min(offset + self._step, self._size)
        if self._step == STEP_TOUCHES_MIN:
            at = offset + 1
            while at < stop and mapped[self._gfns[at]]:
                at += 1
        else:
            found = np.frombuffer(mapped, np.uint8).take(self._rows[0][offset:stop])
            misses = found.tobytes().find(0)
            at = stop if misses < 0 else offset + misses
        self._clean += at - offset
        self._step = min(self._step * 8, STEP_TOUCHES_MAX) if at == stop else STEP_TOUCHES_MIN

    def advance(self, ran_ns: int) -> None:
        target_ns = self.cpu_ns + ran_ns
        index = self.touches
        start_ns = self._start_ns(index)
        while start_ns < target_ns:
            assert index != self._count, "a task ran beyond the end of its stream"
            offset = self._load(index)
            stop = self._stop(target_ns)
            self._execute(offset, stop)
            index = self.touches = self._first + stop
            start_ns = self._start_ns(index)
        self.cpu_ns = target_ns
        executed = index - self._first
        if executed >= RELEASE_TOUCHES_MIN or executed == self._size:
            self._release(executed)

    def _execute(self, offset: int, stop: int) -> None:
        if stop - offset <= STEP_TOUCHES_MIN:
            for at in range(offset, stop):
                self._execute_one(at)
            return
        pages = self._rows[0][offset:stop].astype(np.intp)
        view = self.view
        if self._first + stop > self._clean:
            mapped = np.frombuffer(view.mapped, np.uint8)
            assert mapped.take(pages).all(), "a task ran through a touch of an unmapped page"
            self._clean = self._first + stop
        pages += view.base
        np.frombuffer(view.accessed, np.uint8)[pages] = 1
        if self._writing:
            np.frombuffer(view.dirty, np.uint8)[pages] = 1
        elif len(self._rows) > 1:
            written = pages.take(np.flatnonzero(self._rows[1][offset:stop]))
            np.frombuffer(view.dirty, np.uint8)[written] = 1

    def _execute_one(self, offset: int) -> None:
        """What `_execute` does, without the price of array operations: a thrashing task's case."""
        gfn = self._gfns[offset]
        view = self.view
        if self._first + offset >= self._clean:
            assert view.mapped[gfn], "a task ran through a touch of an unmapped page"
            self._clean = self._first + offset + 1
        gfn += view.base
        view.accessed[gfn] = 1
        if self._writes(offset):
            view.dirty[gfn] = 1

    def current(self) -> tuple[int, bool]:
        index, now_ns = self.touches, self.cpu_ns
        assert self._start_ns(index) == now_ns, "no touch starts at this instant"
        mapped = self.view.mapped
        while True:
            offset = self._load(index)
            touch = self._gfns[offset], self._writes(offset)
            if not mapped[touch[0]] or self._start_ns(index + 1) != now_ns:
                return touch
            index += 1

    def _writes(self, offset: int) -> bool:
        return self._writing or (len(self._rows) > 1 and bool(self._rows[1][offset]))

    def unmapped(self, gfns: Sequence[int] | NDArray[Any]) -> None:
        base, pages = self.region
        if self._clean > self.touches and any(base <= gfn < base + pages for gfn in gfns):
            self._clean = self.touches

    # ----------------------------------------------------------------------------- the buffer

    def _load(self, index: int) -> int:
        """Have touch `index` in the buffer and return its place there."""
        if not 0 <= index - self._first < self._size:
            self._fill(index)
        return index - self._first

    def _fill(self, index: int) -> None:
        rows = self._generate(index)
        if not len(rows[0]):
            return
        executed = self.touches - self._first
        contiguous = index == self._first + self._size and 0 <= executed < self._size
        if contiguous and self._size - executed <= self.ahead_max():
            old = self._rows
            rows = tuple(np.concatenate((a[executed:], b)) for a, b in zip(old, rows, strict=True))
            index = self.touches
        self._hold(index, rows)

    def _hold(self, first: int, rows: Rows) -> None:
        self._first = first
        self._rows = rows
        self._gfns = rows[0].data
        self._size = len(rows[0])

    def _release(self, executed: int) -> None:
        """Let go of touches that are done, unless what stays costs more to copy."""
        if executed >= self._size:
            self._forget()
        elif self._size - executed <= executed:
            kept = tuple(column[executed:].copy() for column in self._rows)
            self._hold(self._first + executed, kept)

    def _forget(self) -> None:
        self._first = 0
        self._rows = ()
        self._gfns = memoryview(b"")
        self._size = 0
