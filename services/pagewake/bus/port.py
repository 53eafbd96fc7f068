"""The two ends that make an at-least-once log effectively-once.

A bus carries records: bytes, appended to a partition of a topic and read back in the order in
which they stand there.  It knows no events.  Above it, an `Outbox` numbers and encodes the commits
of one source for one partition, and an `Inbox` turns the records of one partition back into
commits, once each: `seq == last + 1` is applied, `seq <= last` is a duplicate (whose content must
be the same), anything else is a gap and stops the run (design, "Delivery").

Both ends are plain data: they are part of what a snapshot holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pagewake.errors import DataError
from pagewake.events.codec import (
    Commit,
    Encoded,
    Record,
    decode_commit,
    decode_events,
    encode_commit,
    head_of,
    name_of,
)

REMEMBERED = 256
"""Content hashes kept per source, to compare a duplicate with its first. A repeated send or a
restarted owner repeats the latest commits; chosen: many of them, and small in a snapshot."""


class BrokenLogError(DataError):
    """A partition that contradicts itself: a gap, or two contents for one commit."""


class AppliedCommit(msgspec.Struct, frozen=True):
    """A complete commit: all its parts' events, in order."""

    source: str
    seq: int
    window: int
    events: list[Record]
    code: str


class Outbox:
    """Numbers and encodes one source's commits for one partition."""

    __slots__ = ("topic", "partition", "code", "head", "seq")

    def __init__(self, run: str, source: str, topic: str, partition: int, code: str) -> None:
        self.topic = topic
        self.partition = partition
        self.code = code
        self.head = head_of(run, source)
        self.seq = 0

    def encode(self, window: int, events: Sequence[Record]) -> list[Encoded]:
        """The records of the next commit, numbered and ready to be appended."""
        seq = self.seq
        self.seq = seq + 1
        return encode_commit(self.head, self.code, seq, window, events)


class SourceProgress:
    """How far the commits of one source are: `seq` and `part` are expected next."""

    __slots__ = ("seq", "part", "parts", "window", "events", "hashes")

    def __init__(self) -> None:
        self.seq = 0
        self.part = 0
        self.parts = 0
        self.window = 0
        self.events: list[Record] = []
        self.hashes: list[tuple[int, int, str]] = [(-1, 0, "")] * REMEMBERED

    def hash_of(self, seq: int, part: int) -> str | None:
        """Content hash of a part applied before, while it is remembered."""
        at = self.hashes[(seq + part) % REMEMBERED]
        return at[2] if at[:2] == (seq, part) else None


class Inbox:
    """The commits of one partition, complete, once each and without a gap, per source."""

    __slots__ = ("topic", "partition", "run", "duplicates", "sources")

    def __init__(self, topic: str, partition: int, run: str) -> None:
        self.topic = topic
        self.partition = partition
        self.run = run
        self.duplicates = 0
        self.sources: dict[str, SourceProgress] = {}

    def accept(self, record: bytes) -> AppliedCommit | None:
        """The commit that this record completes, if it completes one that is due.

        Raises DataError for a record that is none of this run's, BrokenLogError for one that is
        and cannot follow what stands before it.
        """
        return self.take(decode_commit(record))

    def take(self, commit: Commit) -> AppliedCommit | None:
        """Apply a record that is decoded already; as `accept` otherwise."""
        if commit.run != self.run:
            raise DataError(
                f"{self.topic}-{self.partition}: {name_of(commit)} is of run {commit.run!r}, "
                f"not {self.run!r}"
            )
        progress = self.sources.get(commit.source)
        if progress is None:
            progress = self.sources[commit.source] = SourceProgress()
        at = (commit.seq, commit.part)
        expected = (progress.seq, progress.part)
        if at != expected:
            if at > expected:
                raise self._error(f"{name_of(commit)} follows a gap: commit {progress.seq} is due")
            self._ignore(commit, progress)
            return None
        return self._take(commit, progress)

    def _take(self, commit: Commit, progress: SourceProgress) -> AppliedCommit | None:
        part = commit.part
        if part == 0:
            progress.parts = commit.parts
            progress.window = commit.window
        elif commit.parts != progress.parts or commit.window != progress.window:
            raise self._error(f"{name_of(commit)} does not fit its first part")
        events = decode_events(self.topic, commit)
        progress.hashes[(commit.seq + part) % REMEMBERED] = (commit.seq, part, commit.hash)
        if part:
            events = progress.events = progress.events + events
        if part + 1 < commit.parts:
            progress.events = events
            progress.part = part + 1
            return None
        progress.seq += 1
        progress.part = 0
        progress.events = []
        return AppliedCommit(commit.source, commit.seq, commit.window, events, commit.code)

    def _ignore(self, commit: Commit, progress: SourceProgress) -> None:
        """Count a duplicate; BrokenLogError if its content differs from what was applied."""
        known = progress.hash_of(commit.seq, commit.part)
        if known is not None and known != commit.hash:
            raise self._error(
                f"{name_of(commit)} comes twice with different content: {known} by the first, "
                f"{commit.hash} by version {commit.code}"
            )
        self.duplicates += 1

    def _error(self, what: str) -> BrokenLogError:
        return BrokenLogError(f"{self.topic}-{self.partition}: {what}")


__all__ = ["AppliedCommit", "BrokenLogError", "Inbox", "Outbox", "SourceProgress"]
