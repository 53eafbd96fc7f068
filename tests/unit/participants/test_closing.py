"""What a shard says last: in pieces of bounded size, which add up to all of it."""

from __future__ import annotations

from pagewake.events.ids import Gfn
from pagewake.events.types import PageReady, ShardSummary, TaskAccount
from pagewake.participants.closing import ENTRIES_MAX, ConsumedCounts, joined, shard_ended
from tests.support.domains import FakeShard

VMS = 1_100
SUMMARY = ShardSummary(
    {f"vm-{vm}/w-0": vm for vm in range(VMS)},
    {"idle": 7},
    [f"vm-{vm}/f-0" for vm in range(600)],
    9,
    VMS,
    {f"vm-{vm}/t-{task}": TaskAccount(vm, task) for vm in range(VMS) for task in range(2)},
    {f"vm-{vm}/idle": vm for vm in range(VMS)},
    {f"vm-{vm}": 1 for vm in range(VMS)},
    {f"vm-{vm}/reset": 1 for vm in range(VMS)},
)


class LargeShard(FakeShard):
    def summary(self) -> ShardSummary:
        return SUMMARY

    def digests(self) -> dict[str, str]:
        return {f"vm-{vm}": "00" for vm in range(VMS)}


def ready(vm: int, *, read: bool) -> PageReady:
    return PageReady(1, f"vm-{vm}", 0, 0, Gfn(1), 0, None, read)


def test_what_a_large_shard_says_comes_in_pieces_that_add_up() -> None:
    consumed = ConsumedCounts()
    consumed.add([ready(vm, read=vm % 2 == 0) for vm in range(VMS)])
    pieces = shard_ended(3, LargeShard([]), consumed)
    assert len(pieces) == -(-2 * VMS // ENTRIES_MAX)
    for piece in pieces:
        summary = piece.summary
        for table in (piece.digests, piece.vm_read, summary.tasks, summary.vm_cpu, summary.work):
            assert len(table) <= ENTRIES_MAX
        assert len(summary.unresolved) <= ENTRIES_MAX
    whole = joined(pieces)
    assert whole.summary == SUMMARY
    assert whole.digests == LargeShard([]).digests()
    assert (whole.consumed, whole.read) == ({"PageReady": VMS}, VMS // 2)
    assert {vm for vm, pages in whole.vm_read.items() if pages} == {
        f"vm-{vm}" for vm in range(0, VMS, 2)
    }


def test_a_shard_with_nothing_to_say_says_so_once() -> None:
    (only,) = shard_ended(0, FakeShard([]), ConsumedCounts())
    assert (only.digests, only.consumed, only.summary) == ({}, {}, ShardSummary())
