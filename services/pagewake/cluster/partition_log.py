"""A partition of a finished run as a log has it: every commit once, in the log's order.

On the bus a partition may hold a record twice, records of nobody, commands, and the closes of one
window in the order in which the shards were done.  In a log directory each commit stands once, and
a window has its shards in order; so an exported log is the log of the embedded run, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pagewake.bus.port import BrokenLogError
from pagewake.errors import DataError
from pagewake.events.codec import Commit, decode_commit, name_of


class Logged(NamedTuple):
    """A record and the commit, or the part of one, that it is."""

    record: bytes
    commit: Commit


class PartitionLog:
    """Feed it the records of one partition in order; `sources` are expected in it, in order."""

    def __init__(self, run: str, topic: str, partition: int, sources: Sequence[str]) -> None:
        self.run = run
        self.topic = topic
        self.partition = partition
        self.skipped = 0
        self._sources = list(sources)
        self._due = dict.fromkeys(sources, (0, 0))
        self._window = -1
        self._held: list[Logged] = []

    def feed(self, record: bytes | None) -> list[Logged]:
        """What can be written now: the window before, once a later one begins."""
        commit = self._read(record)
        if commit is None:
            self.skipped += 1
            return []
        due = self._due[commit.source]
        at = (commit.seq, commit.part)
        if at < due:
            return []
        if at > due:
            raise BrokenLogError(
                f"{self.topic}-{self.partition}: {name_of(commit)} follows a gap: "
                f"commit {due[0]} is due"
            )
        whole = commit.part + 1 >= commit.parts
        self._due[commit.source] = (commit.seq + 1, 0) if whole else (commit.seq, commit.part + 1)
        done = self.finish() if commit.window != self._window else []
        self._window = commit.window
        assert record is not None
        self._held.append(Logged(record, commit))
        return done

    def finish(self) -> list[Logged]:
        """The last window, its shards in order."""
        held, self._held = self._held, []
        place = self._sources.index
        return sorted(held, key=lambda logged: place(logged.commit.source))

    def _read(self, record: bytes | None) -> Commit | None:
        try:
            commit = decode_commit(record or b"")
        except DataError:
            return None
        return commit if commit.run == self.run and commit.source in self._due else None
