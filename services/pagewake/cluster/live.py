"""Runs as they look from outside: what was heard of them over MQTT, put together.

A service's word (`status`) is retained and survives it; its figures (`progress`) come once a second
and grow old.  Everything here is bounded: anybody may publish.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple, get_args

import msgspec

from pagewake.cluster.messages import OVER, PREFIX, Progress, Status, VmProgress
from pagewake.cluster.settings import ServiceKind
from pagewake.events.codec import UNDECODABLE
from pagewake.participants.commands import Answer

TOPICS = (f"{PREFIX}/+/+/+/status", f"{PREFIX}/+/progress", f"{PREFIX}/+/command/reply")
# More than a screen shows; bounds because anybody may publish.
RUNS_MAX = 512
SERVICES_MAX = 128
ANSWERS_MAX = 16
# Figures come once a second: who has missed so many has hardly just been slow.
SILENT_S = 5.0
ORDER: tuple[ServiceKind, ...] = ("host", "guest", "nested")

_STATUSES: tuple[Status, ...] = get_args(Status)
_TELLING: tuple[Status, ...] = (
    *("paused", "replaying", "waiting", "running", "joined"),
    *("lost", "ended", "left"),
)


class Service(msgspec.Struct):
    """One process's part of a run; `heard_s` is when its last figures, or it, were heard of."""

    service: ServiceKind
    instance: str
    status: Status | None = None
    progress: Progress | None = None
    heard_s: float = 0.0

    def silent_s(self, now_s: float) -> float:
        """How long figures have been overdue; 0 for one that owes none."""
        if not self.active:
            return 0.0
        age_s = now_s - self.heard_s
        return age_s if age_s >= SILENT_S else 0.0

    @property
    def active(self) -> bool:
        """It owns a part of the run now, by its own word."""
        return self.status not in OVER and self.status is not None


class Sums(NamedTuple):
    """Of the shards of a run."""

    sleepers: int
    halted: int
    vms: int
    most: list[VmProgress]


class Run:
    """One run; `answers` are the latest replies to commands, by id."""

    def __init__(self, name: str, heard_s: float) -> None:
        self.name = name
        self.services: dict[tuple[str, str], Service] = {}
        self.answers: dict[str, Answer] = {}
        self.since_s = self.heard_s = heard_s

    def in_order(self) -> list[Service]:
        """Hosts, guests, nested; those that are over come last."""
        return sorted(
            self.services.values(),
            key=lambda each: (not each.active, ORDER.index(each.service), each.instance),
        )

    @property
    def active(self) -> bool:
        """Somebody owns a part of it."""
        return any(each.active for each in self.services.values())

    @property
    def word(self) -> Status:
        """How the run stands: of all words about it, the one that tells a person most."""
        words = {each.status for each in self.services.values()}
        return next((word for word in _TELLING if word in words), "joined")

    @property
    def paused(self) -> bool:
        """By a person."""
        return any(
            each.active and each.progress is not None and each.progress.paused
            for each in self.services.values()
        )

    def sums(self) -> Sums:
        """What the shards told last, those that are over aside."""
        told = [
            each.progress
            for each in self.services.values()
            if each.progress is not None and each.active
        ]
        vms = [vm for progress in told for vm in progress.vms]
        vms.sort(key=lambda vm: (-(vm.sleepers + vm.halted), -vm.sleepers, vm.vm))
        return Sums(
            sum(progress.sleepers for progress in told),
            sum(progress.halted for progress in told),
            sum(progress.vms_owned for progress in told),
            vms,
        )


class Live:
    """All runs that were heard of."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def feed(self, topic: str, payload: bytes, now_s: float) -> None:
        """A message of one of `TOPICS`; one that makes no sense changes nothing."""
        words = topic.split("/")
        run, rest = words[2], words[3:]
        with suppress(*UNDECODABLE, ValueError):
            if rest == ["progress"]:
                self._progress(run, msgspec.json.decode(payload, type=Progress), now_s)
            elif rest == ["command", "reply"]:
                self._answer(run, msgspec.json.decode(payload, type=Answer), now_s)
            elif len(rest) == 3 and rest[2] == "status":
                self._status(run, rest[0], rest[1], payload, now_s)

    def in_order(self) -> list[Run]:
        """Those under way first, each kind the newest first; none changes places while it goes."""
        return sorted(self.runs.values(), key=lambda run: (not run.active, -run.since_s, run.name))

    def _status(self, run: str, kind: str, instance: str, payload: bytes, now_s: float) -> None:
        if not payload:  # the word was taken back
            self._forget(run, kind, instance)
            return
        word = payload.decode()
        known = next((status for status in _STATUSES if status == word), None)
        if known is None:
            raise ValueError(word)
        self._service(run, kind, instance, now_s).status = known

    def _forget(self, run: str, kind: str, instance: str) -> None:
        if run in self.runs:
            services = self.runs[run].services
            for key in [key for key in services if key == (kind, instance)]:
                del services[key]
            if not services:
                del self.runs[run]

    def _progress(self, run: str, progress: Progress, now_s: float) -> None:
        service = self._service(run, progress.service, progress.instance, now_s)
        service.progress = progress
        service.heard_s = now_s
        service.status = progress.state
        self.runs[run].heard_s = now_s

    def _answer(self, run: str, answer: Answer, now_s: float) -> None:
        if answer.id is None or run not in self.runs:
            return
        answers = self.runs[run].answers
        if len(answers) >= ANSWERS_MAX:
            del answers[next(iter(answers))]
        answers[answer.id] = answer

    def _service(self, run: str, kind: str, instance: str, now_s: float) -> Service:
        known = next((word for word in ORDER if word == kind), None)
        if known is None:
            raise ValueError(kind)
        if run not in self.runs:
            if len(self.runs) >= RUNS_MAX:
                del self.runs[min(self.runs.values(), key=lambda each: each.heard_s).name]
            self.runs[run] = Run(run, now_s)
        services = self.runs[run].services
        if (kind, instance) not in services:
            if len(services) >= SERVICES_MAX:
                over = (key for key, each in services.items() if not each.active)
                del services[next(over, next(iter(services)))]
            services[kind, instance] = Service(known, instance, heard_s=now_s)
        return services[kind, instance]
