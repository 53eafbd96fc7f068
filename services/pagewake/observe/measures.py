"""What the points of a grid are compared by: how far each group of tasks came, and when it ended.

A group is the tasks of one name in the VMs of one `[[vm]]` table: `web/worker`.  It has one measure
of progress, the first of requests, work and touches that it counts; and where all of it finished at
every point, when the last of it did, because then it came equally far everywhere.  Who serves
requests also has what 99 of 100 took at the most: requests that come by themselves are as many
whatever happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pagewake.observe.progress import TaskProgress, by_kind
from pagewake.observe.result import RunResult

ENDED = "ended"
P99 = "request p99"
RATES = ("requests", "work", "touches")
"""Progress, the nearest to what a user of the workload sees first; more is better."""


class Measure(NamedTuple):
    """One figure that every point has: of which group, and what it counts."""

    group: str
    what: str

    @property
    def less_is_better(self) -> bool:
        """Whether it is a time and not progress."""
        return self.what not in RATES


def measures(results: Sequence[RunResult]) -> dict[Measure, list[int | None]]:
    """Every measure of these runs, with its value at each; None where a run has no such tasks."""
    found: dict[Measure, list[int | None]] = {}
    grouped = [by_kind(result.progress or {}) for result in results]
    for group in dict.fromkeys(name for groups in grouped for name in groups):
        tasks = [groups.get(group, []) for groups in grouped]
        measure = Measure(group, _what(tasks))
        found[measure] = [_value(measure.what, of_run) for of_run in tasks]
        found[Measure(group, P99)] = [_p99_ns(result, group) for result in results]
    return {measure: values for measure, values in found.items() if any(values)}


def _what(tasks: Sequence[Sequence[TaskProgress]]) -> str:
    every = [task for of_run in tasks for task in of_run]
    if all(task.finished_ns is not None for task in every):
        return ENDED
    return next((what for what in RATES if any(getattr(task, what) for task in every)), RATES[-1])


def _value(what: str, tasks: Sequence[TaskProgress]) -> int | None:
    if not tasks:
        return None
    if what == ENDED:
        return max(task.finished_ns or 0 for task in tasks)
    return sum(getattr(task, what) or 0 for task in tasks)


def _p99_ns(result: RunResult, group: str) -> int | None:
    latency = result.latency.get(group)
    return None if latency is None else latency.p99_ns
