"""States per second of `pagewake explore`, and the memory that each takes, in pairs of walks.

    python -m tests.bench.bench_explore [BEFORE] [--rounds N] [--quick]

Each walk has a process of its own.  `ratio` is how many times as fast the walk of this checkout in
one process is, by the median of the rounds: as one without the reduction, of the whole space; as
one of BEFORE, another checkout, by CPU.  For two processes it is how many times as fast they are,
by wall time, where two cores are free.  `bytes` is by how much a process grew for each state.

The second table has the bytes of a copy of a state, and of one that is packed as it waits.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from pagewake.explore.gallery import load_small
from pagewake.explore.search import Bounds, Plan, Search
from pagewake.explore.space import CHUNK, packed
from tests.bench.common import table

HERE = Path(__file__).resolve().parents[2]
SPACES = (
    ("one-vcpu", ("explore.budget.tick=2", "explore.budget.irq=2")),
    ("two-tasks", ("vm.0.vcpus=2", "explore.budget.irq=1")),
    ("moved-thread", ()),
)
QUICK_STATES = 500
CODE = """
import resource, sys, time
from contextlib import ExitStack
from pagewake.explore.gallery import load_small
from pagewake.explore.search import Bounds, Plan, Search
from pagewake.explore.workers import Workers

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def main():
    jobs, reduce, states, name, *sets = sys.argv[1:]
    plan = Plan(load_small(name, sets), reduce=reduce == "yes", bounds=Bounds(int(states)))
    with ExitStack() as stack:
        workers = stack.enter_context(Workers(plan, int(jobs))) if jobs != "1" else None
        search = Search(plan, None, workers)
        before, began_s, cpu_s = peak(), time.perf_counter(), time.process_time()
        found = search.breadth_first()
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    print(found.states, wall_s, cpu_s, (peak() - before) / found.states)

if __name__ == "__main__":
    main()
"""


class Walk(NamedTuple):
    """One walk: its states, seconds of a clock and of this process, bytes a state."""

    states: int
    wall_s: float
    cpu_s: float
    bytes_a_state: float


class Way(NamedTuple):
    """How to walk, and by which time it compares."""

    name: str
    checkout: Path = HERE
    jobs: int = 1
    reduce: bool = True
    by_wall: bool = False

    def seconds(self, walk: Walk) -> float:
        """What is compared."""
        return walk.wall_s if self.by_wall else walk.cpu_s


def walk(way: Way, states: int, name: str, sets: tuple[str, ...]) -> Walk:
    """In a process of its own, by the interpreter of its checkout, if it has one."""
    other = way.checkout != HERE
    python = way.checkout / ".venv/bin/python"
    path = [str(way.checkout / "services")] if other else []
    reduce = "yes" if way.reduce else "no"
    done = subprocess.run(
        [
            str(python) if other and python.exists() else sys.executable,
            *("-c", CODE, str(way.jobs), reduce, str(states), name, *sets),
        ],
        cwd=way.checkout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*path, *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    found, *figures = done.stdout.split()
    return Walk(int(found), *map(float, figures))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("before", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    here = Way("one process")
    ways = [here, Way("all orders", reduce=False), Way("two processes", jobs=2, by_wall=True)]
    if options.before is not None:
        ways.append(Way("before", options.before.resolve()))
    rows: list[list[object]] = [["scenario", "walk", "states", "s", "states/s", "ratio", "bytes"]]
    for name, sets in SPACES[:1] if options.quick else SPACES:
        states = QUICK_STATES if options.quick else 0
        rounds = [
            {way: walk(way, states, name, sets) for way in ways}
            for _ in range(1 if options.quick else options.rounds)
        ]
        rows += [row(name, here, way, rounds) for way in ways]
    table(rows)
    print()
    table([["scenario", "copy", "packed"], *map(copies, SPACES)])


def copies(space: tuple[str, tuple[str, ...]]) -> list[object]:
    """The bytes of a copy of a state, as it is and among 64 that wait."""
    name, sets = space
    search = Search(Plan(load_small(name, sets), bounds=Bounds(states=QUICK_STATES)))
    search.breadth_first()
    waiting = [copy for chunk in search.space.below for copy in chunk.unpacked()][:CHUNK]
    total = sum(map(len, waiting))
    return [name, round(total / len(waiting)), round(len(packed(waiting)) / len(waiting))]


def row(name: str, here: Way, way: Way, rounds: list[dict[Way, Walk]]) -> list[object]:
    """The medians of the rounds."""
    walks = [each[way] for each in rounds]
    seconds = median(map(way.seconds, walks))
    ratios = [_ratio(way, each[way], here, each[here]) for each in rounds]
    states = walks[0].states
    grown = median(each.bytes_a_state for each in walks)
    return [
        *(name, way.name, f"{states:,}", f"{seconds:.2f}", f"{states / seconds:,.0f}"),
        *(f"{median(ratios):.2f}", f"{grown:,.0f}"),
    ]


def _ratio(way: Way, there: Walk, here: Way, one: Walk) -> float:
    """How many times as fast one process of this checkout is; two are compared with one."""
    if way.by_wall:
        return one.wall_s / there.wall_s
    return way.seconds(there) / here.seconds(one)


if __name__ == "__main__":
    main()
