"""Several independent runs on the machine's cores, one fresh process per run.

Each process reports through its own pipe: progress, then the result or the error.  A process that
ends without either is an error, not a wait for ever.  Interruption ends all of them at once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeAlias

from pagewake.cli.guard import OUT_OF_MEMORY, described
from pagewake.cli.progress import following
from pagewake.engine.embedded import OnProgress
from pagewake.engine.run import run_scenario
from pagewake.errors import ConfigError, InternalError, PagewakeError
from pagewake.observe.result import RunResult
from pagewake.scenario.model import Scenario

Outcome: TypeAlias = RunResult | PagewakeError

REPORT_EVERY_S = 0.1
"""As often as a bar is drawn (`progress.REDRAW_S`)."""


def cores() -> int:
    """How many processes this machine runs side by side for us."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_all(scenarios: Sequence[Scenario], jobs: int | None = None) -> list[RunResult]:
    """The result of each scenario, in their order; raises the first error among them."""
    results: dict[int, RunResult] = {}

    def take(index: int, outcome: Outcome) -> None:
        if isinstance(outcome, PagewakeError):
            raise outcome
        results[index] = outcome

    run_each(scenarios, take, jobs)
    return [result for _, result in sorted(results.items())]


def run_each(
    scenarios: Sequence[Scenario],
    take: Callable[[int, Outcome], None],
    jobs: int | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Run scenarios, `jobs` at a time (default: all cores); `take` gets each outcome as it comes.

    `names`: what each is called in the account of a long command.  An error of one run is its
    outcome and ends no other.  Raises InterruptedRunError.
    """
    total_ns = sum(scenario.duration_ns for scenario in scenarios)
    with following(total_ns, len(scenarios)) as reach:
        if len(scenarios) == 1:
            take(0, _outcome(scenarios[0], reach.report))
            return
        crew = _Crew(scenarios)
        try:
            while crew.busy(jobs or cores()):
                for index, message in crew.news():
                    if isinstance(message, int):
                        reach.report_of(index, message)
                    else:
                        reach.report_of(index, scenarios[index].duration_ns)
                        take(index, message)
                        reach.run_finished(names[index] if names else "")
        finally:
            crew.dismiss()


class _Crew:
    """The processes under way, at most `jobs`."""

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self._waiting = list(enumerate(scenarios))[::-1]
        self._working: dict[Connection, tuple[int, SpawnProcess]] = {}

    def busy(self, jobs: int) -> bool:
        """Start what there is room for; false when nothing is left to wait for."""
        while self._waiting and len(self._working) < jobs:
            self._start(*self._waiting.pop())
        return bool(self._working)

    def news(self) -> list[tuple[int, int | Outcome]]:
        """Wait for messages: how far a run is, or its outcome."""
        heard: list[tuple[int, int | Outcome]] = []
        for pipe in wait(list(self._working)):
            assert isinstance(pipe, Connection)
            index, process = self._working[pipe]
            message = _receive(pipe, process)
            if not isinstance(message, int):
                process.join()
                del self._working[pipe]
            heard.append((index, message))
        return heard

    def dismiss(self) -> None:
        """Kill the processes that still run."""
        for _, process in self._working.values():
            process.kill()
        for _, process in self._working.values():
            process.join()

    def _start(self, index: int, scenario: Scenario) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(theirs, scenario), daemon=True)
        resource_tracker.ensure_running()  # its start would undo the mask
        with _interruption_held():
            process.start()
            self._working[ours] = (index, process)
        theirs.close()


@contextmanager
def _interruption_held() -> Iterator[None]:
    """Ctrl-C waits until the block is done; a process started inside never sees one.

    It goes to the whole foreground group, but is the parent's business alone.  The mask is what the
    child inherits; the handler is for threads of numpy's libraries, which the mask does not cover.
    """
    arrived: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if arrived:
        signal.raise_signal(signal.SIGINT)


def _receive(pipe: Connection, process: SpawnProcess) -> int | Outcome:
    try:
        message: int | Outcome = pipe.recv()
    except EOFError:
        process.join()
        return InternalError(
            f"a worker process ended with exit code {process.exitcode} before its run was done"
            " (out of memory? fewer at a time: --jobs 1)"
        )
    return message


def _work(pipe: Connection, scenario: Scenario) -> None:
    """The body of a worker process: one run; ends quietly when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business alone
    next_report_s = 0.0

    def report(at_ns: int, _windows: int) -> None:
        nonlocal next_report_s
        now_s = time.monotonic()
        if now_s >= next_report_s:
            next_report_s = now_s + REPORT_EVERY_S
            pipe.send(at_ns)

    with suppress(BrokenPipeError):
        pipe.send(_outcome(scenario, report))


def _outcome(scenario: Scenario, report: OnProgress) -> Outcome:
    try:
        return run_scenario(scenario, on_progress=report)
    except PagewakeError as error:
        return error
    except BrokenPipeError:
        raise
    except MemoryError:
        return ConfigError(OUT_OF_MEMORY)
    except Exception as error:  # noqa: BLE001 - the parent reports it
        return InternalError(f"in a run: {described(error)}")
