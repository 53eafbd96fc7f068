"""A growing recording, read, checked and counted as it comes.

What is kept is bounded: the state of each vcpu, the page-ins in flight, and counters.  When more
VMs have come and gone than a host runs at a time, all of it is learned anew, as behind lost lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pagewake.cluster.tally import Tally
from pagewake.errors import DataError
from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    ApfStarted,
    Event,
    SyncFault,
    VcpuHalted,
    VcpuResumed,
    WorkerCompleted,
)
from pagewake.recorded.check import Breach, RecordedChecks, rules_for
from pagewake.recorded.checkable import checks_of, unheard
from pagewake.recorded.era import Era, era_of
from pagewake.recorded.following import Begun, More
from pagewake.recorded.lines import Item, Line, LineReader, Lost
from pagewake.recorded.placed import Found, Span
from pagewake.recorded.stitch import WANTED, Stitcher
from pagewake.verify.log_run import PlacedEvent

VMS_MAX: Final = 1024
"""That came and went; a large host has as many microVMs at a time."""
ERA_LINES: Final = 10_000
"""After so many lines the kernel is guessed anew: what tells kernels apart may come late."""
PAGE_INS: Final = "host_page_in_sim_seconds"
Tell = Callable[[Breach | Span | Era], None]


class Standing:
    """Page-ins in flight, and vcpus that are halted for one; times of page-ins go into a tally."""

    def __init__(self, tally: Tally) -> None:
        self.started: dict[tuple[str, int], int] = {}
        self.still: set[tuple[str, int]] = set()
        self._tally = tally
        self._moves: dict[type[Event], Callable[[Any], None]] = {
            ApfStarted: self._start,
            WorkerCompleted: self._end,
            ApfPresented: self._end,
            ApfCleared: self._clear,
            SyncFault: self._sync,
            VcpuHalted: self._halt,
            VcpuResumed: self._resume,
        }

    def feed(self, event: Event) -> None:
        """What an event changes of it."""
        move = self._moves.get(type(event))
        if move is not None:
            move(event)

    def forget(self) -> None:
        """What is not over may have ended unseen."""
        self.started.clear()
        self.still.clear()

    def _start(self, event: ApfStarted) -> None:
        if event.token is not None:
            self.started[event.vm, event.token] = event.at_ns

    def _end(self, event: WorkerCompleted | ApfPresented) -> None:
        started_ns = self.started.pop((event.vm, event.token), None)
        if started_ns is not None:
            self._tally.note(PAGE_INS, event.at_ns - started_ns)

    def _clear(self, event: ApfCleared) -> None:
        for token in event.tokens:
            self.started.pop((event.vm, token), None)

    def _sync(self, event: SyncFault) -> None:
        self._tally.note(PAGE_INS, event.took_ns)

    def _halt(self, event: VcpuHalted) -> None:
        if event.why != "hlt":
            self.still.add((event.vm, event.vcpu))

    def _resume(self, event: VcpuResumed) -> None:
        self.still.discard((event.vm, event.vcpu))


class LiveRecording:
    """Takes what comes of one file; counts stand in `tally` and the other counters."""

    def __init__(
        self, file: str, profile: str | None, groups: Sequence[Sequence[int]], tell: Tell
    ) -> None:
        """`tell` hears of violations, of what is not known, and of which kernel it is."""
        self.tally = Tally()
        self._standing = Standing(self.tally)
        self.lines = 0
        self.spans: Counter[str] = Counter()
        self.breaches: Counter[str] = Counter()
        self.lost_events = 0
        self.began_ns: int | None = None
        self.at_ns = 0
        self.ended = False
        self._file = file
        self._groups = groups
        self._tell = tell
        self._profile = profile
        self._reader = LineReader(file, WANTED)
        self._passed = 0
        self._era_due = ERA_LINES
        self._begin()

    def _begin(self) -> None:
        self._stitcher = Stitcher(self._groups)
        self._standing.forget()
        self._choose(self._guess())

    def _guess(self) -> Era:
        if self._profile is not None:
            return Era(self._profile, "as --profile says")
        return era_of(self._stitcher.sight)

    def _choose(self, era: Era) -> None:
        self.era = era
        self._checks = RecordedChecks(rules_for(era.profile))

    # ------------------------------------------------------------------ what comes

    def take(self, more: More) -> None:
        """Lines, or that the file begins anew; DataError if it is no recording."""
        if isinstance(more, Begun):
            self._take(self._reader.feed(more.torn))
            self._passed += self._reader.others.total()
            self._reader = LineReader(self._file, WANTED)
            if more.lost:
                self._take([Lost(self.at_ns, None, None, 1, self._file)])
        else:
            self._take(self._reader.feed(more.text))
        self._look_around()

    def finish(self) -> None:
        """There is no more."""
        self.ended = True
        self._found(self._stitcher.finish())
        self._checks.finish()
        self._drain()

    def _take(self, items: Iterable[Item]) -> None:
        feed = self._stitcher.feed
        for item in items:
            if isinstance(item, Line):
                self.lines += 1
                if self.began_ns is None:
                    self.began_ns = item.time_ns
                self.at_ns = item.time_ns
            elif isinstance(item, Lost):
                self.lost_events += item.events or 0
            if found := feed(item):
                self._found(found)

    def _found(self, found: Sequence[Found]) -> None:
        self._checks.take(found)
        events = [one.event for one in found if isinstance(one, PlacedEvent)]
        self.tally.count(events)
        for event in events:
            self._standing.feed(event)
        for one in found:
            if isinstance(one, Span):
                self.spans[one.why] += 1
                self._standing.forget()
                self._tell(one)
        self._drain()

    def _drain(self) -> None:
        for breach in self._checks.drain():
            if breach.rule in unheard(checks_of(self._stitcher.sight)):
                continue
            self.breaches[breach.rule] += 1
            self._tell(breach)

    def _look_around(self) -> None:
        if len(self._stitcher.vms) > VMS_MAX:
            self._begin()
        if self.lines >= self._era_due:
            self._era_due = self.lines + ERA_LINES
            era = self._guess()
            if era.profile != self.era.profile:
                self._choose(era)
                self._tell(era)

    # ------------------------------------------------------------------ what there is

    @property
    def passed(self) -> int:
        """Lines of events that nobody reads."""
        return self._passed + self._reader.others.total()

    def must_be_one(self) -> None:
        """DataError if all has come, and no line of it is one of a recording."""
        if not self.recognized:
            raise DataError(self._reader.nothing())

    @property
    def recognized(self) -> bool:
        """Whether a line of a recording has come."""
        return self._reader.shape is not None or self.lines > 0

    @property
    def reached_ns(self) -> int:
        """Since its first line."""
        return self.at_ns - (self.began_ns or 0)

    @property
    def in_flight(self) -> int:
        """Page-ins that were started and are not over."""
        return len(self._standing.started)

    def vcpus(self) -> dict[str, int]:
        """By VM."""
        return {vm.name: len(vm.vcpus) for vm in self._stitcher.vms}

    def still(self) -> Counter[str]:
        """By VM: vcpus that are halted for a page."""
        return Counter(vm for vm, _ in self._standing.still)
