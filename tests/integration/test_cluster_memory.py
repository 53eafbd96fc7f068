"""The cluster's participants over a bus of lists: whatever happens to them, the digest is that of
the embedded run.
"""

from __future__ import annotations

from functools import cache

import pytest

from pagewake.cluster.plan import RunPlan
from pagewake.engine.run import run_scenario
from pagewake.scenario.library import builtin_names
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from tests.support.cluster import FakeCluster

SHORTENED = {
    "natapov-2010": "300ms",
    "overcommit": "30ms",
    "nested": "100ms",
    "trace-sort": "40ms",
    "trace-sqlite": "40ms",
}


@cache
def scenario_of(name: str) -> Scenario:
    sets = [f"scenario.duration={SHORTENED[name]}"] if name in SHORTENED else []
    return load(name, sets)


@cache
def embedded(name: str) -> str:
    return run_scenario(scenario_of(name)).digest


def plan_of(name: str, shards: int = 1) -> RunPlan:
    return RunPlan.of("some-run", scenario_of(name), shards)


@pytest.mark.parametrize("name", builtin_names())
def test_the_digest_is_the_embedded_one(name: str) -> None:
    assert FakeCluster(plan_of(name), 1).run() == embedded(name)


@pytest.mark.parametrize("name", builtin_names())
@pytest.mark.parametrize("seed", [1, 2])
def test_kills_snapshots_duplicates_and_zombies_change_nothing(name: str, seed: int) -> None:
    cluster = FakeCluster(
        plan_of(name, 2), seed, duplicate=0.05, kill=0.01, snapshot=0.02, zombies=3
    )
    assert cluster.run() == embedded(name)
