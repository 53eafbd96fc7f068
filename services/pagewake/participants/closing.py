"""What a shard writes at the end of its journal, so that the log alone gives the run's result.

The journal and `faults` hold what a shard emitted, with its running numbers.  What it took in
stands in `apf.*` without a number, and whether it still counted only the shard knows; digests and
summaries are no events at all.  `ShardEnded` says these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TypeVar

from msgspec.structs import replace

from pagewake.events.types import PageReady, ShardEnded, ShardSummary, ToShard
from pagewake.simtime.ports import ShardDomain

ENTRIES_MAX = 512
"""VMs or tasks in one record, which stays far below what a record may have in bytes."""
Entry = TypeVar("Entry")


class ConsumedCounts:
    """Counts the domain events that a shard took in."""

    __slots__ = ("counts", "read")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.read = 0

    def add(self, deliveries: Sequence[ToShard]) -> None:
        """Count the deliveries of one window, as their VMs numbered them."""
        counts = self.counts
        for delivery in deliveries:
            name = type(delivery).__name__
            counts[name] = counts.get(name, 0) + 1
            if name == "PageReady":
                assert isinstance(delivery, PageReady)
                self.read += delivery.read


def shard_ended(window: int, shard: ShardDomain, consumed: ConsumedCounts) -> list[ShardEnded]:
    """The last records of a shard's journal, each of a bounded number of VMs and tasks."""
    digests, summary = shard.digests(), shard.summary()
    sizes = [len(digests), len(summary.work), len(summary.cpu), len(summary.unresolved)]
    first, *rest = (
        ShardEnded(
            window,
            _piece(digests, piece),
            {},
            0,
            ShardSummary(
                _piece(summary.work, piece),
                _piece(summary.cpu, piece),
                summary.unresolved[_entries(piece)],
            ),
        )
        for piece in range(-(-max(1, *sizes) // ENTRIES_MAX))
    )
    counted = replace(
        first,
        consumed=dict(sorted(consumed.counts.items())),
        read=consumed.read,
        summary=replace(
            first.summary,
            sleepers=summary.sleepers,
            unreported_touches=summary.unreported_touches,
        ),
    )
    return [counted, *rest]


def _entries(piece: int) -> slice:
    return slice(piece * ENTRIES_MAX, (piece + 1) * ENTRIES_MAX)


def _piece(table: dict[str, Entry], piece: int) -> dict[str, Entry]:
    return dict(list(table.items())[_entries(piece)])


def joined(pieces: Iterable[ShardEnded]) -> ShardEnded:
    """The closing records of one shard, put together again."""
    first, *rest = pieces
    return reduce(_added, rest, first)


def _added(one: ShardEnded, other: ShardEnded) -> ShardEnded:
    """Two pieces; no name stands in the same table of both, but for what was consumed."""
    mine, more = one.summary, other.summary
    return ShardEnded(
        one.window,
        one.digests | other.digests,
        dict(Counter(one.consumed) + Counter(other.consumed)),
        one.read + other.read,
        ShardSummary(
            mine.work | more.work,
            mine.cpu | more.cpu,
            mine.unresolved + more.unresolved,
            mine.sleepers + more.sleepers,
            mine.unreported_touches + more.unreported_touches,
        ),
    )
