"""Where pages of one VM are that are neither in memory nor in swap: its source.

After a live migration that switched over early (post-copy), all of a VM's memory is on the host it
came from; after a restore it is in a snapshot.  A touch asks for the page; what is not asked for
may be pushed meanwhile.

User space copies pages in through userfaultfd (`copies`).  An attempt that must not wait fails at
once without a word to user space (handle_userfault() in fs/userfaultfd.c returns VM_FAULT_RETRY to
FAULT_FLAG_RETRY_NOWAIT before it queues anything, since 86039bd3b4e6, 4.3), so a fault can be
asynchronous, and it is the worker, one hop later, that asks and waits.  What was copied in is
anonymous memory without a copy elsewhere: it is dirty, and goes to swap.

A snapshot that is mapped (MAP_PRIVATE) is read by the kernel, `around_pages` at a time: those that
surround the fault, as do_sync_mmap_readahead() in mm/filemap.c has it.  The attempt submits the
read itself.  A page that was not written stays a page of the file: it is dropped without I/O, and
read from there again.

A push takes the link when it is free and no page that was asked for comes first, so its turn is
known only once everything before that instant is: the manager asks for `push_ns`, and has `push`
begin it then.  QEMU goes on behind the page that was asked for last (`follows`; with a channel of
its own for such pages since 20d8262281), up to the end and round.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from pagewake.host_memory.config import SourceConfig, VmMemory
from pagewake.host_memory.swap import Device
from pagewake.simtime.state import Saved

HERE: Final = 1
"""At the source alone, and not on its way."""
READ: Final = 2
"""In memory or on its way, and at the source still: a page of a file, as long as it is clean."""
PUSHED_MIN: Final = 64
"""Pushes before it is looked which are over: looking each time costs more than keeping some."""
_HERE: Final = b"\x01"


@mypyc_attr(allow_interpreted_subclasses=True)
class Source(Saved):
    """See the module.  `pushed`: when pages that nobody asked for will be in memory."""

    __slots__ = (
        "blocked", "copies", "device", "follows", "hop_ns", "left", "place", "pushed",
        "_around", "_at", "_forget_at", "_from_ns", "_order",
    )  # fmt: skip

    def __init__(
        self, config: SourceConfig, vm: str, pages: int, absent: NDArray[np.int64], seed: int
    ) -> None:
        self.copies = config.copies
        self.hop_ns = config.hop_ns
        self.follows = config.follows
        self.device = Device(config.medium, seed, f"{vm}/source", 0)
        self.place = bytearray(pages)
        np.frombuffer(self.place, np.uint8)[absent] = HERE
        self.left = len(config.push)
        self.pushed: dict[int, int] = {}
        self.blocked = False
        self._around = config.around_pages
        self._order: list[int] = [] if config.follows else config.push.tolist()
        self._at = 0
        self._forget_at = PUSHED_MIN
        self._from_ns = 0

    def has(self, gfn: int) -> bool:
        """The page has to come from here."""
        return self.place[gfn] == HERE

    # ------------------------------------------------------------------------- what is asked for

    def fetch(self, now_ns: int, gfn: int, by_worker: bool) -> int:
        """Ask for a page; when it is in memory."""
        self._leaves(gfn)
        self._at = gfn + 1 if self.follows else self._at
        hop_ns = self.hop_ns if self.copies and by_worker else 0
        return self.device.read(now_ns + hop_ns)

    def fetch_around(self, now_ns: int, gfn: int, neighbours: list[int]) -> int:
        """Read a page of a file with these others; when all are in memory."""
        for each in (gfn, *neighbours):
            self._leaves(each)
        return self.device.read(now_ns, pages=1 + len(neighbours))

    def around(self, gfn: int, most: int) -> list[int]:
        """Up to `most` pages of the file that are read with this one: half of them before it."""
        start = max(0, gfn - self._around // 2)
        window = range(start, min(start + self._around, len(self.place)))
        here = [each for each in window if self.place[each] == HERE and each != gfn]
        return here[: max(0, most)]

    # ---------------------------------------------------------------------------- what is pushed

    def push_ns(self) -> int | None:
        """When the next push can begin; None: nothing is left to push, or there is no frame."""
        if self.blocked or not self.left:
            return None
        return max(self._from_ns, self.device.free_ns())

    def next_push(self) -> int | None:
        """Whose turn it is; None: all of it is there."""
        gfn = self._following() if self.follows else self._in_order()
        if gfn is None:
            self.left = 0
        return gfn

    def push(self, now_ns: int, gfn: int) -> int:
        """Begin it; when the page is in memory."""
        self.left -= 1
        self._leaves(gfn)
        if self.follows:
            self._at = gfn + 1
        return self.device.read(now_ns)

    def note_pushed(self, asked_ns: int, gfns: list[int], ready_ns: int) -> None:
        """Nobody asked for these; forget, once they may be half, those that answer nobody.

        Whoever waits for an answer asked at `asked_ns` or later.
        """
        if len(self.pushed) >= self._forget_at:
            self.pushed = {gfn: ns for gfn, ns in self.pushed.items() if ns > asked_ns}
            self._forget_at = max(PUSHED_MIN, 2 * len(self.pushed))
        for gfn in gfns:
            self.pushed[gfn] = ready_ns

    def brings(self, gfn: int, asked_ns: int) -> bool:
        """A push brings, or has brought since, the page that was asked for: it is the answer."""
        return self.pushed.get(gfn, 0) > asked_ns

    def resume(self, now_ns: int) -> None:
        """There may be a frame again."""
        if self.blocked:
            self.blocked = False
            self._from_ns = now_ns

    def _following(self) -> int | None:
        gfn = self.place.find(_HERE, self._at)
        if gfn < 0:
            gfn = self.place.find(_HERE)
        return None if gfn < 0 else gfn

    def _in_order(self) -> int | None:
        order, place = self._order, self.place
        while self._at < len(order) and place[order[self._at]] != HERE:
            self._at += 1
        return order[self._at] if self._at < len(order) else None

    # ---------------------------------------------------------------------------------- eviction

    def written(self, gfns: list[int]) -> None:
        """Dirty pages go to swap: the source's copies are out of date."""
        for gfn in gfns:
            self.place[gfn] = 0

    def take_back(self, gfns: list[int]) -> int:
        """Pages are out of memory; how many of them can be read here again."""
        place = self.place
        back = [gfn for gfn in gfns if place[gfn] == READ]
        for gfn in back:
            place[gfn] = HERE
        return len(back)

    def _leaves(self, gfn: int) -> None:
        self.place[gfn] = 0 if self.copies else READ


def source_of(memory: VmMemory, seed: int) -> Source | None:
    """The source of a VM that has one, with all that it has not in memory at time 0."""
    if memory.source is None:
        return None
    absent = memory.populated[~memory.resident]
    return Source(memory.source, memory.vm, memory.pages, absent, seed)
