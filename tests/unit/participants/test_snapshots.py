"""Snapshots: the newest complete one is found, whatever else stands in the topic; and a pickle
that names anything but state is refused.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable

import msgspec
import pytest
import zstandard

from pagewake.errors import DataError
from pagewake.events.types import MsrWritten
from pagewake.participants import snapshots
from pagewake.participants.build import host_participant, shard_participant
from pagewake.participants.plan import RunPlan
from pagewake.participants.snapshots import Snapshot, SnapshotReader
from pagewake.scenario.loading import load
from pagewake.simtime.state import CORE

PLAN = RunPlan.of("r", load("row-18-l2-npt"), 1)
Pair = tuple[bytes, bytes]


def taken(number: int, offset: int) -> Snapshot:
    return snapshots.take(host_participant(PLAN, 0), number, offset)


def large(number: int, offset: int) -> Snapshot:
    """Of several parts."""
    content = bytes([number]) * (3 * snapshots.PART_BYTES + 5)
    manifest = msgspec.structs.replace(
        taken(number, offset).manifest,
        parts=4,
        size=len(content),
        checksum=snapshots._checksum(content),
    )
    return Snapshot(manifest, content)


def newest(*records: Pair) -> Snapshot | None:
    reader = SnapshotReader(PLAN.run, "host-0", PLAN.code)
    for key, value in records:
        reader.feed(key, value)
    return next(iter(reader.complete), None)


def test_a_snapshot_comes_back_whole() -> None:
    written = large(0, 17)
    assert newest(*snapshots.records_of(written)) == written


def test_the_newest_is_the_one_of_the_last_input_record() -> None:
    first, second, third = large(0, 1), large(1, 5), large(2, 9)
    records = [record for each in (first, second, third) for record in snapshots.records_of(each)]
    assert newest(*records) == third


@pytest.mark.parametrize("written", range(5))
def test_an_unfinished_snapshot_leaves_the_one_before(written: int) -> None:
    before = large(0, 1)
    unfinished = snapshots.records_of(large(1, 5))[:written]
    assert newest(*snapshots.records_of(before), *unfinished) == before


def test_it_leaves_the_one_before_after_compaction_too() -> None:
    """Slots alternate, so what is overwritten is never the newest complete one."""
    older, before = large(0, 1), large(1, 5)
    stored: dict[bytes, bytes] = {}
    for key, value in (
        *snapshots.records_of(older),
        *snapshots.records_of(before),
        *snapshots.records_of(large(2, 9))[:3],
    ):
        stored.pop(key, None)
        stored[key] = value
    assert newest(*stored.items()) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda records: [*records[:1], (records[1][0], b"other"), *records[2:]],
        lambda records: [*records[:2], *records[3:]],
        lambda records: [*records[:-1], (records[-1][0], b"{}")],
        lambda records: [*records[:-1], (records[-1][0], b"\xff")],
        lambda records: [(b"", value) for _, value in records],
    ],
)
def test_a_damaged_snapshot_is_not_taken(damage: Callable[[list[Pair]], list[Pair]]) -> None:
    before = large(0, 1)
    damaged = damage(snapshots.records_of(large(1, 5)))
    assert newest(*snapshots.records_of(before), *damaged) == before


def test_a_snapshot_of_another_version_or_participant_is_refused_and_named() -> None:
    reader = SnapshotReader(PLAN.run, "host-0", "99.0")
    for key, value in snapshots.records_of(taken(0, 3)):
        reader.feed(key, value)
    other = SnapshotReader(PLAN.run, "guest-0", PLAN.code)
    for key, value in snapshots.records_of(taken(0, 3)):
        other.feed(key, value)
    assert reader.complete == []
    assert other.complete == []
    assert "this is 99.0" in reader.refused[0]
    assert "wrong place" in other.refused[0]


def test_another_version_is_named_whatever_else_its_manifest_says() -> None:
    manifest = msgspec.to_builtins(taken(7, 3).manifest) | {"code": "9.0", "crew": 5}
    del manifest["checksum"]
    reader = SnapshotReader(PLAN.run, "host-0", PLAN.code)
    reader.feed(b"b/manifest", msgspec.json.encode(manifest))
    assert reader.refused == [f"snapshot 7 of host-0 is of version 9.0, this is {PLAN.code}"]


def test_what_the_other_core_pickled_is_refused_and_named() -> None:
    manifest = msgspec.to_builtins(taken(7, 3).manifest) | {"core": "other"}
    reader = SnapshotReader(PLAN.run, "host-0", PLAN.code)
    reader.feed(b"b/manifest", msgspec.json.encode(manifest))
    assert reader.refused == [f"snapshot 7 of host-0 is of a core that is other, this is {CORE}"]


def test_a_manifest_of_this_version_has_no_other_fields() -> None:
    manifest = msgspec.to_builtins(taken(0, 3).manifest) | {"crew": 5}
    reader = SnapshotReader(PLAN.run, "host-0", PLAN.code)
    reader.feed(b"a/manifest", msgspec.json.encode(manifest))
    assert reader.refused[0].startswith("not a manifest: ")


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("false",)


class ByDefinition:
    """Names a function of ours: allowed are classes."""

    def __reduce__(self) -> tuple[object, ...]:
        return snapshots.pack, ({},)


@pytest.mark.parametrize("bad", [Evil(), ByDefinition(), load, snapshots])
def test_a_pickle_that_names_anything_but_state_is_refused(bad: object) -> None:
    try:
        content = zstandard.compress(pickle.dumps({"inbox": bad}))
    except TypeError:
        content = b"no pickle"
    with pytest.raises(DataError, match="a snapshot"):
        snapshots.unpack(content)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, zstandard.compress(b"no pickle")])
def test_what_is_no_snapshot_is_a_data_error(content: bytes) -> None:
    with pytest.raises(DataError, match="a snapshot cannot be read"):
        snapshots.unpack(content)


def test_a_snapshot_that_would_not_fit_is_refused_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = snapshots.pack({"inbox": bytes(1000)})
    monkeypatch.setattr(snapshots, "STATE_BYTES_MAX", 999)
    with pytest.raises(DataError, match="at most 999 bytes"):
        snapshots.unpack(content)


def test_a_snapshot_that_does_not_say_how_large_it_is_is_refused() -> None:
    parts = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(DataError, match="a snapshot says"):
        snapshots.unpack(parts.compress(pickle.dumps({})))


def test_events_keep_their_bytes_through_a_pickle() -> None:
    event = MsrWritten(1, "vm-0", 2, 0, 7, 8, ok=True, stored=True, by="guest")
    (back,) = snapshots.unpack(snapshots.pack({"event": event})).values()
    assert back == event
    assert msgspec.json.encode(back) == msgspec.json.encode(event)


def test_every_participant_of_a_run_packs() -> None:
    for participant in (host_participant(PLAN, 0), shard_participant(PLAN, 0)):
        participant.start()
        state = snapshots.unpack(snapshots.pack(participant.state()))
        participant.restore(state)
        assert participant.seqs()
