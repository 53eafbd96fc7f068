"""An imported recording against the invariants of its kernel (`verify.invariants`), as `partial`.

Behind a span of which nothing is known the checks begin anew.  A violation is told with the lines
that lead to it: those of its token, and what its vcpu did last.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

import msgspec

from pagewake.events.types import Event
from pagewake.kvm.profile import resolve
from pagewake.observe.report.words import counted
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.placed import Finding, Found, Span
from pagewake.verify.invariants import Reporter, Rules, VmChecks, rules_of
from pagewake.verify.log_run import PlacedEvent

LEAD_MAX = 4
"""So many lines lead to a violation, beside the one where its token began."""


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

    def __init__(self, rules: Rules) -> None:
        self.breaches: list[Breach] = []
        self.events: Counter[str] = Counter()
        self.spans: list[Span] = []
        self._rules = rules
        self._reporter = Reporter()
        self._told = 0
        self._vms: dict[str, VmChecks] = {}
        self._recent: dict[tuple[str, int], deque[PlacedEvent]] = {}

    def take(self, found: Iterable[Found]) -> None:
        for one in found:
            if isinstance(one, PlacedEvent):
                self._event(one)
            elif isinstance(one, Finding):
                lead = self._lead(one.vm, one.vcpu)
                self.breaches.append(Breach(one.file, one.line, one.rule, one.what, lead))
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
            self._collect()
        vcpu: int = getattr(event, "vcpu", -1)
        recent = self._recent.get((event.vm, vcpu))
        if recent is None:
            recent = self._recent[event.vm, vcpu] = deque(maxlen=LEAD_MAX)
        recent.append(placed)

    def _span(self, span: Span) -> None:
        self.spans.append(span)
        if span.why not in {"begin", "end"}:
            self.finish()

    def _collect(self) -> None:
        for violation in self._reporter.found[self._told :]:
            lead = [] if violation.vcpu is None else self._lead(violation.vm, violation.vcpu)
            file, _, line = violation.where.rpartition(":")
            what = f"{violation.message} ({violation.vm}/vcpu {violation.vcpu})"
            self.breaches.append(Breach(file, int(line), violation.invariant, what, lead))
        self._told = len(self._reporter.found)

    def _lead(self, vm: str, vcpu: int) -> list[str]:
        return [f"    {one.where}: {_told(one.event)}" for one in self._recent.get((vm, vcpu), ())]


def rules_for(profile: str) -> Rules:
    """The rules of a kernel, as far as a recording shows them."""
    return rules_of(resolve(profile, {}), partial=True)


def check_recording(reader: RecordingReader) -> RecordedChecks:
    """Check an imported directory."""
    checks = RecordedChecks(rules_for(reader.recording.profile))
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
        if name not in {"at_ns", "vm", "n"} and (value := getattr(event, name)) is not None
    ]
    return f"{type(event).__name__} at {event.at_ns} ns: {', '.join(fields)}"
