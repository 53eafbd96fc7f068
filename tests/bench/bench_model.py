"""What a run costs: seconds of CPU as a sum of what it does, fitted and held against measurements.

In one process the CPU time of a whole run, its build included, is taken to be so much for each VM,
window, fault and event, and more for each window and event if there is a log.  A grid of runs, in
which these are no multiples of each other, gives the costs by least squares of relative errors;
each run is then predicted by a fit that was not shown it.  CPU time, not wall time, and medians of
rounds that go through the whole grid, so that what else the machine does meets all runs alike.

The model of a cluster is in `tests.bench.stations`; without a broker there is only the first.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagewake.engine.run import run_scenario
from pagewake.scenario.model import Scenario
from pagewake.simtime.state import CORE
from tests.bench.common import quick, table, thrash
from tests.bench.stations import machines
from tests.support.processes import KAFKA, START, answers

TERMS = ("VM", "window", "fault", "event", "logged window", "logged event")
SIZES = ((1, "60ms"), (8, "20ms"), (64, "8ms"), (256, "4ms"))
"""VMs of four vcpus on one host, and how long: about as much CPU each."""
TOUCHES = ("5us", "160us")
"""A task's time per page: many and few faults to a window."""
APF = ("pv", "off")
"""Seventeen events to a fault, and two."""
ROUNDS = 3


class Cell(NamedTuple):
    """A run of the grid."""

    vms: int
    duration: str
    touch: str
    apf: str
    logged: bool

    def scenario(self) -> Scenario:
        """Of the thrashing kind."""
        sets = [f"kernel.apf={self.apf}"]
        return thrash(self.vms, self.duration, touch=self.touch, sets=sets)


class Done(NamedTuple):
    """What a run of the grid did, which is always the same, and the CPU that it took this time."""

    windows: int
    faults: int
    events: int
    cpu_s: float


class Fit(NamedTuple):
    """Seconds for each of the terms, and the standard errors of these."""

    costs_s: NDArray[np.floating]
    errors_s: NDArray[np.floating]


def run(cell: Cell) -> Done:
    """Once, with all that `pagewake run` does but the start of Python."""
    scenario = cell.scenario()
    with TemporaryDirectory() as directory:
        log_dir = Path(directory) / "log" if cell.logged else None
        gc.collect()  # so that a build does not pay for what ran before it
        started_s = time.process_time()
        result = run_scenario(scenario, log_dir=log_dir)
        cpu_s = time.process_time() - started_s
    return Done(result.windows, sum(result.not_present.values()), result.events, cpu_s)


def measured(cells: Sequence[Cell], rounds: int) -> list[Done]:
    """Each run with its median CPU time."""
    run(cells[0])  # imports, the first use of everything
    every = [[run(cell) for cell in cells] for _ in range(rounds)]
    return [
        done[0]._replace(cpu_s=median(each.cpu_s for each in done))
        for done in zip(*every, strict=True)
    ]


def amounts(cell: Cell, done: Done) -> tuple[float, ...]:
    """How much of each of the terms is in a run."""
    logged = [amount * cell.logged for amount in (done.windows, done.events)]
    return cell.vms, done.windows, done.faults, done.events, *logged


def fit(rows: NDArray[np.float64], cpu_s: NDArray[np.float64]) -> Fit:
    """Least squares of relative errors: a short run says as much as a long one."""
    scaled = rows / cpu_s[:, None]
    costs_s = np.linalg.lstsq(scaled, np.ones(len(rows)))[0]
    rest = scaled @ costs_s - 1
    spread = rest @ rest / max(1, len(rows) - len(costs_s))
    return Fit(costs_s, np.sqrt(np.diag(spread * np.linalg.pinv(scaled.T @ scaled))))


def unseen(rows: NDArray[np.float64], cpu_s: NDArray[np.float64]) -> list[float]:
    """CPU time of each run as the others predict it."""
    return [
        float(rows[at] @ fit(np.delete(rows, at, 0), np.delete(cpu_s, at)).costs_s)
        for at in range(len(rows))
    ]


def one_process(cells: Sequence[Cell], rounds: int) -> None:
    """Two tables: every run beside its prediction, and the costs."""
    done = measured(cells, rounds)
    rows = np.array([amounts(*each) for each in zip(cells, done, strict=True)], dtype=np.float64)
    cpu_s = np.array([each.cpu_s for each in done])
    heads = ["VMs", "apf", "log", "faults/window", "events/fault"]
    shown: list[list[object]] = [[*heads, "faults/s", "predicted", "error"]]
    errors = []
    for cell, each, predicted_s in zip(cells, done, unseen(rows, cpu_s), strict=True):
        errors.append(predicted_s / each.cpu_s - 1)
        shown.append(
            [
                cell.vms,
                cell.apf,
                "yes" if cell.logged else "no",
                f"{each.faults / each.windows:.1f}",
                f"{each.events / each.faults:.1f}",
                f"{each.faults / each.cpu_s:,.0f}",
                f"{each.faults / predicted_s:,.0f}",
                f"{100 * errors[-1]:+.0f} %",
            ]
        )
    middle = 100 * median(abs(error) for error in errors)
    table([*shown, ["median", *[""] * 6, f"{middle:.0f} %"]])
    print()
    costs = fit(rows, cpu_s)
    shares = rows * costs.costs_s / cpu_s[:, None]
    table(
        [
            ["a run costs, of CPU", "us", "+-", "of a run that has any"],
            *(
                [
                    f"each {term}",
                    f"{1e6 * cost:.2f}",
                    f"{1e6 * error:.2f}",
                    f"{100 * np.median(share[share != 0]):.0f} %",
                ]
                for term, cost, error, share in zip(TERMS, *costs, shares.T, strict=True)
            ),
        ]
    )


def machine() -> str:
    """What it was measured on: a figure without it says nothing."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, load {load};"
        f" Python {platform.python_version()}, {CORE} core"
    )


def main() -> None:
    """Print the tables."""
    small = quick()
    sizes = ((1, "4ms"), (8, "2ms")) if small else SIZES
    cells = [
        Cell(vms, duration, touch, apf, logged)
        for (vms, duration), touch, apf, logged in product(sizes, TOUCHES, APF, (False, True))
    ]
    print(machine())
    one_process(cells, 1 if small else ROUNDS)
    if not answers(KAFKA):
        print(f"no cluster, no Kafka at {KAFKA}: {START}", file=sys.stderr)
        return
    print()
    with TemporaryDirectory() as directory:
        machines(Path(directory), small=small)


if __name__ == "__main__":
    main()
