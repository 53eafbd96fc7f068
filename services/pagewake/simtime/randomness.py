"""Randomness keyed by (seed, entity, counter): a draw is a pure function of the three.

Nothing here advances.  Whoever draws keeps its own counter, so adding an entity, or a draw of one
entity, never changes the draws of another (design, "Randomness").  Results are the same on
every machine: integer arithmetic, and of floating point only what IEEE 754 rounds exactly
(+ - * /), never a logarithm or sine of the platform's C library.

Two paths.  Scalars come from a splitmix64-style finalizer over (key, counter), in plain Python.
Blocks come from numpy's Philox4x64, a counter-based generator whose raw stream numpy promises to
keep; its counter is set for each block, so blocks may be asked for in any order and any size: a
shorter block is a prefix of a longer one with the same number.
"""

from __future__ import annotations

from hashlib import blake2b
from math import frexp
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from mypy_extensions import mypyc_attr

from pagewake.simtime.state import Saved

# The step and the multipliers are those of splitmix64. Floats are exact up to 2**53.
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF
_STEP: Final = 0x9E37_79B9_7F4A_7C15
_MUL_1: Final = 0xBF58_476D_1CE4_E5B9
_MUL_2: Final = 0x94D0_49BB_1331_11EB
_UNIT = 1.0 / (1 << 53)
_LN_2 = 0.693147180559945309417
_SQRT_HALF = 0.70710678118654752440

_NO_BUFFER = np.zeros(4, dtype=np.uint64)
WORDS_AT_ONCE: Final = 8
"""32-bit words that Philox makes of one value of its counter."""
# A workspace, not state: every use sets key and counter first.
_PHILOX = np.random.Philox(key=0, counter=0)


def key_of(seed: int, entity: str) -> tuple[int, int]:
    """The 128-bit key of an entity under a seed, as two 64-bit words."""
    digest = blake2b(f"{seed}\0{entity}".encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


@mypyc_attr(allow_interpreted_subclasses=True)
class Draws(Saved):
    """All draws of one entity; holds nothing but its key."""

    __slots__ = ("key_0", "key_1")

    def __init__(self, seed: int, entity: str) -> None:
        self.key_0, self.key_1 = key_of(seed, entity)

    def u64(self, counter: int) -> int:
        """64 uniform random bits."""
        z = (self.key_0 + counter * _STEP) & _MASK
        z = ((z ^ (z >> 30)) * _MUL_1) & _MASK
        z = ((z ^ (z >> 27) ^ self.key_1) * _MUL_2) & _MASK
        z = ((z ^ (z >> 31)) * _MUL_1) & _MASK
        return z ^ (z >> 32)

    def block_u64(self, counter: int, size: int) -> list[int]:
        """`u64` of this counter and those behind it."""
        counters = np.arange(counter, counter + size, dtype=np.uint64)
        words: list[int] = _mixed(self.key_0, self.key_1, counters).tolist()
        return words

    def below(self, counter: int, n: int) -> int:
        """An integer in [0, n), for n up to 2**32 or so (bias below n / 2**64)."""
        return (self.u64(counter) * n) >> 64

    def unit(self, counter: int) -> float:
        """A float in [0, 1), a multiple of 2**-53."""
        return (self.u64(counter) >> 11) * _UNIT

    def exponential(self, counter: int) -> float:
        """Exponentially distributed with mean 1."""
        return -_ln(1.0 - self.unit(counter))

    def block_u32(self, block: int, size: int, start: int = 0) -> npt.NDArray[np.uint32]:
        """32-bit words of block number `block`: those up to `size`, from `start` on.

        `start` is a multiple of `WORDS_AT_ONCE`.
        """
        assert start % WORDS_AT_ONCE == 0
        state: Any = {
            "bit_generator": "Philox",
            "state": {
                "counter": (start // WORDS_AT_ONCE, block, 0, 0),
                "key": (self.key_0, self.key_1),
            },
            "buffer": _NO_BUFFER,
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        _PHILOX.state = state
        raw = _PHILOX.random_raw((size - start + 1) >> 1)
        return (
            raw.astype("<u8", copy=False).view("<u4").astype(np.uint32, copy=False)[: size - start]
        )


def mix_u64(seed: int, entity: str, counters: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """`Draws.u64` of many counters at once; distinct counters give distinct words."""
    return _mixed(*key_of(seed, entity), counters)


def _mixed(key_0: int, key_1: int, counters: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = counters * np.uint64(_STEP) + np.uint64(key_0)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MUL_1)
    z = (z ^ (z >> np.uint64(27)) ^ np.uint64(key_1)) * np.uint64(_MUL_2)
    z = (z ^ (z >> np.uint64(31))) * np.uint64(_MUL_1)
    return z ^ (z >> np.uint64(32))


def _ln(x: float) -> float:
    """Natural logarithm of a positive number, to about one unit in the last place.

    With x = m * 2**e and m near 1: ln m = 2 artanh((m - 1) / (m + 1)), by its series.
    """
    mantissa, exponent = frexp(x)
    if mantissa < _SQRT_HALF:
        mantissa *= 2.0
        exponent -= 1
    t = (mantissa - 1.0) / (mantissa + 1.0)
    square = t * t
    total = 0.0
    for odd in (21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0):
        total = (total + 1.0 / odd) * square
    return exponent * _LN_2 + 2.0 * t * (1.0 + total)
