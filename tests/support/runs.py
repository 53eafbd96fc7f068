"""Runs a scenario with a log and reads back what the log says."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TypeVar

from pagewake.bus.log_reader import LogReader
from pagewake.engine.run import Assembly, RunOrder, run_piece, run_scenario
from pagewake.engine.split import deal
from pagewake.events.types import Event
from pagewake.observe.result import RunResult
from pagewake.scenario.loading import load
from tests.support.logs import commits_of

AnyEvent = TypeVar("AnyEvent", bound=Event)


class LoggedRun:
    """Result and events of one run; events of all VMs in order of (vm, n), deliveries left out."""

    def __init__(self, result: RunResult, events: list[Event], directory: Path) -> None:
        self.result = result
        self.events = events
        self.directory = directory

    def of(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """The events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def run_logged(name: str, directory: Path, *sets: str, seed: int | None = None) -> LoggedRun:
    """Run a built-in scenario or a file with `--set` values, and read its log."""
    log = directory / f"{Path(name).stem}-{len(list(directory.iterdir()))}"
    result = run_scenario(load(name, sets, seed), log_dir=log)
    return LoggedRun(result, read_events(log), log)


def run_in_pieces(order: RunOrder, processes: int) -> RunResult:
    """A run as so many processes have it, but here: what goes between them is pickled, as theirs.

    The last piece is done first.
    """
    with Assembly(order, deal(order.scenario, processes)) as assembly:
        for number, piece in reversed(list(enumerate(assembly.pieces))):
            done = run_piece(pickle.loads(pickle.dumps(piece)))
            assembly.take(number, pickle.loads(pickle.dumps(done)))
        return assembly.result()


def files_of(log: Path) -> dict[str, bytes]:
    """Every file of a log, by name."""
    return {path.name: path.read_bytes() for path in log.iterdir()}


def read_events(log: Path) -> list[Event]:
    """What VMs said, from the log alone."""
    reader = LogReader(log)
    events = [
        event
        for file in reader.files
        for commit in commits_of(reader, file)
        for event in commit.events
        if isinstance(event, Event) and event.n
    ]
    return sorted(events, key=lambda event: (event.vm, event.n))
