"""The lines of a recording: who wrote what when, whatever printed it (`shapes.py`).

A line is `HEAD: EVENT: TEXT`, and the head is a thread, where it ran, and the time.  A recording
has millions of lines and few threads, so the part of a head before its time is taken apart once.
Lines of events that nobody asked for are passed over by the name of their event alone.

What cannot be read is told: a line of no shape and a time that goes back are an `Unreadable`,
events that the tracer dropped are a `Lost`.  A file that is no recording at all, or whose times are
no times, is a DataError.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from pagewake.errors import DataError
from pagewake.recorded import shapes
from pagewake.recorded.names import SWITCH
from pagewake.recorded.opening import opened
from pagewake.recorded.shapes import Thread
from pagewake.recorded.texts import as_printed
from pagewake.recorded.threads import COMM


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
    """Events that the tracer had no room for; `time_ns` is that of the line before."""

    time_ns: int
    cpu: int | None
    events: int | None
    number: int
    file: str


class Unreadable(NamedTuple):
    """Lines that say nothing certain, from this one on: what they hid is unknown."""

    time_ns: int
    what: str
    number: int
    file: str


Item: TypeAlias = Line | Lost | Unreadable
Wanted: TypeAlias = Mapping[str, re.Pattern[str] | None]
"""The events that somebody reads, without the name of their group; the form of the whole text."""

TEXT_SHOWN: Final = 80
HEADS_MAX: Final = 100_000  # threads come and go; then all are learned again
EVENTS_MAX: Final = 10_000  # names of events; kernels have some 2,000
SURE_LINES: Final = 1_000  # of no shape at the beginning of a file, after which it is none of ours
BACK_NS_MAX: Final = 1_000_000
"""CPUs' clocks differ, so a later line may have an earlier time: by microseconds, where a kernel
takes trouble with them.  More is another recording behind the first, or a clock that was set."""
VCPU_BITS: Final = 12  # of a token; a VM has no more vcpus
BACK_TIMES_MAX: Final = 1_000
"""So often a clock is not set: these are no times, or two recordings line by line."""


class LineReader:
    """Takes a recording's text as it comes, gives its lines."""

    def __init__(self, file: str, wanted: Wanted) -> None:
        self.shape: str | None = None
        self.stepped_back = 0
        """Lines whose time was before that of the line before, by little: it is taken as that."""
        self._file = file
        self._wanted = wanted
        self._number = 0
        self.began_ns: int | None = None
        """The time of the first line, of any event; `time_ns` is that of the last one read."""
        self.time_ns = 0
        self._back = 0
        self._told = False
        self._events: dict[str, str | None] = {}
        self._passed: Counter[str] = Counter()
        self._heads: dict[str, Thread] = {}
        self._vcpus_of: dict[int, dict[str, int]] = {}
        self._no_threads = False

    def feed(self, block: str) -> Iterator[Item]:
        """The items of a block of whole lines; if the last one has no end, it is torn.

        DataError if this is no recording at all.
        """
        *lines, torn = block.split("\n")
        if "\0" in block:
            lines = ["\0" if "\0" in line else line for line in lines]
        events, passed = self._events, self._passed
        for line in lines:
            self._number += 1
            try:
                head, middle, text = line.split(": ", 2)
                event = events[middle]
            except (ValueError, KeyError):
                yield from self._unusual(line)
                continue
            if (" [" in text or ": kvm" in text) and shapes.SWALLOWED.search(text):
                yield from self._unreadable("two lines in one: the end of the first is missing")
            elif event is None:
                passed[middle] += 1
            else:
                yield from self._line(head, event, text)
        if torn:
            self._number += 1
            yield from self._unreadable("the line has no end: the recording is cut off here")

    def _line(self, head: str, event: str, text: str) -> Iterator[Item]:
        where, _, time = head.rpartition(" ")
        thread = self._heads.get(where) or self._thread(where)
        if thread is None:
            yield from self._unreadable(f"no thread in front of {event}")
            return
        time_ns = self._ns(time)
        if time_ns is None:
            yield from self._unreadable(f'"{time}" is no time')
            return
        if time_ns < self.time_ns:
            yield from self._went_back(time_ns)
            time_ns = self.time_ns
        self.time_ns = time_ns
        text = text.rstrip()
        if self.shape == "perf":
            if self._no_threads and event == SWITCH:
                return
            text = as_printed(event, shapes.SYMBOL.sub("", text) if " ffff" in text else text)
        elif text.startswith(" "):  # trace-cmd's column of names
            text = as_printed(event, text.lstrip())
        form = self._wanted[event]
        if form is not None and form.fullmatch(text) is None:
            yield from self._unreadable(f'{event} with "{text[:TEXT_SHOWN]}"')
            return
        self._told = False
        yield Line(time_ns, *thread, event, text, self._number, self._file)

    def _ns(self, time: str) -> int | None:
        whole, point, part = time.partition(".")
        digits = whole.isdecimal() and len(whole) <= shapes.MOST_DIGITS
        if digits and part.isdecimal() and 6 <= len(part) <= 9:
            return int(whole) * 1_000_000_000 + int(part.ljust(9, "0"))
        if not point and shapes.COUNTED.fullmatch(time):
            raise DataError(
                f"{self._file}:{self._number}: {time} is a count of a clock, no time"
                " (trace_clock is counter, uptime or x86-tsc): record it with trace_clock mono"
            )
        return None

    def _went_back(self, time_ns: int) -> Iterator[Item]:
        by_ns = self.time_ns - time_ns
        if by_ns <= BACK_NS_MAX:
            self.stepped_back += 1
            return
        self._back += 1
        if self._back > BACK_TIMES_MAX:
            raise DataError(
                f"{self._file}:{self._number}: the time has gone back {self._back} times: these"
                " are differences of times, or two recordings line by line; give each recording"
                " as a file of its own, with plain times"
            )
        self.time_ns = time_ns
        yield from self._unreadable(f"the time goes back by {by_ns / 1e9:.6f} s")

    def _thread(self, where: str) -> Thread | None:
        found = shapes.thread_of(where, self.shape)
        if found is None:
            return None
        self.shape, thread = found
        if len(self._heads) >= HEADS_MAX:
            self._heads.clear()
        if self.shape == "perf" and thread.tgid is None and COMM.match(thread.comm):
            thread = self._by_name(thread)
        self._heads[where] = thread
        return thread

    def _by_name(self, thread: Thread) -> Thread:
        """With perf's `-F pid` vcpus of a VM have one number: they are told apart by their names.

        What sched_switch says of threads is no use then, as the numbers of threads are not known.
        """
        names = self._vcpus_of.setdefault(thread.pid, {})
        number = names.setdefault(thread.comm, len(names))
        if not number:
            return thread
        self._no_threads = True
        return thread._replace(pid=-(thread.pid << VCPU_BITS | number))

    def _unusual(self, line: str) -> Iterator[Item]:
        """A line that is not known by its event."""
        if shapes.QUIET.fullmatch(line):
            yield from self._header(line)
        elif lost := shapes.LOST.fullmatch(line):
            said = lost.groupdict()
            cpu = said["cpu"] or said["perf_cpu"]
            events = said["lost"] or said["dropped"] or said["perf"]
            yield self._lost(int(cpu) if cpu else None, int(events) if events else None)
        elif shapes.MERGED.fullmatch(line):
            raise DataError(
                f"{self._file}:{self._number}: a report of several trace.dat files in one:"
                " write the report of each into a file of its own"
            )
        elif (found := self._taken_apart(line)) is None:
            if self.shape is None and self._number > SURE_LINES:
                raise DataError(self.nothing())
            yield from self._unreadable("no line of a recording")
        elif found[1] in self._wanted:
            yield from self._line(*found)

    def _taken_apart(self, line: str) -> tuple[str, str, str] | None:
        """Head, event and text of a line of any event; a comm may have a colon too."""
        end = line.find(": ")
        while end > 0:
            head, rest = line[:end], line[end + 2 :]
            where, _, time = head.rpartition(" ")
            found = shapes.EVENT.fullmatch(rest)
            if found and self._ns(time) is not None and self._thread(where):
                event = found["name"].rpartition(":")[2]
                if self.began_ns is None:
                    self.began_ns = self._ns(time)
                self._learn(rest[: found.end("name")], event)
                return head, event, found["text"] or ""
            end = line.find(": ", end + 1)
        return None

    def _learn(self, middle: str, event: str) -> None:
        """The next line of the event is known by what stands there."""
        if len(self._events) >= EVENTS_MAX:  # a period is in front of each, say
            self._events.clear()
            counted = self.others
            self._passed.clear()
            self._passed.update(counted)
        if event in self._wanted:
            self._events[middle] = event
        else:
            self._events[middle] = None
            self._passed[middle] += 1

    def _header(self, line: str) -> Iterator[Item]:
        if found := shapes.OVERWRITTEN.fullmatch(line):
            overwritten = int(found["written"]) - int(found["kept"])
            if overwritten > 0:
                yield self._lost(None, overwritten)
        elif shapes.LATENCY_FORMAT.fullmatch(line):
            raise DataError(
                f"{self._file}:{self._number}: the latency format has no times, only differences:"
                " write 0 to options/latency-format in tracefs and read `trace` again"
            )

    def _lost(self, cpu: int | None, events: int | None) -> Lost:
        return Lost(self.time_ns, cpu, events, self._number, self._file)

    def _unreadable(self, what: str) -> Iterator[Unreadable]:
        """Told once, until a line can be read again."""
        if not self._told:
            self._told = True
            yield Unreadable(self.time_ns, what, self._number, self._file)

    @property
    def others(self) -> Counter[str]:
        """Lines of each event that was not wanted."""
        found: Counter[str] = Counter()
        for middle, lines in self._passed.items():
            found[middle.split()[-1]] += lines
        return found

    def nothing(self) -> str:
        """Why this is no recording, and what would be one."""
        return (
            f"{self._file}:1: no recording: no line is one of tracefs, trace-cmd report or"
            " perf script; give what one of them prints"
        )


def read_lines(name: str, wanted: Wanted) -> Iterator[Item]:
    """The items of a whole file, or of `-`."""
    with opened(name) as source:
        reader = LineReader(source.name, wanted)
        for block in source.blocks():
            yield from reader.feed(block)
    if reader.shape is None:
        raise DataError(reader.nothing())
