"""The lines of a recording: who wrote what when, in the shapes that kernels and tools print.

A line is `HEAD: EVENT: TEXT`, and the head is a thread, where it ran, and the time.  A recording
has millions of lines and few threads, so the part of a head before its time is taken apart once.
Lines of events that nobody asked for are passed over by the name of their event alone.

    tracefs trace, trace_pipe    `  COMM-PID   (TGID) [CPU] flags  1.000001: kvm_entry: vcpu 0`
    trace-cmd report             `  COMM-PID   [CPU]     1.000001: kvm_entry:     vcpu 0`
    trace-cmd report -l          `  COMM-PID   CPUflags  1.000001: kvm_entry:     vcpu 0`
    perf script                  `  COMM PID/TID [CPU]   1.000001: kvm:kvm_entry: vcpu 0`
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator
from typing import NamedTuple, TypeAlias

from pagewake.errors import DataError
from pagewake.recorded.opening import opened


class Line(NamedTuple):
    """An event that a kernel logged; `pid` is the thread, `tgid` its process if recorded."""

    time_ns: int
    comm: str
    pid: int
    tgid: int | None
    cpu: int | None
    event: str
    text: str
    number: int
    file: str


class Lost(NamedTuple):
    """Events that the tracer had no room for, on one CPU; `time_ns` is that of the line before."""

    time_ns: int
    cpu: int | None
    events: int | None
    number: int
    file: str


class Unreadable(NamedTuple):
    """A line that says nothing certain: what it hid is unknown."""

    time_ns: int
    what: str
    number: int
    file: str


Item: TypeAlias = Line | Lost | Unreadable


class _Thread(NamedTuple):
    """What a head says before its time."""

    comm: str
    pid: int
    tgid: int | None
    cpu: int | None


_SHAPES = {
    "tracefs": re.compile(
        r"\s*(?P<comm>.*?)-(?P<pid>\d+) +(?:\( *(?P<tgid>\d+|-+)\) +)?"
        r"\[(?P<cpu>\d+)\](?: +[^\s\[\]]{4,7})?\s*"
    ),
    "latency": re.compile(r"\s*(?P<comm>.*?)-(?P<pid>\d+) +(?P<cpu>\d+)[^\s\d][^\s]{2,5}\s*"),
    "perf": re.compile(
        r"\s*(?P<comm>.*?) +(?:(?P<tgid>\d+)/)?(?P<pid>\d+)(?: +\[(?P<cpu>\d+)\])?"
        r"(?: +[A-Za-z*]+)?\s*"
    ),
}
_LOST = re.compile(r"CPU:(?P<cpu>\d+) \[LOST (?:(?P<count>\d+) )?EVENTS\]")
_IDLE = re.compile(r"\s*(?:#.*)?")
"""Headers and empty lines."""
_HEADS_MAX = 100_000  # threads that come and go; then all are learned again
_SURE = 200  # lines of no shape at the beginning of a file, after which it is none of ours


class LineReader:
    """Takes a recording's text as it comes, gives its lines."""

    def __init__(self, file: str, wanted: Container[str]) -> None:
        """`wanted` are the events that somebody reads, without the name of their group."""
        self.others: Counter[str] = Counter()
        """Lines of each event that was not wanted."""
        self.shape: str | None = None
        self._file = file
        self._wanted = wanted
        self._number = 0
        self._time_ns = 0
        self._events: dict[str, str | None] = {}
        self._heads: dict[str, _Thread] = {}

    def feed(self, block: str) -> Iterator[Item]:
        """The items of a block of whole lines; DataError if this is no recording at all."""
        lines = block.split("\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            self._number += 1
            try:
                head, middle, text = line.split(": ", 2)
                event = self._events[middle]
            except (ValueError, KeyError):
                yield from self._unusual(line)
                continue
            if event is None:
                self.others[middle] += 1
                continue
            yield self._line(head, event, text)

    def _line(self, head: str, event: str, text: str) -> Item:
        where, _, time = head.rpartition(" ")
        thread = self._heads.get(where) or self._thread(where)
        whole, _, part = time.partition(".")
        if thread is None or not (whole.isdecimal() and part.isdecimal() and len(part) <= 9):
            return self._unreadable("no thread and time in front of the event")
        time_ns = int(whole) * 1_000_000_000 + int(part) * 10 ** (9 - len(part))
        self._time_ns = time_ns
        return Line(time_ns, *thread, event, text.rstrip("\r"), self._number, self._file)

    def _thread(self, where: str) -> _Thread | None:
        for shape, pattern in _SHAPES.items():
            if self.shape in {None, shape} and (found := pattern.fullmatch(where)):
                self.shape = shape
                break
        else:
            return None
        tgid, cpu = found.groupdict().get("tgid"), found["cpu"]
        thread = _Thread(
            found["comm"],
            int(found["pid"]),
            int(tgid) if tgid and tgid.isdecimal() else None,
            int(cpu) if cpu else None,
        )
        if len(self._heads) >= _HEADS_MAX:
            self._heads.clear()
        self._heads[where] = thread
        return thread

    def _unusual(self, line: str) -> Iterator[Item]:
        """A line that is not known by its event."""
        if _IDLE.fullmatch(line):
            return
        if lost := _LOST.match(line):
            count = lost["count"]
            yield Lost(
                self._time_ns, int(lost["cpu"]), int(count) if count else None,
                self._number, self._file,
            )  # fmt: skip
            return
        head, _, rest = line.partition(": ")
        middle, _, text = rest.partition(": ")
        name = middle.rpartition(":")[2].split(" ")[-1]
        if not re.fullmatch(r"\w+", name) or self._thread(head.rpartition(" ")[0]) is None:
            if self.shape is None and self._number > _SURE:
                raise DataError(self.nothing())
            yield self._unreadable("no line of a recording")
            return
        self._events[middle] = name if name in self._wanted else None
        if name in self._wanted:
            yield self._line(head, name, text)
        else:
            self.others[middle] += 1

    def _unreadable(self, what: str) -> Unreadable:
        return Unreadable(self._time_ns, what, self._number, self._file)

    def nothing(self) -> str:
        """Why this is no recording, and what would be one."""
        return (
            f"{self._file}:1: no recording: no line is one of tracefs, trace-cmd report or"
            " perf script; give what one of them prints"
        )


def read_lines(name: str, wanted: Container[str]) -> Iterator[Item]:
    """The items of a whole file, or of `-`."""
    with opened(name) as source:
        reader = LineReader(source.name, wanted)
        for block in source.blocks():
            yield from reader.feed(block)
    if reader.shape is None:
        raise DataError(reader.nothing())
