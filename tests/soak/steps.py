"""The steps of a soak, drawn from one seed: each can be done again alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import NamedTuple

from pagewake.engine.run import run_scenario
from pagewake.observe.result import RunResult
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from tests.soak.lane import BROKERS
from tests.soak.ways import VICTIMS, WAYS, Way, skipped

MOMENTS = ("start", "running", "snapshot", "replay", "end", "idle")
SEEDS = 8
"""A run's seed is one of so many: its embedded run is computed once a process."""


class Load(NamedTuple):
    """A scenario to run, and in how many shards; `kinds` of service have a part in it."""

    scenario: str
    sets: tuple[str, ...]
    shards: int
    kinds: tuple[str, ...] = ("host", "guest")


LOADS = (
    Load("nested", ("scenario.duration=60ms", "vm.0.count=2"), 2, ("host", "guest", "nested")),
    Load("overcommit", ("scenario.duration=120ms", "host.count=2"), 3),
    Load("natapov-2010", ("scenario.duration=1s", "vm.0.count=3"), 3),
    Load("trace-sort", ("scenario.duration=40ms",), 1),
    Load("trace-sqlite", ("scenario.duration=40ms",), 1),
)
"""Some hundred windows each: longer ones would only be more of the same."""


class Work(NamedTuple):
    """A load and the seed of its run."""

    load: Load
    seed: int

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.load.scenario} seed {self.seed}"

    def scenario(self) -> Scenario:
        """As it runs in a cluster."""
        return load(self.load.scenario, self.load.sets, self.seed)


@cache
def embedded(work: Work) -> RunResult:
    """What the cluster has to come to."""
    return run_scenario(work.scenario(), shards=work.load.shards)


class Step(NamedTuple):
    """One fault, and the runs beside it: the moment is one of the first.

    `victim` is a broker or a kind of service: which instance depends on who owns a part of the run.
    """

    number: int
    victim: str
    moment: str
    way: Way
    works: tuple[Work, ...]
    seed: int


def steps(seed: int, runs: int, kafkas: int) -> Iterator[Step]:
    """Without end: each victim, moment and way in turn, shuffled anew each time."""
    random = Random(seed)
    impossible = {(way, victim) for way, victim, _ in skipped(kafkas)}
    cells = [
        (victim, moment, way)
        for victim, moment, way in itertools.product(VICTIMS, MOMENTS, WAYS)
        if (way.name, victim) not in impossible
    ]
    numbers = itertools.count(1)
    while True:
        for victim, moment, way in random.sample(cells, len(cells)):
            first = [each for each in LOADS if victim in (*each.kinds, *BROKERS)]
            works = [random.choice(first), *random.choices(LOADS, k=runs - 1)]
            yield Step(
                next(numbers),
                victim,
                moment,
                way,
                tuple(Work(each, random.randrange(1, SEEDS + 1)) for each in works),
                random.randrange(1 << 30),
            )
