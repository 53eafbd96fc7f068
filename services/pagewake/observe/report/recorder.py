"""The most interesting 100 ms of a run, found while its events pass by.

The rule: of all stretches of 100 ms that begin at a multiple of 10 ms, the one of the VM with the
most sleeps, wakes, halts for a page and waits in the vcpu thread; of equal ones the earliest. A VM
keeps what its vcpus did in the last 100 ms only, and a stretch is copied when it beats the best so
far, so a run of any length needs the memory of 100 ms. The states themselves are those of
`timeline.trace_tracks`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from pagewake.events.types import WorkerCompleted
from pagewake.observe.report.durations import Durations
from pagewake.observe.report.overview import Overview
from pagewake.observe.report.timeline import (
    Flight,
    Mark,
    Ran,
    Span,
    Timeline,
    is_halt,
)
from pagewake.timeline.on_cpu import NOBODY, Guest
from pagewake.timeline.trace_tracks import (
    BLACKOUT,
    INTERVENTION,
    NEVER_TOLD,
    PENDING,
    ArrowPart,
    VmTracks,
)
from pagewake.verify.log_run import PlacedEvent

# Ten steps of 10 ms: the stretch of 100 ms that the header is about.
STEP_NS = 10_000_000
STEPS = 10
STRETCH_NS = STEP_NS * STEPS
MAX_VCPUS = 16
"""A picture of more tracks does not fit a screen; the busiest ones are shown."""
MAX_SPANS = 20_000
"""Kept per VM; a stretch with more begins where they begin, and says so."""


OVERVIEWS_MAX = 2_048
"""Vcpus whose whole run is kept in less detail: 16 KiB each; of more, the first ones."""


class Lost(NamedTuple):
    """The guest was told of a fault, and never that its page is there; `reason` as in the event."""

    vm: str
    vcpu: int
    at_ns: int
    reason: str

    @property
    def why(self) -> str:
        """The reason in words."""
        return NEVER_TOLD.get(self.reason, self.reason)


class Pending(NamedTuple):
    """A vcpu slept in HLT with an exception pending."""

    vm: str
    vcpu: int
    from_ns: int
    until_ns: int


class Best:
    """The best stretch so far, over all VMs, and around it the whole run of its VM in less detail.

    Beside it, of all VMs, what a reader has to be told: `lost`, tokens that the guest waits for in
    vain, and `pending`, how long vcpus slept in HLT with an exception pending.
    """

    def __init__(self) -> None:
        self._key: tuple[int, int, int] | None = None
        self.timeline: Timeline | None = None
        self.overview: Overview | None = None
        self.lost: list[Lost] = []
        self.pending: list[Pending] = []
        self.overviews_left = OVERVIEWS_MAX

    def offer(
        self,
        happened: int,
        from_ns: int,
        vm: int,
        picture: Callable[[], Timeline],
        overview: Overview | None = None,
    ) -> None:
        """A stretch; `vm` is the number of its VM, for equal ones."""
        key = (happened, -from_ns, -vm)
        if self._key is None or key > self._key:
            self._key = key
            self.timeline = picture()
            self.overview = overview


class VmRecorder:
    """Takes the tracks of one VM (`Tracks`), as a trace file does, and keeps the latest 100 ms."""

    def __init__(
        self,
        name: str,
        number: int,
        best: Best,
        halts: Durations,
        waits: Durations,
        guest: Guest = NOBODY,
        *,
        host_alone: bool = False,
    ) -> None:
        self.name = name
        self.tracks = VmTracks(self, guest, host_alone=host_alone)
        self._overview = Overview()
        self._number = number
        self._best = best
        self._halts = halts
        self._waits = waits
        self._open: dict[int, list[tuple[str, int]]] = {}
        self._spans: deque[Span] = deque(maxlen=MAX_SPANS)
        self._flying: dict[int, Flight] = {}
        self._tasks: deque[Ran] = deque(maxlen=MAX_SPANS)
        self._marks: deque[Mark] = deque(maxlen=MAX_SPANS)
        self._flights: deque[Flight] = deque(maxlen=MAX_SPANS)
        self._sleepers: deque[tuple[int, int]] = deque([(0, 0)], maxlen=MAX_SPANS)
        self._steps: deque[int] = deque([0], maxlen=STEPS)
        self._step = 0
        self._closing = False

    # ------------------------------------------------------------------ from the VM's order

    def take(self, placed: PlacedEvent) -> None:
        event = placed.event
        self._advance(event.at_ns // STEP_NS)
        if isinstance(event, WorkerCompleted):
            arrow = self.tracks.arrow_of(event.token)
            if arrow is not None and arrow in self._flying:
                self._flying[arrow] = self._flying[arrow]._replace(arrived_ns=event.at_ns)
        self.tracks.take(placed)

    def close(self, at_ns: int) -> None:
        self._advance(at_ns // STEP_NS)
        self._closing = True
        self._offer(at_ns)
        self.tracks.close(at_ns)
        self._overview.close(at_ns)

    def _advance(self, step: int) -> None:
        """Time has reached this step; every stretch that ends before it is complete."""
        while self._step < step:
            self._offer((self._step + 1) * STEP_NS)
            self._step += 1
            self._steps.append(0)
            if not any(self._steps) and self._step < step:
                self._step = step
                self._steps.extend([0] * STEPS)
        self._forget((self._step + 1) * STEP_NS - STRETCH_NS)

    def _forget(self, before_ns: int) -> None:
        while self._spans and self._spans[0].until_ns < before_ns:
            self._spans.popleft()
        while self._flights and (self._flights[0].until_ns or 0) < before_ns:
            self._flights.popleft()
        while self._tasks and self._tasks[0].until_ns < before_ns:
            self._tasks.popleft()
        while self._marks and self._marks[0].at_ns < before_ns:
            self._marks.popleft()
        sleepers = self._sleepers
        while len(sleepers) > 1 and sleepers[1][0] <= before_ns:
            sleepers.popleft()

    def _offer(self, until_ns: int) -> None:
        from_ns = max(0, (self._step + 1) * STEP_NS - STRETCH_NS)
        if from_ns == 0 and until_ns < STRETCH_NS and not self._closing:
            return
        happened = sum(self._steps)
        self._best.offer(
            happened,
            from_ns,
            self._number,
            lambda: self._picture(from_ns, until_ns, happened),
            self._overview,
        )

    def _picture(self, from_ns: int, until_ns: int, happened: int) -> Timeline:
        spans = [span for span in self._spans if span.until_ns > from_ns]
        for vcpu, stack in self._open.items():
            spans += [Span(vcpu, state, since, until_ns) for state, since in stack]
        flights = [one for one in self._flights if (one.until_ns or 0) > from_ns]
        flights += self._flying.values()
        tasks = [one for one in self._tasks if one.until_ns > from_ns]
        tasks += [Ran(*slice_) for slice_ in self.tracks.running(until_ns)]
        busiest = Counter(item.vcpu for items in (spans, flights) for item in items)
        by_weight = sorted(busiest, key=lambda vcpu: (-busiest[vcpu], vcpu))
        shown = sorted(by_weight[:MAX_VCPUS])
        return Timeline(
            vm=self.name,
            from_ns=from_ns,
            until_ns=until_ns,
            happened=happened,
            spans=sorted(span for span in spans if span.vcpu in shown),
            flights=sorted((one for one in flights if one.vcpu in shown), key=lambda one: one[:2]),
            sleepers=list(self._sleepers),
            vcpus=shown,
            hidden_vcpus=len(busiest) - len(shown),
            complete=len(self._spans) < MAX_SPANS and len(self._flights) < MAX_SPANS,
            tasks=sorted(one for one in tasks if one.vcpu in shown and one.until_ns > from_ns),
            marks=[mark for mark in self._marks if mark.at_ns >= from_ns],
        )

    # ------------------------------------------------------------------ from the tracks

    def add_vcpu(self, vcpu: int) -> None:
        if self._best.overviews_left:
            self._best.overviews_left -= 1
            self._overview.add_vcpu(vcpu)

    def begin(self, at_ns: int, vcpu: int, state: str) -> None:
        self._open.setdefault(vcpu, []).append((state, at_ns))
        if state == BLACKOUT or is_halt(state):
            self._steps[-1] += 1

    def end(self, at_ns: int, vcpu: int, state: str) -> None:
        opened, since_ns = self._open[vcpu].pop()
        assert opened == state, f"{state} ends inside {opened}"
        self._spans.append(Span(vcpu, state, since_ns, at_ns))
        self._overview.state(vcpu, state, since_ns, at_ns)
        if state == PENDING and at_ns > since_ns:  # later kernels resume at the same instant
            self._best.pending.append(Pending(self.name, vcpu, since_ns, at_ns))
        if self._closing:
            return
        if state == BLACKOUT:
            self._waits.add(at_ns - since_ns)
        elif is_halt(state):
            self._halts.add(at_ns - since_ns)

    def begin_sleep(self, at_ns: int, task: str, number: int, args: dict[str, object]) -> None:
        self._steps[-1] += 1

    def end_sleep(self, at_ns: int, task: str, number: int, args: dict[str, object]) -> None:
        self._steps[-1] += 1

    def instant(self, at_ns: int, vcpu: int | None, name: str, args: dict[str, object]) -> None:
        """Of the instants, interventions are drawn."""
        if INTERVENTION in args:
            self._marks.append(Mark(at_ns, vcpu, name))
            self._overview.marks.append(Mark(at_ns, vcpu, name))

    def ran(self, vcpu: int, task: str, from_ns: int, until_ns: int) -> None:
        self._tasks.append(Ran(vcpu, task, from_ns, until_ns))
        self._overview.ran(vcpu, task, from_ns, until_ns)

    def never(self, at_ns: int, vcpu: int, number: int, why: str, *, injected: bool) -> None:
        words = NEVER_TOLD.get(why, why)
        flight = self._flying.pop(number)
        self._flights.append(flight._replace(until_ns=at_ns, never=words, lost=injected))
        if injected:
            self._best.lost.append(Lost(self.name, vcpu, at_ns, why))

    def arrow(self, part: ArrowPart, at_ns: int, vcpu: int, number: int) -> None:
        if part == "start":
            self._flying[number] = Flight(vcpu, at_ns, None)
        elif part == "finish" and number in self._flying:
            self._flights.append(self._flying.pop(number)._replace(until_ns=at_ns))

    def counter(self, at_ns: int, name: str, value: int) -> None:
        if name == "sleepers":
            self._sleepers.append((at_ns, value))
            self._overview.sleepers(at_ns, value)
