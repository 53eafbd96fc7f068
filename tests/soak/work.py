"""Does steps on a lane: waits for the moment, does the deed, and looks what becomes of the runs."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import NamedTuple

import msgspec

from pagewake.participants.plan import RunPlan
from tests.soak.lane import BROKERS, Lane
from tests.soak.steps import Step, Work, embedded
from tests.soak.watch import FAILURES, Seen
from tests.support.processes import new_run, set_options

LOOK_S = 0.01
MOMENT_S = 180.0
"""A moment comes within a run's length, or not at all."""
RUN_S = 600.0
RUNNING = (0.2, 0.7)
END = 0.95
"""Shares of a run's windows."""
LATE = "too late"
"""The moment of what was done when the run was over."""


class Done(msgspec.Struct):
    """What came of a step, done to an instance of the victim; `failures` in words."""

    number: int
    victim: str
    instance: str
    moment: str
    way: str
    runs: str
    recovery_s: float = 0.0
    took_s: float = 0.0
    digests: int = 0
    failures: list[str] = []


class Subject(NamedTuple):
    """A run under way."""

    work: Work
    seen: Seen
    submitted: subprocess.Popen[str]

    @property
    def over(self) -> bool:
        return self.seen.ended or self.submitted.poll() is not None

    @property
    def share(self) -> float:
        """Of its windows, that are closed."""
        return self.seen.windows / embedded(self.work).windows


class StuckError(Exception):
    """A run does not go on."""


class Worker:
    """The steps of one lane, one after the other."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def do(self, step: Step) -> Done:
        """One step; whatever goes wrong is in what comes back."""
        runs = " + ".join(work.label for work in step.works)
        done = Done(step.number, step.victim, step.victim, step.moment, step.way.name, runs)
        subjects: list[Subject] = []
        began_s = time.monotonic()
        try:
            self.lane.revive()
            self._do(step, done, subjects)
        except (StuckError, AssertionError, OSError, subprocess.SubprocessError) as error:
            done.failures.append(f"{error!r}")
        for subject in subjects:
            subject.submitted.kill()
            subject.submitted.communicate()
            with suppress(*FAILURES):  # of brokers that are away; the run's topics stay then
                self.lane.watch.forget(subject.seen.plan)
        done.took_s = time.monotonic() - began_s
        return done

    def _do(self, step: Step, done: Done, subjects: list[Subject]) -> None:
        idle = step.moment == "idle"
        if not idle:
            subjects += [self._submit(work) for work in step.works]
            if not MOMENTS[step.moment](self.lane, step, subjects[0]):
                done.moment = LATE
        random = Random(step.seed)
        first = subjects[0].seen.plan.run if subjects else ""
        done.instance = random.choice(self.lane.instances(step.victim, first))
        began_s = time.monotonic()
        with step.way.do(self.lane, done.instance, random):
            if idle:
                subjects += [self._submit(work) for work in step.works]
            time.sleep(max(0.0, began_s + step.way.lasts_s - time.monotonic()))
        for subject in subjects:
            self._compare(subject, done)
        done.recovery_s = max(subject.seen.standstill_s(began_s) for subject in subjects)

    def _submit(self, work: Work) -> Subject:
        name = new_run()
        plan = RunPlan.of(name, work.scenario(), work.load.shards)
        embedded(work)
        seen = self.lane.watch.follow(plan)
        options = ["--seed", str(work.seed), "--shards", str(work.load.shards)]
        sets = set_options(list(work.load.sets))
        return Subject(
            work, seen, self.lane.services.submit(name, work.load.scenario, *sets, *options)
        )

    def _compare(self, subject: Subject, done: Done) -> None:
        run = f"{subject.work.label} ({subject.seen.plan.run})"
        try:
            out, err = subject.submitted.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            raise StuckError(f"{run} has not ended after {RUN_S:g} s") from None
        if subject.submitted.returncode != 0:
            done.failures.append(f"{run}: submit ended with {subject.submitted.returncode}: {err}")
            return
        digest, expected = msgspec.json.decode(out)["digest"], embedded(subject.work).digest
        done.digests += 1
        if digest != expected:
            done.failures.append(f"{run}: digest {digest} is not {expected}")


# ------------------------------------------------------------------ moments


def _await(true: Callable[[], bool], subject: Subject) -> bool:
    """False if the run was over first."""
    until_s = time.monotonic() + MOMENT_S
    while not true():
        if subject.over or time.monotonic() > until_s:
            return False
        time.sleep(LOOK_S)
    return True


def _start(_: Lane, __: Step, subject: Subject) -> bool:
    return _await(lambda: subject.seen.announced, subject)


def _running(_: Lane, step: Step, subject: Subject) -> bool:
    share = Random(step.seed).uniform(*RUNNING)
    return _await(lambda: subject.share >= share, subject)


def _snapshot(_: Lane, __: Step, subject: Subject) -> bool:
    return _await(lambda: subject.seen.snapshots > 0, subject)


def _replay(lane: Lane, step: Step, subject: Subject) -> bool:
    """A service has just been killed and started, and reads its log; before a broker's fault, a
    host.
    """
    if not _running(lane, step, subject):
        return False
    run, kind = subject.seen.plan.run, "host" if step.victim in BROKERS else step.victim
    service = Random(step.seed).choice(lane.instances(kind, run))
    lane.end(service, signal.SIGKILL)
    lane.start(service)
    return _await(lambda: any(each["replay"] for each in lane.takeovers(service, run)), subject)


def _end(_: Lane, __: Step, subject: Subject) -> bool:
    return _await(lambda: subject.share >= END, subject)


MOMENTS: Mapping[str, Callable[[Lane, Step, Subject], bool]] = {
    "start": _start,
    "running": _running,
    "snapshot": _snapshot,
    "replay": _replay,
    "end": _end,
}
"""Wait for a moment of a run; `idle` is before there is one."""
