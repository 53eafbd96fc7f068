"""An imported recording against the invariants of its kernel (`verify.invariants`), as `partial`.

Behind a span of which nothing is known the checks begin anew.  A violation is told with the lines
that lead to it: those of its token, and what its vcpu did last.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

import msgspec

from pagewake.events.types import Event, SyncFault, VcpuResumed
from pagewake.kvm.profile import resolve
from pagewake.observe.report.words import counted
from pagewake.recorded.checkable import unheard
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.placed import Finding, Found, Span
from pagewake.verify.invariants import Reporter, Rules, VmChecks, rules_of
from pagewake.verify.log_run import PlacedEvent

LEAD_MAX = 4
"""So many events of its vcpu lead to a violation, beside those of its token."""
TOKENS_MAX = 1024
"""Of so many tokens it is kept what happened to them: more than can be outstanding at a time."""
_NO_LEAD = (SyncFault, VcpuResumed)
"""These come all the time, and lead to nothing."""


SHOWN_BREACHES = 20
"""An edited recording may have thousands; `--json` has all of them."""


class Breach(msgspec.Struct, frozen=True):
    """A rule that a recording breaks, with its line, and the lines that lead there."""

    file: str
    line: int
    rule: str
    what: str
    lead: list[str] = []

    def __str__(self) -> str:
        return "\n".join([f"{self.file}:{self.line}: {self.rule}: {self.what}", *self.lead])


class RecordedChecks:
    """Takes what the stitcher finds; `breaches` are what is wrong with it."""

    def __init__(self, rules: Rules, unheard: frozenset[str] = frozenset()) -> None:
        """`unheard`: invariants that this recording would mislead (`checkable`)."""
        self._unheard = unheard
        self.breaches: list[Breach] = []
        self.events: Counter[str] = Counter()
        self.spans: list[Span] = []
        self._rules = rules
        self._reporter = Reporter()
        self._told = 0
        self._vms: dict[str, VmChecks] = {}
        self._recent: dict[tuple[str, int], deque[PlacedEvent]] = {}
        self._of_token: dict[tuple[str, int], deque[PlacedEvent]] = {}

    def take(self, found: Iterable[Found]) -> None:
        for one in found:
            if isinstance(one, PlacedEvent):
                self._event(one)
            elif isinstance(one, Finding):
                lead = self._lead(one.vm, one.vcpu, one.token)
                self._tell(Breach(one.file, one.line, one.rule, one.what, lead))
            else:
                self._span(one)

    def finish(self) -> list[Breach]:
        for vm in self._vms.values():
            vm.finish()
        self._vms.clear()
        self._collect()
        return self.breaches

    def drain(self) -> list[Breach]:
        """What is wrong so far, told once; and nothing of it is kept."""
        found, self.breaches, self.spans = self.breaches, [], []
        self._reporter.found.clear()
        self._told = 0
        return found

    def _event(self, placed: PlacedEvent) -> None:
        event = placed.event
        self.events[type(event).__name__] += 1
        self._reporter.place = placed
        checks = self._vms.get(event.vm)
        if checks is None:
            checks = self._vms[event.vm] = VmChecks(event.vm, self._rules, self._reporter)
        checks.feed(event)
        if len(self._reporter.found) > self._told:
            self._collect(event)
        if not isinstance(event, _NO_LEAD):
            self._keep(placed)

    def _keep(self, placed: PlacedEvent) -> None:
        """What may lead to a violation later."""
        event = placed.event
        _kept(self._recent, (event.vm, getattr(event, "vcpu", -1))).append(placed)
        token = getattr(event, "token", None)
        if token is not None:
            _kept(self._of_token, (event.vm, token)).append(placed)
            if len(self._of_token) > TOKENS_MAX:
                del self._of_token[next(iter(self._of_token))]

    def _span(self, span: Span) -> None:
        self.spans.append(span)
        if span.why not in {"begin", "end"}:
            self.finish()

    def _collect(self, event: Event | None = None) -> None:
        token = getattr(event, "token", None)
        for violation in self._reporter.found[self._told :]:
            lead = [] if violation.vcpu is None else self._lead(violation.vm, violation.vcpu, token)
            file, _, line = violation.where.rpartition(":")
            what = f"{violation.message} ({violation.vm}/vcpu {violation.vcpu})"
            self._tell(Breach(file, int(line), violation.invariant, what, lead))
        self._told = len(self._reporter.found)

    def _tell(self, breach: Breach) -> None:
        if breach.rule not in self._unheard:
            self.breaches.append(breach)

    def _lead(self, vm: str, vcpu: int, token: int | None) -> list[str]:
        """Events of the token and of the vcpu, in order."""
        of_token = () if token is None else self._of_token.get((vm, token), ())
        events = {one.event.n: one for one in (*of_token, *self._recent.get((vm, vcpu), ()))}
        return [f"    {events[n].where}: {_told(events[n].event)}" for n in sorted(events)]


def _kept(
    kept: dict[tuple[str, int], deque[PlacedEvent]], key: tuple[str, int]
) -> deque[PlacedEvent]:
    found = kept.get(key)
    if found is None:
        found = kept[key] = deque(maxlen=LEAD_MAX)
    return found


def rules_for(profile: str, *, joined: bool = False) -> Rules:
    """The rules of a kernel, as far as a recording shows them; `joined`: of host and guest."""
    return rules_of(resolve(profile, {}), partial=True, joined=joined)


def check_recording(reader: RecordingReader) -> RecordedChecks:
    """Check an imported directory."""
    recording = reader.recording
    rules = rules_for(recording.profile, joined=recording.joined_by > 0)
    checks = RecordedChecks(rules, unheard(recording.checks))
    checks.take(reader.found())
    checks.finish()
    return checks


def told(breaches: list[Breach]) -> str:
    """Violations for a person."""
    shown = [str(one) for one in breaches[:SHOWN_BREACHES]]
    more = len(breaches) - len(shown)
    rest = [f"and {more} more"] if more else []
    return "\n".join([counted(len(breaches), "violation"), *shown, *rest])


def _told(event: Event) -> str:
    """An event as a person reads it."""
    fields = [
        f"{name}={value:#x}" if name in {"token", "gfn", "msr", "value"} else f"{name}={value}"
        for name in event.__struct_fields__
        if name not in {"at_ns", "vm", "n"} and (value := getattr(event, name)) not in (None, False)
    ]
    return f"{type(event).__name__} at {event.at_ns} ns: {', '.join(fields)}"
