"""One embedded run of a scenario: participants, counting, log, result.

A run may be cut into pieces, some simulated hosts each, that any processes simulate.  Put together
they give the digest, the result and the log of a run in one piece, byte for byte.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pagewake import __version__
from pagewake.bus.log_dir import LogFiles, LogWriter
from pagewake.bus.log_sums import FileSum
from pagewake.engine.crew import Tell, at_times
from pagewake.engine.embedded import EmbeddedOutcome, OnProgress, run_embedded
from pagewake.engine.recorded import Recording
from pagewake.events.journal import JournalMode
from pagewake.explore.told import told_parts
from pagewake.observe.counter import ResultCounter
from pagewake.observe.result import RunFacts, RunResult, swap_facts
from pagewake.participants.build import HostPart, build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml
from pagewake.simtime.window import Cut


class RunOrder(NamedTuple):
    """What to run; with `log_dir` everything that happens is written there.

    `recorded` is what a log says beyond its scenario, for a replay; `journal` is how much of it the
    log keeps.
    """

    scenario: Scenario
    shards: int = 1
    log_dir: Path | None = None
    recorded: Recording | None = None
    journal: JournalMode = "full"


class Piece(NamedTuple):
    """Some simulated hosts of a run, for one process, and where it writes their log."""

    order: RunOrder
    hosts: Sequence[int]
    log: LogFiles | None


class SimulatedPiece(NamedTuple):
    """What came of a piece; `files` are those of the log that it wrote."""

    outcome: EmbeddedOutcome
    counter: ResultCounter
    files: dict[str, FileSum]
    wall_s: float


def run_scenario(
    scenario: Scenario,
    *,
    shards: int = 1,
    log_dir: Path | None = None,
    on_progress: OnProgress | None = None,
    cut: Cut | None = None,
    recorded: Recording | None = None,
    journal: JournalMode = "full",
) -> RunResult:
    """Run to the end in this process and count; the order is as in `RunOrder`."""
    order = RunOrder(scenario, shards, log_dir, recorded, journal)
    with Assembly(order, [range(scenario.host.count)]) as assembly:
        (piece,) = assembly.pieces
        assembly.take(0, run_piece(piece, on_progress, cut))
        return assembly.result()


def run_piece(
    piece: Piece, on_progress: OnProgress | None = None, cut: Cut | None = None
) -> SimulatedPiece:
    """Build and run the hosts of a piece."""
    started = time.perf_counter()
    order, log = piece.order, piece.log
    counter = ResultCounter()
    plan = _plan(order)
    parts = _parts(plan, piece.hosts)
    recorded = order.recorded
    if recorded is not None:
        _intervene(parts, piece.hosts, recorded)
    with without_collector():
        outcome = run_embedded(
            plan,
            parts,
            piece.hosts,
            log=log,
            observer=counter.feed,
            on_progress=on_progress,
            cut=cut,
            ends_ns=None if recorded is None else recorded.ends_ns,
        )
    files = {} if log is None else log.sums()
    return SimulatedPiece(outcome, counter, files, time.perf_counter() - started)


def simulate(piece: Piece, tell: Tell[int]) -> SimulatedPiece:
    """The same as the work of a process, which tells the simulated time that it has reached."""
    told = at_times(tell)
    return run_piece(piece, lambda at_ns, _: told(at_ns))


class Assembly:
    """A run that is put together; as a context manager it leaves no log that is not finished."""

    def __init__(self, order: RunOrder, deal: Sequence[Sequence[int]]) -> None:
        """`deal`: the hosts of each piece, each host once.  ConfigError where no log can be."""
        self._started = time.perf_counter()
        self._order = order
        self._plan = _plan(order)
        self._log = None
        if order.log_dir is not None:
            text = effective_toml(order.scenario, __version__)
            self._log = LogWriter(order.log_dir, text, order.journal)
        self.pieces = [
            Piece(order, hosts, None if self._log is None else self._log.files()) for hosts in deal
        ]
        self._done: dict[int, SimulatedPiece] = {}

    def take(self, number: int, done: SimulatedPiece) -> bool:
        """A piece is done; True once all are."""
        self._done[number] = done
        return len(self._done) == len(self.pieces)

    def result(self) -> RunResult:
        """The result of the whole run; its log is finished."""
        pieces = [self._done[number] for number in range(len(self.pieces))]
        outcome = EmbeddedOutcome.together(piece.outcome for piece in pieces)
        if self._log is not None:
            for piece in pieces:
                self._log.adopt(piece.files)
            self._log.finish(outcome.digest, outcome.host_digests, [self._plan.code])
        counter, *others = (piece.counter for piece in pieces)
        for other in others:
            counter.merge(other)
        # Starting processes is part of what a run in several of them takes.
        wall_s = time.perf_counter() - self._started if others else pieces[0].wall_s
        return counter.finish(self._facts(outcome, wall_s), outcome.summaries)

    def _facts(self, outcome: EmbeddedOutcome, wall_s: float) -> RunFacts:
        scenario = self._order.scenario
        return RunFacts(
            scenario=scenario.name,
            seed=scenario.seed,
            profile=scenario.kernel.profile,
            apf=scenario.kernel.apf,
            sim_ns=outcome.sim_ns,
            wall_s=wall_s,
            windows=outcome.windows,
            digest=outcome.digest,
            shards=len(self._plan.topology.shards),
            version=__version__,
            swap=swap_facts(scenario),
            expects=scenario.expects,
            jobs=len(self.pieces),
            journal=self._order.journal,
        )

    def close(self) -> None:
        """Remove what was written, unless the log is finished."""
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _plan(order: RunOrder) -> RunPlan:
    return RunPlan.of("embedded", order.scenario, order.shards, journal=order.journal)


def _parts(plan: RunPlan, hosts: Sequence[int]) -> list[HostPart]:
    explore = plan.scenario.explore
    return told_parts(plan.scenario) if explore and explore.choices else build(plan, hosts)


def _intervene(parts: list[HostPart], hosts: Sequence[int], recorded: Recording) -> None:
    for part, host in zip(parts, hosts, strict=True):
        for control in recorded.controls[host]:
            part.host.intervene(control)


@contextmanager
def without_collector() -> Iterator[None]:
    """Events and state form no cycles; looking for some costs a third of a large run."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
