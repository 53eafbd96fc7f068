"""Halt polling: before a vcpu thread blocks it looks, for a while, whether it may go on.

How long is found out by each vcpu for itself, up to `max_ns` (kvm's parameter halt_poll_ns): a wait
that was longer than the poll and shorter than the most doubles it, from 10 us on; one longer than
the most ends it.  The poll of a fixed length is of 4.0 (f7819512996361, from memory), its growing
and shrinking of 2015 (aca6ff29c406), its cap of 2016 (313f636d5c49).  Since 6.11 a shrink halves
the poll by default; here it is as before, to nothing.  A thread polls only while nobody else wants
its CPU (single_task_running()).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.simtime.state import Saved

GROW: Final = 2
GROW_START_NS: Final = 10_000


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class HaltPoll(Saved):
    """Of one vcpu: it polls for `for_ns` before it blocks, at present until `until_ns` (0: not)."""

    __slots__ = ("for_ns", "max_ns", "since_ns", "until_ns")

    def __init__(self, max_ns: int) -> None:
        self.max_ns = max_ns
        self.for_ns = 0
        self.since_ns = 0
        self.until_ns = 0

    def begin(self, at_ns: int, alone: bool) -> int:
        """The thread has nothing to do; until when it polls, which it does not unless `alone`."""
        self.since_ns = at_ns
        self.until_ns = at_ns + self.for_ns if alone and self.for_ns else 0
        return self.until_ns

    def woken(self, at_ns: int) -> None:
        """It goes on, whether out of the poll or behind it."""
        self.until_ns = 0
        waited_ns = at_ns - self.since_ns
        if waited_ns <= self.for_ns:
            return
        if waited_ns >= self.max_ns:
            if self.for_ns and waited_ns > self.max_ns:
                self.for_ns = 0
        elif self.for_ns < self.max_ns:
            self.for_ns = min(self.max_ns, max(GROW_START_NS, self.for_ns * GROW))
