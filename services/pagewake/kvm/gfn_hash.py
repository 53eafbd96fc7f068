"""The hash of a vcpu's outstanding guest frames: 64 slots, open addressing, linear probing.

Rule: semantics 1.4 (multiplicative hash of 32 bits, two generations of multiplier) and 3.8.  Two
defects are part of it: as posted, the look-up ran past empty slots (fixed by c7d28c24042), and a
delete of a frame that is not in the table empties the slot where its look-up ended.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from pagewake.errors import PagewakeError
from pagewake.events.ids import Gfn
from pagewake.kvm.abi import U32
from pagewake.simtime.state import Saved

OLD_MULTIPLIER: Final = 0x9E370001
NEW_MULTIPLIER: Final = 0x61C88647
BITS: Final = 6
SLOTS: Final = 64
_MASK: Final = SLOTS - 1
EMPTY: Final = 0xFFFFFFFFFFFFFFFF
_FREE: Final = -1
"""What stands for `EMPTY` here: it fits a register."""


class GfnHashFullError(PagewakeError):
    """All 64 slots are in use: the kernel's add() would probe for ever with this vcpu's thread."""


def hash_32(value: int, bits: int, multiplier: int = OLD_MULTIPLIER) -> int:
    """The upper `bits` bits of the 32-bit product; `value` is cut to 32 bits first.

    By halves: no product has more than 48 bits, which the compiled core computes in a register.
    """
    lower: i64 = value & 0xFFFF
    upper: i64 = (value >> 16) & 0xFFFF
    factor: i64 = multiplier
    upper = upper * factor & 0xFFFF
    return (lower * factor + (upper << 16) & U32) >> (32 - bits)


@mypyc_attr(allow_interpreted_subclasses=True)
class GfnHash(Saved):
    """`apf.gfns` of one vcpu.  `probe_fixed` False: the look-up of the posted series."""

    __slots__ = ("_multiplier", "_probe_fixed", "_slots", "_used")

    def __init__(self, multiplier: int = OLD_MULTIPLIER, probe_fixed: bool = True) -> None:
        self._multiplier = multiplier
        self._probe_fixed = probe_fixed
        self._slots = [_FREE] * SLOTS
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def slots(self) -> list[int]:
        """A copy of the table; empty slots hold `EMPTY`."""
        return [EMPTY if gfn == _FREE else gfn for gfn in self._slots]

    def reset(self) -> None:
        """Empty every slot."""
        if self._used:
            self._slots = [_FREE] * SLOTS
            self._used = 0

    def add(self, gfn: Gfn) -> None:
        """Store in the first free slot of the chain; no look for a duplicate."""
        if self._used == SLOTS:
            message = f"gfn hash is full: add of gfn {gfn:#x} would never return"
            raise GfnHashFullError(message)
        slots = self._slots
        key = hash_32(gfn, BITS, self._multiplier)
        while slots[key] != _FREE:
            key = (key + 1) & _MASK
        slots[key] = gfn
        self._used += 1

    def find(self, gfn: Gfn) -> bool:
        """Whether this vcpu has work outstanding for the frame."""
        if not self._used:
            return False
        if not self._probe_fixed:  # the look-up walks every slot that is not the frame's
            return gfn in self._slots
        return self._slots[self._slot_of(gfn)] == gfn

    def delete(self, gfn: Gfn) -> None:
        """Empty the slot the look-up ends at, and close the gap behind it."""
        slots = self._slots
        hole = probe = self._slot_of(gfn)
        if slots[hole] != _FREE:
            self._used -= 1
        while True:
            slots[hole] = _FREE
            probe = self._next_movable(hole, probe)
            if probe < 0:
                return
            slots[hole] = slots[probe]
            hole = probe

    def _slot_of(self, gfn: Gfn) -> int:
        """Where the look-up stops: the frame, an empty slot, or, after 64 steps, its home slot."""
        slots = self._slots
        home = key = hash_32(gfn, BITS, self._multiplier)
        skips_empty = not self._probe_fixed
        for _ in range(SLOTS):
            held = slots[key]
            if held == gfn or (held == _FREE and not skips_empty):
                return key
            key = (key + 1) & _MASK
        return home

    def _next_movable(self, hole: int, probe: int) -> int:
        """The next entry whose chain runs through `hole`; -1 at the end of the cluster."""
        slots = self._slots
        while True:
            probe = (probe + 1) & _MASK
            gfn = slots[probe]
            if gfn == _FREE:
                return -1
            home = hash_32(gfn, BITS, self._multiplier)
            if (probe - home) & _MASK >= (probe - hole) & _MASK:
                return probe
