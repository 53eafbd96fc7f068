"""Two simulated hosts on two cores against one core, in pairs; target: 1.8 times as fast.

`ratio` is of the wall time of a whole run, with the start of its processes: what a person gets,
where both cores are free.  `by CPU` is of CPU time, that of the busiest process, as there are two
alike, and of the parent: what it would be if nothing else took a core or its caches.
"""

from __future__ import annotations

import resource
import time
from statistics import median
from typing import NamedTuple

from pagewake.cli.parallel import run_all
from pagewake.engine.run import RunOrder
from pagewake.scenario.model import Scenario
from tests.bench.common import quick, table, thrash

TARGET = 1.8


class Took(NamedTuple):
    """Seconds that a run took: of a clock, and of one core."""

    wall_s: float
    cpu_s: float


def main() -> None:
    scenario, pairs = (_scenario("1ms"), 1) if quick() else (_scenario("160ms"), 5)
    rows: list[tuple[str, ...]] = []
    ratios: list[tuple[float, float]] = []
    for pair in range(pairs):
        order = (1, 2) if pair % 2 else (2, 1)  # so that neither is always the first
        took = {jobs: _timed(scenario, jobs) for jobs in order}
        one, two = took[1], took[2]
        ratios.append((one.wall_s / two.wall_s, one.cpu_s / two.cpu_s))
        rows.append((f"{one.wall_s:.2f}", f"{two.wall_s:.2f}", *_shown(ratios[-1])))
    middle = median(ratio for ratio, _ in ratios), median(ratio for _, ratio in ratios)
    head = ("one core s", "two cores s", "ratio", "by CPU", f"of {TARGET}")
    last = ("", "median", *_shown(middle), f"{middle[0] / TARGET:.2f}")
    table([head, *((*row, "") for row in rows), last])


def _shown(ratios: tuple[float, float]) -> tuple[str, str]:
    return f"{ratios[0]:.2f}", f"{ratios[1]:.2f}"


def _scenario(duration: str) -> Scenario:
    return thrash(20, duration, hosts=2)


def _timed(scenario: Scenario, jobs: int) -> Took:
    started_s, own_s, others_s = time.perf_counter(), time.process_time(), _children_s()
    run_all([RunOrder(scenario)], jobs)
    others_s = _children_s() - others_s
    return Took(time.perf_counter() - started_s, time.process_time() - own_s + others_s / jobs)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
