"""The runs of a command on the machine's cores.

A run, or some hosts of one, has a process of its own; what needs only one is done in this process.
Interruption ends all of them at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pagewake.cli.fitting import side_by_side
from pagewake.cli.progress import Reach, following
from pagewake.engine.crew import Crew, Ended, outcome_of
from pagewake.engine.embedded import OnProgress
from pagewake.engine.run import (
    Assembly,
    Piece,
    RunOrder,
    SimulatedPiece,
    run_scenario,
    simulate,
)
from pagewake.engine.split import cores, deal_runs, is_worthwhile
from pagewake.errors import PagewakeError
from pagewake.observe.result import RunResult
from pagewake.participants.footprint import memory_bytes

Outcome: TypeAlias = RunResult | PagewakeError
Take: TypeAlias = Callable[[int, Outcome], None]


def run_all(orders: Sequence[RunOrder], jobs: int | None = None) -> list[RunResult]:
    """The result of each run, in their order; raises the first error among them."""
    results: dict[int, RunResult] = {}

    def take(index: int, outcome: Outcome) -> None:
        if isinstance(outcome, PagewakeError):
            raise outcome
        results[index] = outcome

    run_each(orders, take, jobs)
    return [result for _, result in sorted(results.items())]


def run_each(
    orders: Sequence[RunOrder],
    take: Take,
    jobs: int | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Run them in `jobs` processes; `take` gets each outcome as it comes.

    By default there are as many as cores, one if the runs are too short for it, and as many runs at
    once as there is memory for.  `names`: what each is called in the account of a long command.
    An error of one run is its outcome and ends no other.  Raises InterruptedRunError.
    """
    scenarios = [order.scenario for order in orders]
    at_once, processes = len(orders), jobs or 1
    if jobs is None and is_worthwhile(scenarios):
        processes = cores()
        at_once = side_by_side(max(map(memory_bytes, scenarios)), processes)
    deals = deal_runs(scenarios, processes, at_once)
    total_ns = sum(scenario.duration_ns for scenario in scenarios)
    with following(total_ns, len(orders)) as reach:
        if processes == 1 or [len(deal) for deal in deals] == [1]:
            _in_this_process(orders, take, reach, names)
        else:
            _SideBySide(orders, deals, take, reach, names).run(processes, at_once)


def _in_this_process(
    orders: Sequence[RunOrder], take: Take, reach: Reach, names: Sequence[str] | None
) -> None:
    for index, order in enumerate(orders):
        take(index, _outcome(order, reach.reporter(index)))
        reach.report_of(index, order.scenario.duration_ns)
        reach.run_finished(names[index] if names else "")


def _outcome(order: RunOrder, report: OnProgress) -> Outcome:
    return outcome_of(
        lambda: run_scenario(
            order.scenario,
            shards=order.shards,
            log_dir=order.log_dir,
            on_progress=report,
            recorded=order.recorded,
            journal=order.journal,
        )
    ).outcome


class _SideBySide:
    """Runs under way in several processes."""

    def __init__(
        self,
        orders: Sequence[RunOrder],
        deals: Sequence[Sequence[Sequence[int]]],
        take: Take,
        reach: Reach,
        names: Sequence[str] | None,
    ) -> None:
        self._orders = orders
        self._deals = deals
        self._take = take
        self._reach = reach
        self._names = names
        self._crew: Crew[tuple[int, int], Piece, int, SimulatedPiece] = Crew(simulate)
        self._under_way: dict[int, Assembly] = {}
        self._reached_ns = [[0] * len(deal) for deal in deals]

    def run(self, processes: int, at_once: int) -> None:
        """Run all, so many processes and so many runs at a time."""
        waiting = deque(range(len(self._orders)))
        try:
            while waiting or self._under_way:
                while waiting and self._has_room(waiting[0], processes, at_once):
                    self._start(waiting.popleft())
                for (index, number), news in self._crew.news():
                    self._hear(index, number, news)
        finally:
            self._crew.dismiss()
            for assembly in self._under_way.values():
                assembly.close()

    def _has_room(self, index: int, processes: int, at_once: int) -> bool:
        fits = len(self._crew) + len(self._deals[index]) <= processes
        return fits and len(self._under_way) < at_once

    def _start(self, index: int) -> None:
        assembly = Assembly(self._orders[index], self._deals[index])
        self._under_way[index] = assembly
        for number, piece in enumerate(assembly.pieces):
            self._crew.start((index, number), piece)

    def _hear(self, index: int, number: int, news: int | Ended[SimulatedPiece]) -> None:
        if index not in self._under_way:
            return  # another piece of its run has failed
        if not isinstance(news, Ended):
            self._reach_of(index, number, news)
            return
        self._reach_of(index, number, self._orders[index].scenario.duration_ns)
        done = news.outcome
        if isinstance(done, PagewakeError):
            self._crew.dismiss(lambda key: key[0] == index)
            self._end(index, done)
        elif self._under_way[index].take(number, done):
            self._end(index, outcome_of(self._under_way[index].result).outcome)

    def _reach_of(self, index: int, number: int, at_ns: int) -> None:
        """A run is as far as its piece that is furthest behind."""
        reached = self._reached_ns[index]
        reached[number] = at_ns
        self._reach.report_of(index, min(reached))

    def _end(self, index: int, outcome: Outcome) -> None:
        self._under_way.pop(index).close()
        self._take(index, outcome)
        self._reach.run_finished(self._names[index] if self._names else "")
