"""A whole run is counted as it is, and a beginning scaled to it."""

from __future__ import annotations

from collections import defaultdict
from math import inf
from pathlib import Path

import pytest

from pagewake.capacity.probe import Amounts, Mark, drift_of, kinds_of, probe, scaled
from pagewake.engine.run import run_scenario
from pagewake.events.codec import TOPICS
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario

LOGGED = "embedded"
"""A name as long as that of a run in a log: it stands in every record."""


def overcommit(*sets: str, duration: str = "40ms") -> Scenario:
    return load("overcommit", [f"scenario.duration={duration}", *sets])


def amounts(**counted: float) -> Amounts:
    return defaultdict(float, counted)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_whole_run_has_the_records_of_its_log(tmp_path: Path, shards: int) -> None:
    scenario = overcommit("host.count=2")
    result = run_scenario(scenario, shards=shards, log_dir=tmp_path / "log")
    found = probe(RunPlan.of(LOGGED, scenario, shards))
    assert found.whole
    assert found.within == 0
    total = found.total
    assert total == found.seen
    assert (total["windows"], total["events"]) == (result.windows, result.events)
    assert total["faults"] == sum(result.not_present.values())
    for topic in TOPICS:
        files = [path.read_bytes() for path in (tmp_path / "log").glob(f"{topic}-*.jsonl")]
        lines = sum(content.count(b"\n") for content in files)
        assert total[f"records {topic}"] == lines
        assert total[f"bytes {topic}"] == sum(map(len, files)) - lines


def test_a_beginning_foretells_the_run() -> None:
    plan = RunPlan.of(LOGGED, overcommit("host.count=2", duration="200ms"), 1)
    beginning, whole = probe(plan, 4_000), probe(plan, inf)
    assert (beginning.whole, whole.whole) == (False, True)
    assert beginning.seen["events"] < whole.total["events"] / 2
    assert beginning.within > 0
    for what in ("windows", "faults", "events", "bytes journal", "records faults"):
        assert beginning.total[what] == pytest.approx(whole.total[what], rel=0.15)
    assert beginning.packed_bytes == pytest.approx(whole.packed_bytes, rel=0.3)


def test_how_far_it_reaches_does_not_depend_on_time() -> None:
    plan = RunPlan.of(LOGGED, overcommit(), 1)
    one, other = (probe(plan, 2_000).total for _ in range(2))
    counts = [what for what in one if not what.startswith("cpu")]
    assert len(counts) > 6
    assert [one[what] for what in counts] == [other[what] for what in counts]


def test_services_are_timed_apart() -> None:
    seen = probe(RunPlan.of(LOGGED, overcommit(), 1)).seen
    assert 0 < seen["cpu host"] < seen["cpu guest"]
    assert seen["cpu path"] < seen["cpu host"] + seen["cpu guest"]
    nested = probe(RunPlan.of(LOGGED, load("nested", ["scenario.duration=20ms"]), 1)).seen
    assert nested["cpu nested"] > 0
    assert nested["cpu guest"] == 0


def test_a_run_goes_on_as_in_the_second_half_of_its_beginning() -> None:
    marks = [Mark(at, amounts(windows=count)) for at, count in ((0, 0), (50, 90), (75, 95))]
    marks.append(Mark(100, amounts(windows=100.0)))
    assert scaled(marks, 1_000)["windows"] == pytest.approx(100 + 900 * 10 / 50)
    assert drift_of(marks) == pytest.approx(0)
    marks[2] = Mark(75, amounts(windows=94.0))
    assert drift_of(marks) == pytest.approx(6 / 4 - 1)


def test_one_simulated_host_stands_for_those_with_the_same_vms() -> None:
    alike = RunPlan.of(LOGGED, overcommit("host.count=4", "vm.0.count=8"), 1)
    assert kinds_of(alike) == {0: 4}
    apart = RunPlan.of(LOGGED, overcommit("host.count=4", "vm.0.count=9"), 1)
    assert kinds_of(apart) == {0: 1, 1: 3}
    assert sum(kinds_of(RunPlan.of(LOGGED, overcommit("host.count=3"), 1)).values()) == 3
