"""Which page of a VM goes next: what reclaim asks of whatever keeps its pages in order.

A page is listed with the frame that is charged for it, so a page still being read is listed
already, as in Linux, where it is added locked before the read is submitted; reclaim passes such a
page over. A batch is isolated, the shard is asked which of its pages were accessed, and `judge`
says which of them go; the others are listed again. Two lists and generations say in their
modules what they are after.

`place` has a byte per gfn of the VM: where the page is, and what a list notes about it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.simtime.state import Saved

OUT: Final = 0
LISTED: Final = 1
ISOLATED: Final = 2
SECOND_CHANCE: Final = "second-chance"
TWO_LISTS: Final = "two-lists"
TWO_LISTS_2008: Final = "two-lists-2.6.28"
MGLRU: Final = "mglru"
REPLACEMENTS: Final = (SECOND_CHANCE, TWO_LISTS_2008, TWO_LISTS, MGLRU)
AS_KERNEL: Final = "kernel"
"""As a scenario says it: that of the host's kernel, the switch `replacement`."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Replacement(Saved, ABC):
    """Pages of one VM that have a frame: `count` are listed, others isolated by reclaim.

    `rounds`: after so many times as many pages as the VM has in memory, examined without a victim,
    they are all in use, and reclaim spares none any longer.
    """

    __slots__ = ("place", "count", "rounds")

    def __init__(self, pages: int, resident: NDArray[np.int64], rounds: int) -> None:
        self.count = len(resident)
        self.place = bytearray(pages)
        np.frombuffer(self.place, np.uint8)[resident] = LISTED
        self.rounds = rounds

    @abstractmethod
    def admit(self, gfn: int) -> None:
        """A page that was out has a frame now."""

    @abstractmethod
    def restore(self, gfns: Sequence[int]) -> None:
        """Isolated pages that are being read, or that a shard refused, are listed again."""

    @abstractmethod
    def isolate(self, most: int, force: bool = False) -> list[int]:
        """Up to `most` pages to examine; none only if none is listed.

        `force`: nobody will ask whether they were accessed; all of them are to go.
        """

    @abstractmethod
    def judge(self, batch: list[int], accessed: list[int]) -> list[int]:
        """Those of an isolated batch that are to go, in its order; all others are listed again.

        `accessed`: those whose accessed bit was set, and is clear now.
        """

    def forget(self, gfns: Sequence[int]) -> None:
        """Isolated pages are out of memory; their frames are free."""
        place = self.place
        for gfn in gfns:
            assert place[gfn] & ISOLATED, "eviction of a page that reclaim did not take"
            place[gfn] = OUT


def split(batch: list[int], accessed: list[int]) -> tuple[list[int], list[int]]:
    """(used, unused) pages of a batch, in its order."""
    if not accessed:
        return accessed, batch
    if len(accessed) == len(batch):
        return batch, []
    used = frozenset(accessed)
    return [gfn for gfn in batch if gfn in used], [gfn for gfn in batch if gfn not in used]
