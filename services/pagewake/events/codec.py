"""Commits: what a record of the log is, and how it is written and read.

A commit holds the events of one source for one window and one partition, in order.  As a record it
is one JSON object on one line with its keys in the order of `Commit`, so equal content is equal
bytes.  `hash` covers everything but `code`, the version that wrote it.  What exceeds
`PART_BYTES` is split between events into parts `(seq, part, parts)`, each a record of its own.

What stands in a record depends on its topic: `faults` has a shard's events and its `WindowClosed`,
`apf.*` a `WindowOpened` and what the host memory has for the shard, `journal` the journal and, at
its end, `ShardEnded`.

What one version wrote, later ones read.  An event may gain fields that have a default: a log from
before decodes with the default, and has its digest.  A field is never renamed or given another
meaning, and a default never changes, because defaults are left out on the wire.  A field is removed
only if it never left its default; a kind of event, or a value of a closed set, only if nothing ever
said it: then no log has any of them.  The other way, a reader skips fields that it does not know,
though it cannot compute the digest of such a log; it refuses kinds of events, and values of closed
sets, that it does not know.  A commit itself has exactly its keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from hashlib import blake2b
from operator import or_
from typing import Any, TypeAlias

import msgspec

from pagewake.errors import DataError, InternalError
from pagewake.events.types import (
    JOURNAL,
    TO_HOST,
    TO_SHARD,
    Event,
    ShardEnded,
    WindowClosed,
    WindowOpened,
)

FAULTS = "faults"
APF_GUEST = "apf.guest"
APF_NESTED = "apf.nested"
JOURNAL_TOPIC = "journal"
TOPICS = (FAULTS, APF_GUEST, APF_NESTED, JOURNAL_TOPIC)

PART_BYTES = 256 * 1024
HASH_BYTES = 16

Record: TypeAlias = Event | WindowOpened | WindowClosed | ShardEnded


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One record.  `events` is the JSON array as it was written."""

    run: str
    source: str
    seq: int
    window: int
    part: int
    parts: int
    hash: str
    code: str
    events: msgspec.Raw


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A record ready to be appended, and its content hash."""

    record: bytes
    hash: str


UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for anybody's bytes: text in them may be none, or nested thousands deep."""

_encode = msgspec.json.Encoder().encode
_commit_decoder = msgspec.json.Decoder(Commit)


RECORDS_OF: dict[str, tuple[type[Record], ...]] = {
    FAULTS: (*TO_HOST, WindowClosed),
    APF_GUEST: (*TO_SHARD, WindowOpened),
    APF_NESTED: (*TO_SHARD, WindowOpened),
    JOURNAL_TOPIC: (*JOURNAL, ShardEnded),
}
"""What may stand in the commits of a topic."""


def _decoder(*records: type[Record]) -> msgspec.json.Decoder[list[Record]]:
    """Of arrays that hold these records and no other."""
    union: Any = reduce(or_, records)
    return msgspec.json.Decoder(list[union])


_decoders = {topic: _decoder(*records) for topic, records in RECORDS_OF.items()}


def head_of(run: str, source: str) -> bytes:
    """The part of a record that is the same in all records of a source."""
    return b'{"run":%b,"source":%b,"seq":' % (_encode(run), _encode(source))


def encode_commit(
    head: bytes, code: str, seq: int, window: int, events: Sequence[Record]
) -> list[Encoded]:
    """The records of one commit: one, or its parts.  `head` is from `head_of`."""
    body = _encode(events)
    if len(body) <= PART_BYTES:
        front = b'%b%d,"window":%d,"part":0,"parts":1' % (head, seq, window)
        return [_record(front, code, body)]
    bodies = split_events(events)
    parts = len(bodies)
    return [
        _record(
            b'%b%d,"window":%d,"part":%d,"parts":%d' % (head, seq, window, part, parts), code, body
        )
        for part, body in enumerate(bodies)
    ]


def _record(front: bytes, code: str, body: bytes) -> Encoded:
    content = blake2b(front + body, digest_size=HASH_BYTES).hexdigest()
    return Encoded(
        b'%b,"hash":"%b","code":%b,"events":%b}' % (front, content.encode(), _encode(code), body),
        content,
    )


def split_events(events: Sequence[Record]) -> list[bytes]:
    """JSON arrays of at most `PART_BYTES` each, unless a single event is larger than that."""
    bodies: list[bytes] = []
    pending: list[bytes] = []
    size = 2
    for event in events:
        text = _encode(event)
        if pending and size + len(text) + 1 > PART_BYTES:
            bodies.append(b"[%b]" % b",".join(pending))
            pending, size = [], 2
        pending.append(text)
        size += len(text) + 1
    return [*bodies, b"[%b]" % b",".join(pending)]


def decode_commit(record: bytes) -> Commit:
    """A record whose content is what its hash says; else DataError."""
    try:
        commit = _commit_decoder.decode(record)
    except UNDECODABLE as error:
        raise DataError(f"not a commit: {error}") from None
    # Inside of a JSON string the quotes would be escaped, so this is where the key stands.
    front = record[: record.find(b',"hash":"')]
    content = blake2b(front, digest_size=HASH_BYTES)
    content.update(commit.events)
    if content.hexdigest() != commit.hash:
        raise DataError(f"content of {name_of(commit)} does not match its hash {commit.hash}")
    return commit


def encode_again(commit: Commit) -> bytes:
    """The record that this commit must have been read from, byte for byte."""
    front = b'%b%d,"window":%d,"part":%d,"parts":%d' % (
        head_of(commit.run, commit.source),
        commit.seq,
        commit.window,
        commit.part,
        commit.parts,
    )
    return _record(front, commit.code, bytes(commit.events)).record


def decode_events(topic: str, commit: Commit) -> list[Record]:
    """The events of a commit, or of one part of it, by what may stand in its topic."""
    decoder = _decoders.get(topic)
    if decoder is None:
        raise InternalError(f"no topic is called {topic!r}; topics: {', '.join(TOPICS)}")
    try:
        return decoder.decode(commit.events)
    except UNDECODABLE as error:
        raise DataError(f"{name_of(commit)} holds what {topic} cannot: {error}") from None


def name_of(commit: Commit) -> str:
    """How messages call a commit."""
    part = f" part {commit.part + 1} of {commit.parts}" if commit.parts != 1 else ""
    return f"commit {commit.seq} of {commit.source}{part}"
