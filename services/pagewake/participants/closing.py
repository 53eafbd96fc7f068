"""What a shard writes at the end of its journal, so that the log alone gives the run's result.

The journal and `faults` hold what a shard emitted, with its running numbers.  What it took in
stands in `apf.*` without a number, and whether it still counted only the shard knows; digests and
summaries are no events at all.  `ShardEnded` says these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import zip_longest
from typing import Any, TypeVar

from msgspec.structs import replace

from pagewake.events.types import (
    Event,
    PageReady,
    PagesPushed,
    ShardEnded,
    ShardSummary,
    TaskAccount,
)
from pagewake.simtime.ports import ShardDomain

ENTRIES_MAX = 512
"""Of each table in one record, which stays far below what a record may have in bytes."""
Entry = TypeVar("Entry")


class ConsumedCounts:
    """Counts the domain events that a shard took in, and those that its journal leaves out."""

    __slots__ = ("counts", "pushed", "read", "read_from")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.read: dict[str, int] = {}
        self.pushed: dict[str, int] = {}
        self.read_from: dict[int, int] = {}

    def add(self, deliveries: Sequence[Event]) -> None:
        """Count those of one window, as their VMs numbered them."""
        counts = self.counts
        for delivery in deliveries:
            name = type(delivery).__name__
            counts[name] = counts.get(name, 0) + 1
            if name == "PageReady":
                assert isinstance(delivery, PageReady)
                self.read[delivery.vm] = self.read.get(delivery.vm, 0) + delivery.read
                if delivery.area:
                    number = self.read_from.get(delivery.area, 0)
                    self.read_from[delivery.area] = number + delivery.read
            elif isinstance(delivery, PagesPushed):
                self.pushed[delivery.vm] = self.pushed.get(delivery.vm, 0) + len(delivery.gfns)


def shard_ended(window: int, shard: ShardDomain, consumed: ConsumedCounts) -> list[ShardEnded]:
    """The last records of a shard's journal, each of a bounded number of VMs and tasks."""
    summary = shard.summary()
    tables: tuple[Mapping[str, Any], ...] = (
        shard.digests(),
        consumed.read,
        consumed.pushed,
        summary.work,
        summary.cpu,
        dict.fromkeys(summary.unresolved),
        summary.tasks,
        summary.vm_cpu,
        summary.vm_unreported,
        summary.vm_silent,
        summary.unanswered,
    )
    first, *rest = (
        _ended(window, *pieces) for pieces in zip_longest(*map(_cut, tables), fillvalue={})
    )
    counted = replace(
        first,
        consumed=dict(sorted(consumed.counts.items())),
        read=sum(consumed.read.values()),
        read_from=dict(sorted(consumed.read_from.items())),
        summary=replace(
            first.summary,
            sleepers=summary.sleepers,
            unreported_touches=summary.unreported_touches,
            host_cpu=dict(sorted(summary.host_cpu.items())),
        ),
    )
    return [counted, *rest]


def _ended(
    window: int,
    digests: dict[str, str],
    read: dict[str, int],
    pushed: dict[str, int],
    work: dict[str, int],
    cpu: dict[str, int],
    unresolved: dict[str, None],
    tasks: dict[str, TaskAccount],
    vm_cpu: dict[str, int],
    unreported: dict[str, int],
    silent: dict[str, int],
    unanswered: dict[str, int],
) -> ShardEnded:
    """A piece: of every table some entries; what is no table stands in the first alone."""
    summary = ShardSummary(
        work,
        cpu,
        list(unresolved),
        tasks=tasks,
        vm_cpu=vm_cpu,
        vm_unreported=unreported,
        vm_silent=silent,
        unanswered=unanswered,
    )
    return ShardEnded(window, digests, {}, 0, summary, read, pushed)


def _cut(table: Mapping[str, Entry]) -> list[dict[str, Entry]]:
    """At least one piece, and none with too many entries."""
    entries = list(table.items())
    edges = range(0, max(1, len(entries)), ENTRIES_MAX)
    return [dict(entries[edge : edge + ENTRIES_MAX]) for edge in edges]


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
            mine.tasks | more.tasks,
            mine.vm_cpu | more.vm_cpu,
            mine.vm_unreported | more.vm_unreported,
            mine.vm_silent | more.vm_silent,
            mine.unanswered | more.unanswered,
            mine.host_cpu | more.host_cpu,
        ),
        one.vm_read | other.vm_read,
        one.vm_pushed | other.vm_pushed,
        dict(Counter(one.read_from) + Counter(other.read_from)),
    )
