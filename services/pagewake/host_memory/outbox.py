"""What the host has decided and not handed out yet: deliveries in the order (at_ns, vm, insertion).

Every delivery is checked against the lookahead on the way in: it takes effect no sooner than its
cause plus `lookahead_ns` (design, "Lookahead").  What is handed out ahead of its time is followed
by what is decided meanwhile, for any instant that the shards have not completed.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import msgspec
from mypy_extensions import mypyc_attr

from pagewake.events.types import Control, MediumChanged, ToShard
from pagewake.simtime.state import Saved


@mypyc_attr(allow_interpreted_subclasses=True)
class Outbox(Saved):
    """Pending deliveries of one host, scheduled interventions included."""

    __slots__ = ("lookahead_ns", "_pending", "_inserted", "_handed_out_ns", "_reads")

    def __init__(self, lookahead_ns: int) -> None:
        self.lookahead_ns = lookahead_ns
        self._pending: list[tuple[int, str, int, ToShard, int | None]] = []
        self._inserted = 0
        self._handed_out_ns = 0
        self._reads: list[tuple[int, int]] = []

    def put(self, cause_ns: int, event: ToShard, read_ns: int | None = None) -> None:
        """Add an effect of what happened at `cause_ns`; `read_ns` is how long a read took."""
        at_ns = event.at_ns
        assert at_ns >= cause_ns + self.lookahead_ns, "effect sooner than the lookahead allows"
        self._inserted += 1
        heappush(self._pending, (at_ns, event.vm, self._inserted, event, read_ns))

    def schedule(self, control: Control, vms: list[str]) -> None:
        """Add an intervention for its VM; a changed medium goes to every VM, so to each shard."""
        assert control.at_ns >= self._handed_out_ns, "intervention in a span handed out already"
        targets = vms if isinstance(control, MediumChanged) else [control.vm]
        for vm in targets:
            self._inserted += 1
            copy = control if control.vm == vm else msgspec.structs.replace(control, vm=vm)
            self._pending.append((control.at_ns, vm, self._inserted, copy, None))
        heapify(self._pending)

    def take(self, from_ns: int, until_ns: int) -> list[ToShard]:
        """Hand out everything before `until_ns`, once; before `from_ns` all of it has happened."""
        pending = self._pending
        reads = self._reads
        if reads:
            reads = self._reads = [read for read in reads if read[0] >= from_ns]
        taken: list[ToShard] = []
        while pending and pending[0][0] < until_ns:
            at_ns, _, _, event, read_ns = heappop(pending)
            taken.append(event)
            if read_ns is not None:
                reads.append((at_ns, read_ns))
        self._handed_out_ns = max(self._handed_out_ns, until_ns)
        return taken

    def reads_under_way(self, now_ns: int) -> list[int]:
        """Times of the page-ins that have not reached their shard at `now_ns`."""
        ahead = [read_ns for at_ns, read_ns in self._reads if at_ns >= now_ns]
        return ahead + [read_ns for *_, read_ns in self._pending if read_ns is not None]

    def next_ns(self) -> int | None:
        """The instant of the earliest pending delivery."""
        return self._pending[0][0] if self._pending else None
