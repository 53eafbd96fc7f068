"""Two simulated hosts on two cores against one core, in pairs; target: 1.8 times as fast.

Wall time of a whole run, with the start of its processes.  `cores` is CPU time by wall time of the
two processes: where other work takes a part of the two cores, no ratio is reached.
"""

from __future__ import annotations

import resource
import time
from statistics import median

from pagewake.cli.parallel import run_all
from pagewake.engine.run import RunOrder
from pagewake.scenario.model import Scenario
from tests.bench.common import quick, table, thrash

TARGET = 1.8


def main() -> None:
    scenario, pairs = (thrash(4, "5ms", hosts=2), 1) if quick() else (_large(), 5)
    rows: list[tuple[object, ...]] = []
    ratios: list[float] = []
    for pair in range(pairs):
        order = (1, 2) if pair % 2 else (2, 1)  # so that neither is always the first
        took = {jobs: _timed(scenario, jobs) for jobs in order}
        (one_s, _), (two_s, cores) = took[1], took[2]
        ratios.append(one_s / two_s)
        rows.append((f"{one_s:.2f}", f"{two_s:.2f}", f"{one_s / two_s:.2f}", f"{cores:.2f}"))
    middle = median(ratios)
    table(
        [
            ("one core s", "two cores s", "ratio", "cores"),
            *rows,
            ("", "median", f"{middle:.2f}", f"of {TARGET}"),
        ]
    )


def _large() -> Scenario:
    return thrash(20, "80ms", hosts=2)


def _timed(scenario: Scenario, jobs: int) -> tuple[float, float]:
    """Wall seconds of a run, and CPU time of its other processes by that."""
    started_s, before_s = time.perf_counter(), _children_s()
    run_all([RunOrder(scenario)], jobs)
    wall_s = time.perf_counter() - started_s
    return wall_s, (_children_s() - before_s) / wall_s


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
