"""Tallies: what a shard's events add up to, and that a snapshot keeps it."""

from __future__ import annotations

from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pagewake.cluster.metrics import Owned, RunMetrics
from pagewake.cluster.shard_metrics import COUNTS
from pagewake.cluster.tally import Tally
from pagewake.engine.run import run_scenario
from pagewake.events.types import HaltWhy
from pagewake.participants.participant import HostParticipant, ShardParticipant
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from tests.support.cluster import FakeCluster

SCENARIOS = {
    name: load(name, [f"scenario.duration={duration}"])
    for name, duration in (("natapov-2010", "300ms"), ("nested", "100ms"))
}


def tallied(name: str) -> tuple[FakeCluster, Tally]:
    """A whole run, tallied at its only shard."""
    cluster = FakeCluster(RunPlan.of("r", SCENARIOS[name], 1), 1)
    tally = Tally()
    cluster.observers.append(lambda _, step: tally.feed(step.events) if step.events else None)
    cluster.run()
    return cluster, tally


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_tally_agrees_with_the_run_result(name: str) -> None:
    _, tally = tallied(name)
    result = run_scenario(SCENARIOS[name])
    assert tally.events == result.events

    def of(metric: str, *labels: str) -> int:
        return tally.counts.get((metric, labels), 0)

    for delivery, count in result.not_present.items():
        assert of("page_not_present", delivery) == count, delivery
    for how, count in result.wakes.items():
        assert of("guest_task_wakes", how) == count, how
    for why, count in result.halts.items():
        assert of("kvm_halts", why) == count, why
    for outcome in ("slept", "halted", "early_ready"):
        assert of("guest_task_waits", outcome) == getattr(result.waits, outcome), outcome
    routes = dict.fromkeys(result.exits, 0)
    for (metric, labels), count in tally.counts.items():
        if metric == "nested_exits":
            routes[labels[2]] += count
    assert routes == result.exits
    assert of("guest_dummies") == result.dummies.left
    assert sum(tally.buckets.get("guest_wait_sim_seconds", [])) == sum(result.wakes.values())
    assert sum(result.not_present.values()) > 0


def test_series_of_a_part_do_not_know_of_the_others() -> None:
    """Parts move between processes one by one, and no counter may go back with them."""
    scenario = load("overcommit", ["scenario.duration=20ms"])
    cluster = FakeCluster(RunPlan.of("r", scenario, 2), 1)
    cluster.run()
    owned = [Owned(member.participant, Tally()) for member in cluster.members]
    for each in owned:
        each.tally.add("guest_sleepers")
    registry = CollectorRegistry()
    registry.register(RunMetrics(lambda: owned))

    def series() -> dict[str, str]:
        lines = generate_latest(registry).decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    of_all = series()
    left = owned.pop()
    fewer = series()
    assert fewer.items() < of_all.items()
    assert all(f'source="{left.participant.source}"' in name for name in of_all.keys() - fewer)


def test_what_may_be_counted_is_shown_from_the_start_at_zero() -> None:
    cluster = FakeCluster(RunPlan.of("r", SCENARIOS["nested"], 1), 1)
    shards = [m.participant for m in cluster.members if isinstance(m.participant, ShardParticipant)]
    registry = CollectorRegistry()
    registry.register(RunMetrics(lambda: [Owned(shard, Tally()) for shard in shards]))
    part = {"run": "r", "source": shards[0].source}
    for why in get_args(HaltWhy):
        assert registry.get_sample_value("pagewake_kvm_halts_total", {**part, "why": why}) == 0, why
    for metric in COUNTS:
        for labels in metric.known():
            named = {**part, **dict(zip(metric.labels, labels, strict=True))}
            assert registry.get_sample_value(f"pagewake_{metric.name}_total", named) == 0, named


def test_a_tally_goes_on_from_a_snapshot() -> None:
    _, tally = tallied("natapov-2010")
    copy = Tally()
    copy.restore(tally.state())
    assert copy.state() == tally.state()


def test_metrics_are_there_while_the_run_is_owned() -> None:
    cluster, tally = tallied("natapov-2010")
    owned: list[Owned] = []
    registry = CollectorRegistry()
    registry.register(RunMetrics(lambda: owned))
    assert b'run="r"' not in generate_latest(registry)
    for member in cluster.members:
        participant = member.participant
        assert isinstance(participant, HostParticipant | ShardParticipant)
        mine = tally if isinstance(participant, ShardParticipant) else Tally()
        owned.append(Owned(participant, mine))
    text = generate_latest(registry).decode()
    injected = tally.counts["page_not_present", ("injected",)]
    labels = '{delivery="injected",run="r",source="guest-0"}'
    assert f"pagewake_page_not_present_total{labels} {injected}.0" in text
    assert 'pagewake_host_page_ins_total{medium="' in text
    assert 'pagewake_guest_wait_sim_seconds_bucket{le="+Inf",run="r",source="guest-0"}' in text
    assert 'pagewake_sim_time_seconds{run="r",source="host-0"} 0.3' in text
