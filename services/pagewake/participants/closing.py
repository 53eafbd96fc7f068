"""What a shard writes at the end of its journal, so that the log alone gives the run's result.

The journal and `faults` hold what a shard emitted, with its running numbers.  What it took in
stands in `apf.*` without a number, and whether it still counted only the shard knows; digests and
summaries are no events at all.  `ShardEnded` says these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pagewake.events.types import PageReady, ShardEnded, ToShard
from pagewake.simtime.ports import ShardDomain

ENTRIES_MAX = 512
"""VMs or tasks in one record, which stays far below what a record may have in bytes."""


class Consumed:
    """Counts the domain events that a shard took in."""

    __slots__ = ("counts", "read")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.read = 0

    def add(self, deliveries: Sequence[ToShard]) -> None:
        """One window's, as their VMs numbered them."""
        counts = self.counts
        for delivery in deliveries:
            name = type(delivery).__name__
            counts[name] = counts.get(name, 0) + 1
            if name == "PageReady":
                assert isinstance(delivery, PageReady)
                self.read += delivery.read


def shard_ended(window: int, shard: ShardDomain, consumed: Consumed) -> list[ShardEnded]:
    """The last records of a shard's journal, each of a bounded number of VMs and tasks."""
    digests, summary = shard.digests(), shard.summary()
    sizes = [len(value) for value in summary.values() if isinstance(value, dict | list)]
    pieces = -(-max(1, len(digests), *sizes) // ENTRIES_MAX)
    return [
        ShardEnded(
            window,
            _piece(digests, piece),
            dict(sorted(consumed.counts.items())) if piece == 0 else {},
            consumed.read if piece == 0 else 0,
            {name: _piece(value, piece) for name, value in summary.items()},
        )
        for piece in range(pieces)
    ]


def _piece(value: Any, piece: int) -> Any:  # noqa: ANN401 - a summary's entries are of any type
    """One part of a long table or list; what is neither is in the first part alone."""
    entries = slice(piece * ENTRIES_MAX, (piece + 1) * ENTRIES_MAX)
    if isinstance(value, dict):
        return dict(list(value.items())[entries])
    if isinstance(value, list):
        return value[entries]
    return value if piece == 0 else 0


def joined(pieces: Iterable[ShardEnded]) -> ShardEnded:
    """One shard's closing records as one."""
    first, *rest = pieces
    summary: dict[str, Any] = dict(first.summary)
    digests, consumed, read = dict(first.digests), Counter(first.consumed), first.read
    for piece in rest:
        digests |= piece.digests
        consumed.update(piece.consumed)
        read += piece.read
        for name, value in piece.summary.items():
            if isinstance(value, dict):
                summary[name] = {**summary[name], **value}
            elif isinstance(value, list):
                summary[name] = [*summary[name], *value]
    return ShardEnded(first.window, digests, dict(consumed), read, summary)
