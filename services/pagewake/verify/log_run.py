"""A log directory as the run it tells of: per simulated host, window by window, shard by shard.

The files of a run belong together: a shard's commit in `faults` closes a window that its commit in
`apf.*` opened, and its journal of that window stands in `journal`. They are read side by side, so
a log of any size needs the memory of one window. What a file itself says wrong is kept with it
(`bus.log_reader`); what does not fit between the files is a complaint here: windows that do not
follow one another, events outside of their window (design, "Windows").
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from pagewake.bus.log_lines import LoggedCommit
from pagewake.bus.log_reader import LogFile, LogProblem, LogReader
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS, JOURNAL_TOPIC
from pagewake.events.types import Event, ShardEnded, WindowClosed, WindowOpened


class PlacedEvent(NamedTuple):
    """An event and the record it stands in."""

    event: Event
    file: str
    line: int

    @property
    def where(self) -> str:
        """`file:line`, as messages name it."""
        return f"{self.file}:{self.line}"


class ShardWindow(NamedTuple):
    """One window of one shard: what reached it there, and what it emitted.

    `until_ns` is where it was closed.
    """

    source: str
    until_ns: int
    delivered: list[PlacedEvent]
    own: list[PlacedEvent]


class _Stream:
    """One file of the log, read commit by commit; `head` is the commit that comes next."""

    __slots__ = ("_commits", "file", "head", "name", "problems")

    def __init__(self, reader: LogReader, file: LogFile) -> None:
        self.file = file
        self.name = file.path.name
        self.problems: list[LogProblem] = []
        self._commits = reader.scan(file, self.problems)
        self.head: LoggedCommit | None = next(self._commits, None)

    def take(self) -> LoggedCommit | None:
        """Return the next commit and step on."""
        commit = self.head
        if commit is not None:
            self.head = next(self._commits, None)
        return commit

    def drain(self) -> None:
        """Read to the end, to learn what is wrong there."""
        while self.take() is not None:
            pass


class _Shard:
    """How far one shard is: its two files, and the window that was opened last.

    `ahead` was handed out and takes effect behind that window.
    """

    __slots__ = ("ahead", "apf", "from_ns", "journal", "last", "open_ended", "until_ns", "window")

    def __init__(self, apf: _Stream | None, journal: _Stream | None) -> None:
        self.apf = apf
        self.journal = journal
        self.window = -1
        self.from_ns = 0
        self.until_ns = 0
        self.last = False
        self.open_ended = False
        self.ahead: list[PlacedEvent] = []


class LogRun:
    """The run in a log; `complaints` are what does not fit, as `file:line: what`.

    `endings` are what the shards said of their VMs at the end, each with its place.
    """

    def __init__(self, reader: LogReader) -> None:
        self.reader = reader
        self.complaints: list[str] = []
        self.endings: list[tuple[str, ShardEnded]] = []
        self._files = {(file.topic, file.partition): file for file in reader.files}
        self._streams: dict[LogFile, _Stream] = {}
        self._guests = sum(file.topic == APF_GUEST for file in reader.files)

    def hosts(self) -> list[int]:
        """The numbers of the simulated hosts."""
        return [partition for topic, partition in self._files if topic == FAULTS]

    def windows(self, host: int) -> Iterator[ShardWindow]:
        """Every shard's windows in the order in which the host received them."""
        faults = self._stream(FAULTS, host)
        shards: dict[str, _Shard] = {}
        while faults is not None and (commit := faults.take()) is not None:
            shard = shards.get(commit.source)
            if shard is None:
                shard = shards[commit.source] = self._shard(commit.source)
            yield self._window(faults, commit, shard)
        for source, shard in shards.items():
            self._finish(source, shard)

    def integrity(self) -> list[LogProblem]:
        """All that is wrong with the directory and its files; reads what was not read yet."""
        problems = list(self.reader.faults)
        for file in self.reader.files:
            stream = self._streams.get(file) or _Stream(self.reader, file)
            stream.drain()
            problems += stream.problems
        return problems

    # ------------------------------------------------------------------ one window

    def _stream(self, topic: str, partition: int) -> _Stream | None:
        file = self._files.get((topic, partition))
        if file is None:
            return None
        if file not in self._streams:
            self._streams[file] = _Stream(self.reader, file)
        return self._streams[file]

    def _shard(self, source: str) -> _Shard:
        kind, _, number = source.rpartition("-")
        if kind not in ("guest", "nested") or not number.isdecimal():
            return _Shard(None, None)
        partition = int(number)
        topic, journal = APF_GUEST, partition
        if kind == "nested":
            topic, journal = APF_NESTED, self._guests + partition
        return _Shard(self._stream(topic, partition), self._stream(JOURNAL_TOPIC, journal))

    def _window(self, faults: _Stream, commit: LoggedCommit, shard: _Shard) -> ShardWindow:
        place = f"{faults.name}:{commit.line}"
        handed = self._handed(place, commit, shard)
        own = _events(faults, commit)
        self._close(place, commit, shard)
        delivered = _reached(handed, shard)
        journal = shard.journal
        if journal is not None and journal.head is not None:
            head = journal.head
            if head.source != commit.source or head.window < commit.window:
                where = f"{journal.name}:{head.line}"
                self._complain(where, f"window {head.window} of {head.source} does not stand here")
                journal.take()
            elif head.window == commit.window:
                journal.take()
                own += _events(journal, head)
                ended = [event for event in head.events if isinstance(event, ShardEnded)]
                self.endings += [(f"{journal.name}:{head.line}", event) for event in ended]
        self._inside(own, shard)
        return ShardWindow(commit.source, shard.until_ns, delivered, own)

    def _close(self, place: str, commit: LoggedCommit, shard: _Shard) -> None:
        closed = commit.events[-1] if commit.events else None
        if not isinstance(closed, WindowClosed) or closed.window != commit.window:
            self._complain(place, f"{commit.source} does not end with the close of its window")
            return
        at_ns = closed.until_ns
        if at_ns is not None:
            if not shard.open_ended or not shard.from_ns < at_ns <= shard.until_ns:
                self._complain(
                    place,
                    f"{commit.source} closes window {closed.window} at {at_ns} ns, which lasts "
                    f"from {shard.from_ns} to {shard.until_ns} ns",
                )
            shard.until_ns = at_ns
        if closed.next_ns is not None and closed.next_ns < shard.until_ns:
            self._complain(
                place,
                f"next_ns {closed.next_ns} of {commit.source} lies before the end of the window "
                f"that it closes, {shard.until_ns}",
            )

    def _handed(self, place: str, commit: LoggedCommit, shard: _Shard) -> list[PlacedEvent]:
        apf = shard.apf
        head = apf.head if apf is not None else None
        if apf is None or head is None or head.window != commit.window:
            self._complain(place, f"window {commit.window} of {commit.source} was never opened")
            return []
        apf.take()
        opened = head.events[0] if head.events else None
        self._open(f"{apf.name}:{head.line}", opened, commit.window, shard)
        handed = _events(apf, head)
        self._inside(handed, shard)
        return [placed for placed in handed if placed.event.vm]

    def _open(self, where: str, opened: object, window: int, shard: _Shard) -> None:
        if not isinstance(opened, WindowOpened) or opened.window != window:
            self._complain(where, f"does not begin with the opening of window {window}")
            return
        if window != shard.window + 1 or shard.last:
            after = "the last window" if shard.last else f"window {shard.window}"
            self._complain(where, f"window {window} follows {after}")
        if opened.until_ns < shard.until_ns + (not opened.last):
            self._complain(where, f"window {window} ends before it begins, at {shard.until_ns} ns")
        shard.window = window
        shard.from_ns, shard.until_ns = shard.until_ns, opened.until_ns
        shard.last = opened.last
        shard.open_ended = opened.lookahead_ns > 0

    def _inside(self, events: list[PlacedEvent], shard: _Shard) -> None:
        from_ns, until_ns = shard.from_ns, shard.until_ns
        for placed in events:
            if not from_ns <= placed.event.at_ns < until_ns:
                self._complain(
                    placed.where,
                    f"{type(placed.event).__name__} n={placed.event.n} of {placed.event.vm} at "
                    f"{placed.event.at_ns} ns is outside of its window {shard.window} "
                    f"({from_ns} to {until_ns} ns)",
                )

    def _finish(self, source: str, shard: _Shard) -> None:
        if not shard.last and shard.apf is not None:
            self._complain(
                shard.apf.name, f"ends with window {shard.window}, which is not the last"
            )
        for stream, what in ((shard.apf, "opened"), (shard.journal, "written of")):
            if stream is not None and stream.head is not None:
                head = stream.head
                where = f"{stream.name}:{head.line}"
                self._complain(where, f"window {head.window} {what}, but {source} never closed it")

    def _complain(self, where: str, what: str) -> None:
        self.complaints.append(f"{where}: window: {what}")


def _reached(handed: list[PlacedEvent], shard: _Shard) -> list[PlacedEvent]:
    """What was handed out, now or before, and takes effect in the window that is closed."""
    if not shard.ahead and (not handed or handed[-1].event.at_ns < shard.until_ns):
        return handed
    handed = sorted([*shard.ahead, *handed], key=_instant)
    behind = bisect_left(handed, shard.until_ns, key=_instant)
    shard.ahead = handed[behind:]
    return handed[:behind]


def _instant(placed: PlacedEvent) -> int:
    return placed.event.at_ns


def _events(stream: _Stream, commit: LoggedCommit) -> list[PlacedEvent]:
    name, line = stream.name, commit.line
    return [PlacedEvent(event, name, line) for event in commit.events if isinstance(event, Event)]
