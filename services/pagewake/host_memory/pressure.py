"""A whole host below its min watermark: who hears of it, and who may go on.

Whoever allocates wakes kswapd below `low`, and below `min` reclaims as well, in its own thread
(`__alloc_pages_slowpath`).  A vcpu thread allocates as it faults, in its VM's shard, which knows
the VM's limit and not what the host has left.  So the host says to each VM when it comes below
`min`, and when it has `low` again; what a shard knows is as old as the lookahead, as in Linux each
CPU sees the count of free pages less what others have not added to it yet (`vm_stat_diff`).

Threads that reclaim go on in order, one for each frame above `min`; all of them where nothing is
under reclaim any more, as nothing would free a frame then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from mypy_extensions import mypyc_attr

from pagewake.events.types import HostShort
from pagewake.host_memory.account import VmAccount
from pagewake.host_memory.frames import Frames, Watermarks
from pagewake.host_memory.outbox import Outbox
from pagewake.simtime.state import Saved


@mypyc_attr(allow_interpreted_subclasses=True)
class Pressure(Saved):
    """State of one host; `short` as its VMs were told."""

    __slots__ = ("short", "_accounts", "_awaiting", "_frames", "_marks", "_outbox")

    def __init__(
        self, marks: Watermarks, frames: Frames, accounts: Sequence[VmAccount], outbox: Outbox
    ) -> None:
        self.short = False
        self._marks = marks
        self._frames = frames
        self._accounts = accounts
        self._outbox = outbox
        self._awaiting: deque[int] = deque()

    def awaits(self, vm: VmAccount) -> bool:
        """A thread of the VM awaits a frame; whether it has to reclaim for it."""
        self._awaiting.append(vm.index)
        return self._frames.left() <= self._marks.min

    def spare(self) -> int:
        """So many frames may be taken before `tell` has anything to say."""
        if self.short or self._awaiting:
            return 0
        return max(0, self._frames.left() - self._marks.min)

    def tell(self, now_ns: int) -> None:
        """Say what has changed: to every VM how the host stands, to some that threads go on."""
        left = self._frames.left()
        short = left < (self._marks.low if self.short else self._marks.min)
        going = self._going(left)
        if short == self.short and not going:
            return
        at_ns = now_ns + self._outbox.lookahead_ns
        for vm in self._accounts:
            frames = going.get(vm.index, 0)
            if frames or short != self.short:
                self._outbox.put(now_ns, HostShort(at_ns, vm.name, 0, short, frames))
        self.short = short

    def _going(self, left: int) -> dict[int, int]:
        """How many threads of which VM may go on, with so many frames left."""
        going: dict[int, int] = {}
        while self._awaiting and (left > self._marks.min or not self._frames.total_leaving):
            index = self._awaiting.popleft()
            going[index] = going.get(index, 0) + 1
            left -= 1
        return going
