"""Huge pages of the host in whole runs: how many faults they save, and what they cost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pagewake.engine.embedded import run_embedded
from pagewake.engine.run import run_scenario
from pagewake.events import types as ev
from pagewake.observe.result import RunResult
from pagewake.participants.build import build
from pagewake.participants.participant import ShardParticipant, Step
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load, loads
from pagewake.scenario.model import Scenario
from pagewake.verify.verify import verify_log
from tests.support.cluster import FakeCluster, Member

FRESH = """
[scenario]
name = "fresh"
duration = "{duration}"
[kernel]
profile = "6.1"
[host]
medium = "ssd-sata"
huge_pages = {huge}
[[vm]]
name = "vm"
vcpus = 2
memory = "192MiB"
limit = "{limit}"
[[vm.task]]
name = "walk"
pattern = "sequential"
stride = {stride}
working_set = "128MiB"
access = "write"
touch = "1us"
"""


def fresh(
    huge: bool,
    limit: str = "192MiB",
    stride: int = 1,
    duration: str = "250ms",
    count: int = 1,
) -> Scenario:
    """A walk through memory that nobody touched before."""
    given = {"huge": str(huge).lower(), "limit": limit, "stride": stride, "duration": duration}
    return loads(FRESH.format(**given), "fresh.toml", Path(), sets=[f"vm.0.count={count}"])


def verified(scenario: Scenario, log: Path) -> RunResult:
    result = run_scenario(scenario, log_dir=log)
    assert verify_log(log).problems == []
    assert run_scenario(load(str(log / "run.toml"))).digest == result.digest
    return result


def test_fresh_memory_comes_in_512_times_fewer_faults(tmp_path: Path) -> None:
    small, huge = (verified(fresh(each), tmp_path / str(each)) for each in (False, True))
    assert small.first_touches == huge.first_touches == 32_768
    assert (small.huge_touches, huge.huge_touches) == (0, 64)
    assert huge.cpu["exit"] < small.cpu["exit"] / 4
    assert small.touches is not None
    assert huge.touches is not None
    assert huge.touches > 2 * small.touches


def test_a_sparse_walk_fills_memory_with_pages_that_nobody_touches(tmp_path: Path) -> None:
    small, huge = (
        verified(fresh(each, "96MiB", stride=8), tmp_path / str(each)) for each in (False, True)
    )
    assert (small.first_touches, small.page_ins) == (4_096, 0)
    assert huge.first_touches > 20_000
    assert huge.page_ins > 100


def test_pages_that_were_never_touched_are_written_to_swap() -> None:
    plan = RunPlan.of("fresh", fresh(True, "96MiB", stride=8), shards=1)
    events: list[ev.Event] = []
    run_embedded(plan, build(plan), observer=events.extend)
    evicted = [event for event in events if isinstance(event, ev.PagesEvicted)]
    written = [gfn for event in evicted for gfn in event.dirty]
    assert sum(gfn % 8 != 0 for gfn in written) > len(written) / 2


def test_too_little_for_a_range_is_served_by_pages(tmp_path: Path) -> None:
    result = verified(fresh(True, "32MiB", duration="20ms"), tmp_path / "log")
    assert result.huge_touches == 0
    assert result.first_touches > 1_000


HELD = """
[scenario]
name = "held"
duration = "60ms"
[host]
medium = "nvme"
huge_pages = {huge}
[[vm]]
name = "vm"
vcpus = 2
memory = "128MiB"
limit = "64MiB"
[[vm.task]]
name = "held"
vcpu = 0
pattern = "sequential"
stride = 64
working_set = "32MiB"
populated = true
touch = "1us"
[[vm.task]]
name = "once"
vcpu = 1
pattern = "sequential"
working_set = "64MiB"
populated = true
resident = "28MiB"
touch = "3us"
"""


@pytest.mark.parametrize("huge", [False, True])
def test_one_page_in_use_keeps_a_range_of_idle_ones(huge: bool) -> None:
    plan = RunPlan.of("held", loads(HELD.format(huge=str(huge).lower())), shards=1)
    events: list[ev.Event] = []
    run_embedded(plan, build(plan), observer=events.extend)
    evicted = [event for event in events if isinstance(event, ev.PagesEvicted)]
    gone = [gfn for event in evicted for gfn in event.dropped]
    held = sum(gfn < 8_192 for gfn in gone)
    assert len(gone) > 100
    assert held == (0 if huge else len(gone))


def test_kills_and_snapshots_change_nothing() -> None:
    plan = RunPlan.of("fresh", fresh(True, "96MiB", stride=8, duration="60ms"), shards=1)
    cluster = FakeCluster(plan, 5, kill=0.05, snapshot=0.3)
    looks: Counter[bool] = Counter()

    def look(member: Member, _: Step) -> None:
        if isinstance(member.participant, ShardParticipant):
            huge = member.participant.kernels[0].vm.huge
            assert huge is not None
            looks[huge.whole(0)] += 1

    cluster.observers.append(look)
    assert cluster.run() == run_embedded(plan, build(plan)).digest
    assert cluster.kills > 5
    assert looks[True] > 5


def test_the_digest_is_one_in_any_number_of_shards() -> None:
    scenario = fresh(True, "96MiB", stride=8, duration="40ms", count=2)
    assert run_scenario(scenario, shards=2).digest == run_scenario(scenario).digest
