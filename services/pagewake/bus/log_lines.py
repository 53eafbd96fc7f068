"""The lines of one log file, checked one by one as they are read.

Each problem is kept with its line as `kind: what`; the kinds are torn, edited, dropped, doubled,
swapped.  A commit that is missing is `dropped` until it turns up further down: then the lines were
`swapped`, and whatever else the same gap held back is no problem of its own.  A line that cannot be
trusted stands for the commit that is due where it stands, so one bad line is one problem.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from pagewake.errors import DataError
from pagewake.events.codec import (
    FAULTS,
    Commit,
    Record,
    decode_events,
    encode_again,
    name_of,
)

_decode = msgspec.json.Decoder(Commit).decode
_NUMBERED = re.compile(r"(.+)-(\d+)")


class LoggedCommit(NamedTuple):
    """A complete commit; `line` is that of its last part, `hash` that part's content hash."""

    line: int
    source: str
    seq: int
    window: int
    events: list[Record]


class _Gap:
    """Commits that were skipped: which one was due, which came, and the problem reported of it."""

    __slots__ = ("due", "came", "problem", "late")

    def __init__(self, due: tuple[int, int], came: tuple[int, int], problem: int) -> None:
        self.due = due
        self.came = came
        self.problem = problem
        self.late: set[tuple[int, int]] = set()


class _Source:
    """How far one source is; (`seq`, `part`) is due."""

    __slots__ = ("seq", "part", "parts", "events", "gaps")

    def __init__(self) -> None:
        self.seq = 0
        self.part = 0
        self.parts = 0
        self.events: list[Record] = []
        self.gaps: list[_Gap] = []


class LineChecker:
    """State of reading one file.  `codes`: the versions that may have written it, if known."""

    def __init__(self, topic: str, codes: list[str] | None) -> None:
        self.topic = topic
        self.codes = codes
        self.problems: list[tuple[int, str]] = []
        self.line = 0
        self.last_hash = "-"
        self._sources: dict[str, _Source] = {}
        self._unreadable = 0
        self._place: tuple[int, str, int] = (0, "", -1)

    def problem(self, what: str) -> None:
        """Something is wrong with the current line."""
        self.problems.append((self.line, what))

    def take(self, line: bytes) -> LoggedCommit | None:
        """The next line; the commit that it completes."""
        self.line += 1
        commit = self._read(line)
        if commit is None:
            self._unreadable += 1
            return None
        self.last_hash = commit.hash
        source = self._sources.setdefault(commit.source, _Source())
        at, due = (commit.seq, commit.part), (source.seq, source.part)
        if at < due:
            self._late(commit, source)
            return None
        if at > due:
            self._skipped(commit, source)
        else:
            self._check_place(commit)
        return self._assemble(commit, source)

    def end(self) -> None:
        """The file is at its end: no commit may be left in pieces."""
        for name, source in self._sources.items():
            if source.part and not self._unreadable:
                self.problem(
                    f"dropped: commit {source.seq} of {name} ends with part {source.part} "
                    f"of {source.parts}"
                )

    def _read(self, line: bytes) -> Commit | None:
        """The commit in a line, if the line can be trusted."""
        if not line.endswith(b"\n"):
            self.problem("torn: the file ends inside this line")
            return None
        text = line[:-1]
        try:
            commit = _decode(text)
        except msgspec.ValidationError as error:
            self.problem(f"edited: not a commit: {error}")
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.problem(f"torn: not valid JSON: {error}")
            return None
        if encode_again(commit) != text:
            self.problem(f"edited: {name_of(commit)} is not what its hash {commit.hash} says")
            return None
        if self.codes is not None and commit.code not in self.codes:
            self.problem(
                f"edited: written by version {commit.code!r}, the log by {' and '.join(self.codes)}"
            )
        return commit

    def _skipped(self, commit: Commit, source: _Source) -> None:
        """A commit ahead of the one that is due: a gap, unless bad lines account for it."""
        due, at = (source.seq, source.part), (commit.seq, commit.part)
        if not self._forgiven(commit, source):
            source.gaps.append(_Gap(due, at, len(self.problems)))
            self.problem(
                f"dropped: commit {due[0]} of {commit.source}{_part(due[1])} is missing "
                f"before {name_of(commit)}"
            )
        source.seq, source.part = at
        source.events = []

    def _late(self, commit: Commit, source: _Source) -> None:
        """A commit behind the one that is due: out of a gap, or there before."""
        at = (commit.seq, commit.part)
        gap = next((gap for gap in source.gaps if gap.due <= at < gap.came), None)
        if gap is None or at in gap.late:
            self.problem(f"doubled: {name_of(commit)} was there before")
            return
        if not gap.late or at == gap.due:
            line, _ = self.problems[gap.problem]
            what = f"stands before {name_of(commit)}, which is in line {self.line}"
            self.problems[gap.problem] = (line, f"swapped: this line {what}")
        gap.late.add(at)

    def _forgiven(self, commit: Commit, source: _Source) -> bool:
        """A gap that lines which could not be trusted account for."""
        gap = commit.seq - source.seq if commit.seq != source.seq else commit.part - source.part
        if gap > self._unreadable:
            return False
        self._unreadable -= gap
        return True

    def _check_place(self, commit: Commit) -> None:
        """Windows do not go back; in `faults` a window has its shards in order.

        What follows is held against this line, so one line out of place is at most two problems.
        """
        numbered = _NUMBERED.fullmatch(commit.source)
        kind, number = (numbered[1], int(numbered[2])) if numbered else (commit.source, 0)
        place = (commit.window, kind, number)
        before = self._place
        if place[0] < before[0] or (
            self.topic == FAULTS and kind != "host" and place < before and before[1] != "host"
        ):
            self.problem(
                f"swapped: {name_of(commit)} of window {commit.window} stands behind "
                f"{before[1]}-{before[2]} of window {before[0]}"
            )
        self._place = place

    def _assemble(self, commit: Commit, source: _Source) -> LoggedCommit | None:
        try:
            events = decode_events(self.topic, commit)
        except DataError as error:
            self.problem(f"edited: {error}")
            events = []
        if not 0 <= commit.part < commit.parts:
            self.problem(f"edited: {name_of(commit)} is part {commit.part} of {commit.parts}")
        source.events = [*source.events, *events] if commit.part else events
        if commit.part + 1 < commit.parts:
            source.part = commit.part + 1
            source.parts = commit.parts
            return None
        complete = LoggedCommit(self.line, commit.source, commit.seq, commit.window, source.events)
        source.seq = commit.seq + 1
        source.part = 0
        source.events = []
        return complete


def _part(part: int) -> str:
    return f" part {part + 1}" if part else ""
