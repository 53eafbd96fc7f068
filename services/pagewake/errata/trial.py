"""Runs a defect twice, and says whether it broke and whether the switch mended it.

What decides are the events of two real runs, which differ in one switch.
"""

from __future__ import annotations

import msgspec

from pagewake.engine.embedded import run_embedded
from pagewake.errata.entry import Entry, Setting
from pagewake.errata.signs import find
from pagewake.events import types as ev
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.model import Scenario


class Ran(msgspec.Struct, frozen=True):
    """One of the two runs: its scenario, its events in order, what shows each sign, its digest.

    `end_ns` is where it ended, which is before its duration if all tasks were done.
    """

    scenario: Scenario
    end_ns: int
    events: list[ev.Event]
    broken: list[ev.Event]
    mended: list[ev.Event]
    digest: str


class Trial(msgspec.Struct, frozen=True):
    """A defect, before and after."""

    entry: Entry
    before: Ran
    after: Ran

    @property
    def breaks(self) -> bool:
        """The defect shows under the rules that had it."""
        return bool(self.before.broken)

    @property
    def fixed(self) -> bool:
        """With the switch it does not, and what should happen does."""
        return not self.after.broken and bool(self.after.mended)

    @property
    def held(self) -> bool:
        """Both runs are what the entry says."""
        return self.breaks and self.fixed


def try_out(entry: Entry) -> Trial:
    """Run it before and after."""
    before, after = (_run(entry, entry.loaded(each)) for each in (entry.before, entry.after))
    return Trial(entry, before, after)


def seen_by(entry: Entry, profile: str) -> list[ev.Event]:
    """What shows that a kernel has it, by its own rules; nothing: it has not, or does not decide.

    A kernel that has the rule may have another that keeps it from breaking, so it is run.
    """
    scenario = entry.under(profile)
    return [] if scenario is None else _run(entry, scenario).broken


def _run(entry: Entry, scenario: Scenario) -> Ran:
    plan = RunPlan.of(entry.name, scenario, 1)
    events: list[ev.Event] = []
    outcome = run_embedded(plan, build(plan), observer=events.extend)
    events.sort(key=lambda event: (event.vm, event.n))
    broken, mended = (find(sign, events) for sign in (entry.broken, entry.mended))
    return Ran(scenario, outcome.sim_ns, events, broken, mended, outcome.digest)


class Verdict(msgspec.Struct, frozen=True):
    """What `--json` says of a defect; `before` and `after` are the values of `switch`.

    `shown_before` and `shown_after` are the lines of the two logs in which it can be seen, each an
    event as it stands there.
    """

    id: int
    title: str
    commits: list[str]
    kernels: str
    breaks: bool
    fixed: bool
    years: str
    known: str
    reported: str
    symptom: str
    scenario: str
    profile: str
    sets: list[str]
    switch: str
    before: Setting
    after: Setting
    broken: str
    mended: str
    shown_before: list[ev.Event]
    shown_after: list[ev.Event]
    digest_before: str
    digest_after: str


def verdict(trial: Trial) -> Verdict:
    """A trial as data."""
    entry = trial.entry
    return Verdict(
        **{
            name: getattr(entry, name)
            for name in Verdict.__struct_fields__
            if name in Entry.__struct_fields__ and name not in {"broken", "mended"}
        },
        breaks=trial.breaks,
        fixed=trial.fixed,
        broken=entry.broken.says,
        mended=entry.mended.says,
        shown_before=trial.before.broken,
        shown_after=trial.after.mended,
        digest_before=trial.before.digest,
        digest_after=trial.after.digest,
    )


class Present(msgspec.Struct, frozen=True):
    """What `--profile --json` says of a defect that a kernel has; `shown` are lines of its log."""

    id: int
    title: str
    commits: list[str]
    kernels: str
    profile: str
    breaks: bool
    shown: list[ev.Event]


def present(entry: Entry, profile: str, shown: list[ev.Event]) -> Present:
    """A defect as `seen_by` has found it."""
    facts = entry.id, entry.title, entry.commits, entry.kernels
    return Present(*facts, profile, bool(shown), shown)


def line_of(event: ev.Event) -> str:
    """An event as its log has it, behind its time."""
    return f"{event.at_ns / 1e6:.4f} ms  {msgspec.json.encode(event).decode()}"
