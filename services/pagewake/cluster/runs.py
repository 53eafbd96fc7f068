"""`pagewake.runs`: which runs there are, and how far they came.

One compacted partition.  A run's own key carries its announcement, scenario included, so that a
run's log explains itself; `<run>/host-<i>` says that a simulated host ended, `<run>/spent-<source>`
what a participant took; `<run>/state` that the run was stopped (loudly, with a reason) or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from pagewake import __version__
from pagewake.bus.partitions import StoredRecord
from pagewake.cluster.cost import Spent
from pagewake.cluster.result import Ending
from pagewake.errors import ConfigError, DataError
from pagewake.events.codec import UNDECODABLE
from pagewake.events.journal import JournalMode
from pagewake.participants.plan import RunPlan, check_name
from pagewake.scenario.loading import loads
from pagewake.scenario.writing import effective_toml

# After its end, so that several scrapes see the last values.
SERIES_KEPT_S = 300.0
SPENT = "spent-"


class Announced(msgspec.Struct, frozen=True):
    """What `submit` says of a run."""

    run: str
    scenario: str
    shards: int
    code: str
    created_s: float
    journal: JournalMode = "full"
    topics: dict[str, str] = {}
    """Ids of the run's topics, as far as the broker says them: a topic of the same name that was
    created anew has another."""

    @classmethod
    def of(
        cls, plan: RunPlan, created_s: float, topics: Mapping[str, str] | None = None
    ) -> Announced:
        """The announcement of a plan."""
        scenario, ids = effective_toml(plan.scenario), dict(topics or {})
        return cls(plan.run, scenario, plan.shards, __version__, created_s, plan.journal, ids)

    def plan(self) -> RunPlan:
        """The plan again, the same in every process."""
        scenario = loads(self.scenario, f"run {self.run}", Path())
        return RunPlan.of(self.run, scenario, self.shards, journal=self.journal)


class Unreadable(msgspec.Struct, frozen=True):
    """What an announcement that this version cannot read says all the same; `why` it cannot."""

    run: str
    code: str
    why: str = ""


class HostEnded(msgspec.Struct, frozen=True):
    """A simulated host's end; `ended_s` by the wall clock of who saw it."""

    end_ns: int
    windows: int
    ended_s: float = 0.0


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
        self.spent: dict[str, Spent] = {}
        self.state: StateChanged | None = None
        self._let_go = False

    def host_ended(self, source: str, ended: HostEnded) -> None:
        """DataError for a simulated host that this run does not have."""
        indices = {host.source: host.index for host in self.plan.topology.hosts}
        if source not in indices:
            raise DataError(f"the run has no {source}")
        self.ended[indices[source]] = ended

    def spent_by(self, source: str, spent: Spent) -> None:
        """DataError for a participant that this run does not have."""
        if source not in self.plan.sources():
            raise DataError(f"the run has no {source}")
        self.spent[source] = spent

    @property
    def finished(self) -> bool:
        """All simulated hosts ended."""
        return len(self.ended) == len(self.plan.topology.hosts)

    @property
    def active(self) -> bool:
        """Somebody has to go on with it."""
        return self.state is None and not self.finished

    def owned(self, now_s: float) -> bool:
        """Active, or ended so lately that its owners keep it for their metrics.

        Once let go it stays so, wherever the wall clock jumps.
        """
        if self.state is not None or not self.finished:
            return self.active
        if now_s - max(host.ended_s for host in self.ended.values()) >= SERIES_KEPT_S:
            self._let_go = True
        return not self._let_go

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
    """All runs, from the records of the topic in order; what is no record of it is skipped.

    `refused` says what was wrong with the last record that was fed; empty for nothing.
    """

    def __init__(self) -> None:
        self.entries: dict[str, RunEntry] = {}
        self.unreadable: dict[str, Unreadable] = {}
        self.skipped = 0
        self.refused = ""

    def feed(self, stored: StoredRecord) -> str | None:
        """The next record; the run that it is about."""
        run, _, what = (stored.key or b"").decode(errors="replace").partition("/")
        self.refused = ""
        try:
            self._take(run, what, stored.value)
        except Exception as error:  # noqa: BLE001 - the topic is open to all: nothing in it is fatal
            self.skipped += 1
            self.refused = f"key {stored.key!r}: {error}"
            return None
        return run

    def _take(self, run: str, what: str, value: bytes | None) -> None:
        if value is None:
            if not what:
                self.entries.pop(run, None)
                self.unreadable.pop(run, None)
            return
        if not what:
            try:
                announced = msgspec.json.decode(value, type=Announced)
                if announced.run != run:
                    raise DataError(f"announces run {announced.run!r}")
                known = self.entries.get(run)
                if known is not None and known.announced == announced:
                    return  # the topic is read again, or somebody said it again
                entry = RunEntry(announced)
            except Exception as error:
                self._keep_unreadable(run, value, error)
                raise
            self.unreadable.pop(run, None)
            self.entries[run] = entry
        elif what == "state":
            state = msgspec.json.decode(value, type=StateChanged)
            if run in self.entries:  # a deleted run's may outlive it for a while
                self.entries[run].state = state
        elif what.startswith(SPENT):
            spent = msgspec.json.decode(value, type=Spent)
            if run in self.entries:
                self.entries[run].spent_by(what.removeprefix(SPENT), spent)
        else:
            ended = msgspec.json.decode(value, type=HostEnded)
            if run in self.entries:
                self.entries[run].host_ended(what, ended)

    def _keep_unreadable(self, run: str, value: bytes, error: Exception) -> None:
        """Another version's run can be listed and deleted; rubbish is neither."""
        with suppress(*UNDECODABLE, ConfigError):
            said = msgspec.json.decode(value, type=Unreadable)
            if said.run == check_name(run) and run not in self.entries:
                self.unreadable[run] = Unreadable(run, said.code, str(error))
