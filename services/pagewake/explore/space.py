"""What a walk has found so far, compactly: ten million states take less than a gigabyte.

Of every state that was found a key of 64 bits is kept, and how it was reached: from which state, by
which choice.  Copies of states are kept as long as what follows is still to be found; they are much
alike, so those that wait for long are packed.
"""

from __future__ import annotations

import marshal
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from pagewake.explore.expand import NUMBERS, Copy, choice_at, key_of
from pagewake.explore.machine import MUST, Choice

MAY_FROM: Final = len(MUST) * NUMBERS
NO_STATE: Final = 0xFFFF_FFFF
CHUNK: Final = 64
"""States at a time: several milliseconds of work, so that handing over costs little."""
UNPACKED_MAX: Final = 16_384
"""So many copies wait as they are, some 20 MB; packing costs a tenth of the time of a state."""
SLOTS_MIN: Final = 1 << 12


class Chunk(NamedTuple):
    """States that wait, numbered one after the other: their copies, or those packed."""

    first: int
    states: int
    copies: list[Copy] | bytes

    def unpacked(self) -> Sequence[Copy]:
        """The copies."""
        if isinstance(self.copies, bytes):
            return marshal.loads(zlib.decompress(self.copies))  # type: ignore[no-any-return]  # noqa: S302 - own
        return self.copies


def packed(copies: list[Copy]) -> bytes:
    """For `Chunk`."""
    return zlib.compress(marshal.dumps(copies), 1)


class Seen:
    """Keys, numbered as they came: 8 bytes each, and 4 for each slot of an open hash of them."""

    def __init__(self, keys: Iterable[int] = ()) -> None:
        self.keys = array("Q")
        self._slots = array("I", [NO_STATE]) * SLOTS_MIN
        for key in keys:
            self.number_of(key)

    def __len__(self) -> int:
        return len(self.keys)

    def number_of(self, key: int) -> int:
        """The number of a key, which is new if it is the last."""
        slots, keys = self._slots, self.keys
        mask = len(slots) - 1
        at = key & mask
        while (number := slots[at]) != NO_STATE:
            if keys[number] == key:
                return number
            at = (at + 1) & mask
        number = slots[at] = len(keys)
        keys.append(key)
        if 3 * number > 2 * mask:
            self._grow()
        return number

    def _grow(self) -> None:
        slots = self._slots = array("I", [NO_STATE]) * (2 * len(self._slots))
        mask = len(slots) - 1
        for number, key in enumerate(self.keys):
            at = key & mask
            while slots[at] != NO_STATE:
                at = (at + 1) & mask
            slots[at] = number


class Queue:
    """States that wait to be expanded, in order, by chunks; the first chunk is one state.

    So the bounds are looked at early in every level.
    """

    def __init__(self, chunks: Iterable[Chunk] = ()) -> None:
        self._chunks: list[Chunk] = list(chunks)
        self._done = 0
        self._open: list[Copy] = []
        self._end = 0
        self._waiting = sum(chunk.states for chunk in self._chunks)
        if len(self._chunks) > 1 and self._chunks[-1].states < CHUNK:
            last = self._chunks.pop()
            self._open = list(last.unpacked())
            self._end = last.first + last.states

    def __len__(self) -> int:
        return self._waiting

    def append(self, state: int, copy: Copy) -> None:
        """One more, behind all others."""
        self._open.append(copy)
        self._end = state + 1
        self._waiting += 1
        if len(self._open) >= CHUNK or not self._chunks:
            self._close()

    def _close(self) -> None:
        if self._open:
            self._chunks.append(self._last())
            self._open = []

    def _last(self) -> Chunk:
        states = len(self._open)
        copies: list[Copy] | bytes = self._open
        if self._waiting > UNPACKED_MAX:
            copies = packed(self._open)
        return Chunk(self._end - states, states, copies)

    def __iter__(self) -> Iterator[Chunk]:
        """What is not done, in order; more of it may be done meanwhile."""
        self._close()
        return islice(self._chunks, self._done, None)

    def to_keep(self) -> list[Chunk]:
        """The same, to make such a queue of later; this one stays as it is."""
        return [*self._chunks[self._done :], *([self._last()] if self._open else [])]

    def done(self) -> None:
        """The first chunk is done."""
        self._waiting -= self._chunks[self._done].states
        self._chunks[self._done] = NOTHING
        self._done += 1


NOTHING: Final = Chunk(0, 0, b"")


class Space:
    """States found so far: how each was reached, and the copies of those to be expanded.

    `went` and `came` are the steps from state to state that happen sooner or later.  `level` is
    being expanded, `below` is what was found by that.
    """

    def __init__(self, start: Copy) -> None:
        self.seen = Seen([key_of(start)])
        self.parents = array("I", [NO_STATE])
        self.codes = array("H", [0])
        self.went = array("I")
        self.came = array("I")
        self.ends = array("I")
        self.level = Queue()
        self.below = Queue()
        self.level.append(0, start)

    def add(self, parent: int, code: int, copy: Copy) -> bool:
        """A state that may be new; True if it is, and then it is the last."""
        number = len(self.parents)
        known = self.seen.number_of(key_of(copy))
        if code < MAY_FROM:
            self.went.append(parent)
            self.came.append(known)
        if known != number:
            return False
        self.parents.append(parent)
        self.codes.append(code)
        return True

    def descend(self) -> bool:
        """The level is done, and the next one is begun; False if there is none."""
        self.level, self.below = self.below, Queue()
        return len(self.level) > 0

    def restless(self) -> int | None:
        """The first state from which none is reached in which nothing more is under way."""
        total = len(self.parents)
        ends = np.zeros(total, np.bool_)
        ends[np.frombuffer(self.ends, np.uint32)] = True
        went, came = (np.frombuffer(each, np.uint32) for each in (self.went, self.came))
        while True:
            more = went[ends[came] & ~ends[went]]
            if not len(more):
                break
            ends[more] = True
        left = np.flatnonzero(~ends)
        return int(left[0]) if len(left) else None

    def path(self, state: int) -> list[Choice]:
        """The choices that led to it."""
        codes: list[int] = []
        while self.parents[state] != NO_STATE:
            codes.append(self.codes[state])
            state = self.parents[state]
        return [choice_at(code) for code in reversed(codes)]

    # ------------------------------------------------------------------ to go on later

    def arrays(self) -> Iterator[array[int]]:
        """All numbers that are kept."""
        yield from (self.seen.keys, self.parents, self.codes, self.went, self.came, self.ends)

    def restore(self, arrays: Iterable[array[int]], level: Queue, below: Queue) -> None:
        """As it was."""
        keys, self.parents, self.codes, self.went, self.came, self.ends = arrays
        self.seen = Seen(keys)
        self.level, self.below = level, below
