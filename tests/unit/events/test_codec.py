"""Commits: what is written is read back, and what was tampered with is not."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.errors import DataError, InternalError
from pagewake.events.codec import (
    APF_GUEST,
    APF_NESTED,
    FAULTS,
    JOURNAL_TOPIC,
    PART_BYTES,
    Record,
    decode_commit,
    decode_events,
    encode_again,
    encode_commit,
    head_of,
)
from pagewake.events.ids import Gfn
from pagewake.events.types import (
    JOURNAL,
    TO_HOST,
    TO_SHARD,
    AgePages,
    PageReady,
    TaskFinished,
    VcpuResumed,
    WindowClosed,
    WindowOpened,
)
from tests.support.samples import any_record

HEAD = head_of("run-1", "host-0")
LINE = (
    b'{"run":"run-1","source":"host-0","seq":3,"window":7,"part":0,"parts":1,'
    b'"hash":"ff2e658de748c7ef06b3582af24f7b19","code":"1.0","events":[{"event":"WindowOpened","window":7,"until_ns":500}]}'
)
RECORDS: dict[str, tuple[type[Record], ...]] = {
    FAULTS: (*TO_HOST, WindowClosed),
    APF_GUEST: (*TO_SHARD, WindowOpened),
    APF_NESTED: (*TO_SHARD, WindowOpened),
    JOURNAL_TOPIC: JOURNAL,
}
ROUTES = [(topic, record) for topic, records in RECORDS.items() for record in records]


def encoded(*events: Record, code: str = "1.0", seq: int = 3, window: int = 7) -> list[bytes]:
    return [one.record for one in encode_commit(HEAD, code, seq, window, events)]


@pytest.mark.parametrize(
    ("topic", "record"), ROUTES, ids=lambda route: getattr(route, "__name__", route)
)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_event_survives_its_topic(
    topic: str, record: type[Record], data: st.DataObject
) -> None:
    event = data.draw(any_record(record))
    (line,) = encoded(event, event)
    assert decode_events(topic, decode_commit(line)) == [event, event]


def test_a_commit_is_one_line_of_json_that_says_where_it_comes_from() -> None:
    (line,) = encoded(WindowOpened(7, 500), PageReady(5, "vm-0", 0, 1, Gfn(2), 0))
    assert b"\n" not in line
    commit = json.loads(line)
    assert list(commit) == [
        "run",
        "source",
        "seq",
        "window",
        "part",
        "parts",
        "hash",
        "code",
        "events",
    ]
    assert [commit[key] for key in ("run", "source", "seq", "window", "part", "parts", "code")] == [
        "run-1", "host-0", 3, 7, 0, 1, "1.0",
    ]  # fmt: skip
    assert [event["event"] for event in commit["events"]] == ["WindowOpened", "PageReady"]


def test_the_bytes_of_a_commit_are_pinned() -> None:
    (line,) = encoded(WindowOpened(7, 500))
    assert line == LINE


def test_names_are_escaped() -> None:
    head = head_of('a "run"\n', "host-0")
    (one,) = encode_commit(head, 'v"1"', 0, 0, [WindowOpened(0, 1)])
    commit = decode_commit(one.record)
    assert (commit.run, commit.code) == ('a "run"\n', 'v"1"')
    assert encode_again(commit) == one.record


def test_the_hash_covers_everything_but_the_version() -> None:
    event = WindowOpened(7, 500)
    hashes = {
        decode_commit(line).hash
        for line in (
            *encoded(event),
            *encoded(event, seq=4),
            *encoded(event, window=8),
            *encoded(WindowOpened(7, 501)),
        )
    }
    assert len(hashes) == 4
    assert len({decode_commit(encoded(event, code=code)[0]).hash for code in ("1", "2")}) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"seq":3', b'"seq":4'),
        (b'"window":7,"part"', b'"window":8,"part"'),
        (b'"run":"run-1"', b'"run":"run-2"'),
        (b'"until_ns":500', b'"until_ns":501'),
        (b'"hash":"', b'"hash":"0'),
        (b'[{"event"', b'[{ "event"'),
    ],
)
def test_an_edited_commit_is_refused(before: bytes, after: bytes) -> None:
    (line,) = encoded(WindowOpened(7, 500))
    assert line.count(before) == 1
    with pytest.raises(DataError, match="does not match its hash"):
        decode_commit(line.replace(before, after))


@pytest.mark.parametrize(
    "record", [b"", b"{", b"[]", b"null", b'{"run":"a"}', b"\xff\xfe", b'{"surprise":1}']
)
def test_what_is_no_commit_is_refused(record: bytes) -> None:
    with pytest.raises(DataError, match="not a commit"):
        decode_commit(record)


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        (FAULTS, WindowOpened(0, 1)),
        (FAULTS, TaskFinished(0, "vm-0", 1, 0, "task-0")),
        (APF_GUEST, WindowClosed(0, 1)),
        (JOURNAL_TOPIC, PageReady(5, "vm-0", 0, 1, Gfn(2), 0)),
    ],
)
def test_an_event_in_the_wrong_topic_is_refused(topic: str, event: Record) -> None:
    (line,) = encoded(event)
    with pytest.raises(DataError, match=f"commit 3 of host-0 holds what {topic} cannot"):
        decode_events(topic, decode_commit(line))


def test_a_value_outside_of_its_closed_set_is_refused() -> None:
    resumed = VcpuResumed(0, "vm-0", 1, 0, "signal")
    assert decode_events(JOURNAL_TOPIC, decode_commit(encoded(resumed)[0])) == [resumed]
    bored = msgspec.structs.replace(resumed, why="boredom")
    with pytest.raises(DataError, match=r"commit 3 of host-0 holds what journal cannot.*boredom"):
        decode_events(JOURNAL_TOPIC, decode_commit(encoded(bored)[0]))


def test_an_unknown_topic_is_an_internal_error() -> None:
    (line,) = encoded(WindowOpened(0, 1))
    with pytest.raises(InternalError, match="no topic is called 'snapshot'"):
        decode_events("snapshot", decode_commit(line))


def test_what_is_too_large_is_split_between_events() -> None:
    events = [AgePages(at_ns, "vm-0", 0, list(range(10_000))) for at_ns in range(20)]
    records = encoded(WindowOpened(7, 500), *events)
    commits = [decode_commit(record) for record in records]
    assert len(commits) > 1
    assert [(commit.part, commit.parts) for commit in commits] == [
        (part, len(commits)) for part in range(len(commits))
    ]
    assert all(len(bytes(commit.events)) <= PART_BYTES for commit in commits)
    assert len({commit.hash for commit in commits}) == len(commits)
    joined = [event for commit in commits for event in decode_events(APF_GUEST, commit)]
    assert joined == [WindowOpened(7, 500), *events]


def test_a_single_event_is_never_cut_however_large() -> None:
    large = AgePages(0, "vm-0", 0, list(range(100_000)))
    commits = [decode_commit(record) for record in encoded(WindowOpened(7, 500), large)]
    assert [len(decode_events(APF_GUEST, commit)) for commit in commits] == [1, 1]


def test_a_commit_that_just_fits_is_whole() -> None:
    (line,) = encoded(WindowOpened(7, 500))
    assert decode_commit(line).parts == 1
