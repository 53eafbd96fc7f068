"""`pagewake.runs`: which runs there are, and how far they came.

One compacted partition.  A run's own key carries its announcement, scenario included, so that a
run's log explains itself; `<run>/host-<i>` says that a simulated host ended; `<run>/state` that the
run was stopped (loudly, with a reason) or deleted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from pagewake import __version__
from pagewake.bus.kafka import Stored
from pagewake.cluster.plan import RunPlan
from pagewake.cluster.result import Ending
from pagewake.scenario.loading import loads
from pagewake.scenario.writing import effective_toml


class Announced(msgspec.Struct, frozen=True):
    """What `submit` says of a run."""

    run: str
    scenario: str
    shards: int
    code: str
    created_s: float

    @classmethod
    def of(cls, plan: RunPlan, created_s: float) -> Announced:
        """The announcement of a plan."""
        return cls(plan.run, effective_toml(plan.scenario), plan.shards, __version__, created_s)

    def plan(self) -> RunPlan:
        """The plan again, the same in every process."""
        scenario = loads(self.scenario, f"run {self.run}", Path())
        return RunPlan.of(self.run, scenario, self.shards)


class HostEnded(msgspec.Struct, frozen=True):
    """A simulated host's end."""

    end_ns: int
    windows: int


class StateChanged(msgspec.Struct, frozen=True):
    """A run that will not go on."""

    state: Literal["stopped", "deleted"]
    why: str = ""


class RunEntry:
    """What is known of one run."""

    def __init__(self, announced: Announced) -> None:
        self.announced = announced
        self.plan = announced.plan()
        self.ended: dict[int, HostEnded] = {}
        self.state: StateChanged | None = None

    @property
    def finished(self) -> bool:
        """All simulated hosts ended."""
        return len(self.ended) == len(self.plan.topology.hosts)

    @property
    def active(self) -> bool:
        """Somebody has to go on with it."""
        return self.state is None and not self.finished

    @property
    def status(self) -> str:
        """One word."""
        return self.state.state if self.state else "finished" if self.finished else "running"

    def ending(self) -> Ending:
        """Of a finished run."""
        return Ending(
            max(host.end_ns for host in self.ended.values()),
            sum(host.windows for host in self.ended.values()),
        )


class Runs:
    """All runs, from the records of the topic in order; what is no record of it is skipped."""

    def __init__(self) -> None:
        self.entries: dict[str, RunEntry] = {}
        self.skipped = 0

    def feed(self, stored: Stored) -> str | None:
        """The next record; the run that it is about."""
        run, _, what = (stored.key or b"").decode(errors="replace").partition("/")
        try:
            self._take(run, what, stored.value)
        except Exception:  # noqa: BLE001 - the topic is open to all: nothing in it is fatal
            self.skipped += 1
            return None
        return run

    def _take(self, run: str, what: str, value: bytes | None) -> None:
        if value is None:
            if not what:
                self.entries.pop(run, None)
            return
        if not what:
            announced = msgspec.json.decode(value, type=Announced)
            self.entries[run] = RunEntry(announced)
        elif what == "state":
            self.entries[run].state = msgspec.json.decode(value, type=StateChanged)
        elif what.startswith("host-"):
            ended = msgspec.json.decode(value, type=HostEnded)
            self.entries[run].ended[int(what.removeprefix("host-"))] = ended
