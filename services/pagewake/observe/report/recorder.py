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

from pagewake.events.types import WorkerCompleted
from pagewake.observe.report.durations import Durations
from pagewake.observe.report.timeline import BLACKOUT, Flight, Span, Timeline, is_halt
from pagewake.timeline.trace_tracks import ArrowPart, VmTracks
from pagewake.verify.log_run import PlacedEvent

# Ten steps of 10 ms: the stretch of 100 ms that the header is about.
STEP_NS = 10_000_000
STEPS = 10
STRETCH_NS = STEP_NS * STEPS
MAX_VCPUS = 16
"""A picture of more tracks does not fit a screen; the busiest ones are shown."""
MAX_SPANS = 20_000
"""Kept per VM; a stretch with more begins where they begin, and says so."""


class Best:
    """The best stretch so far, over all VMs."""

    def __init__(self) -> None:
        self._key: tuple[int, int, int] | None = None
        self.timeline: Timeline | None = None

    def offer(self, happened: int, from_ns: int, vm: int, picture: Callable[[], Timeline]) -> None:
        """A stretch; `vm` is the number of its VM, for equal ones."""
        key = (happened, -from_ns, -vm)
        if self._key is None or key > self._key:
            self._key = key
            self.timeline = picture()


class VmRecorder:
    """Takes the tracks of one VM (`Tracks`), as a trace file does, and keeps the latest 100 ms."""

    def __init__(
        self, name: str, number: int, best: Best, halts: Durations, waits: Durations
    ) -> None:
        self.name = name
        self.tracks = VmTracks(self)
        self._number = number
        self._best = best
        self._halts = halts
        self._waits = waits
        self._open: dict[int, list[tuple[str, int]]] = {}
        self._spans: deque[Span] = deque(maxlen=MAX_SPANS)
        self._flying: dict[int, Flight] = {}
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
        sleepers = self._sleepers
        while len(sleepers) > 1 and sleepers[1][0] <= before_ns:
            sleepers.popleft()

    def _offer(self, until_ns: int) -> None:
        from_ns = max(0, (self._step + 1) * STEP_NS - STRETCH_NS)
        if from_ns == 0 and until_ns < STRETCH_NS and not self._closing:
            return
        happened = sum(self._steps)
        self._best.offer(
            happened, from_ns, self._number, lambda: self._picture(from_ns, until_ns, happened)
        )

    def _picture(self, from_ns: int, until_ns: int, happened: int) -> Timeline:
        spans = [span for span in self._spans if span.until_ns > from_ns]
        for vcpu, stack in self._open.items():
            spans += [Span(vcpu, state, since, until_ns) for state, since in stack]
        flights = [one for one in self._flights if (one.until_ns or 0) > from_ns]
        flights += self._flying.values()
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
        )

    # ------------------------------------------------------------------ from the tracks

    def add_vcpu(self, vcpu: int) -> None:
        """A vcpu needs no track before its first span."""

    def begin(self, at_ns: int, vcpu: int, state: str) -> None:
        self._open.setdefault(vcpu, []).append((state, at_ns))
        if state == BLACKOUT or is_halt(state):
            self._steps[-1] += 1

    def end(self, at_ns: int, vcpu: int, state: str) -> None:
        opened, since_ns = self._open[vcpu].pop()
        assert opened == state, f"{state} ends inside {opened}"
        self._spans.append(Span(vcpu, state, since_ns, at_ns))
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
        """Instants are not drawn."""

    def arrow(self, part: ArrowPart, at_ns: int, vcpu: int, number: int) -> None:
        if part == "start":
            self._flying[number] = Flight(vcpu, at_ns, None)
        elif part == "finish" and number in self._flying:
            self._flights.append(self._flying.pop(number)._replace(until_ns=at_ns))

    def counter(self, at_ns: int, name: str, value: int) -> None:
        if name == "sleepers":
            self._sleepers.append((at_ns, value))
