"""What services export says what the run's result says, also when one was killed in mid-run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pagewake.engine.run import run_scenario
from pagewake.observe.result import RunResult
from pagewake.scenario.interventions import INTERVENTIONS
from pagewake.scenario.loading import load
from tests.support.processes import (
    Cluster,
    after,
    digest_of,
    needs_kafka,
    new_run,
    running,
    set_options,
    until,
    until_under_way,
)

pytestmark = [pytest.mark.broker, needs_kafka]

CONTRACT = {
    "guest_task_waits_total", "guest_task_wakes_total", "guest_sleepers", "guest_dummies",
    "guest_traps_total", "guest_wait_sim_seconds_count", "kvm_halts_total",
    "kvm_injections_total", "page_not_present_total", "page_ready_total",
    "host_page_ins_total", "host_evictions_total", "host_resident_pages", "host_swap_queue",
    "host_page_in_sim_seconds_count", "window_wall_seconds_count", "window_events_count",
    "windows_total", "sim_time_seconds", "bus_records_total", "bus_lag_records",
    "replay_sim_seconds", "snapshots_total", "duplicates_ignored_total",
}  # fmt: skip
OF_A_PART = {"pagewake_sim_time_seconds", "pagewake_replaying", "pagewake_window_waits_for_seconds"}
NESTED = {"nested_exits_total", "nested_vmexits_total"}
RUNS: dict[str, list[str]] = {
    "natapov-2010": ["scenario.duration=2s"],
    "overcommit": ["scenario.duration=60ms", "host.count=2"],
    "nested": ["scenario.duration=100ms", "vm.0.count=2"],
    "trace-sort": ["scenario.duration=100ms"],
    "row-11-migrate-sleepers": [],
}


SERVICES = ["host", "guest", "nested"]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for cluster in running(tmp_path_factory.mktemp("standing")):
        cluster.start(*SERVICES)
        yield cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path)


def scraped(cluster: Cluster, names: Iterable[str], run: str) -> Counter[tuple[str, ...]]:
    """Samples of a run, summed over services and parts, by name and the other labels' values."""
    found: Counter[tuple[str, ...]] = Counter()
    for name in names:
        status, text = cluster.get(name, "/metrics")
        assert status == 200
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("run", run) == run:
                    drop = {"run"} if sample.name in OF_A_PART else {"run", "source"}
                    labels = [sample.labels[key] for key in sorted(sample.labels.keys() - drop)]
                    found[sample.name.removeprefix("pagewake_"), *labels] += int(sample.value)
    return found


def assert_totals_agree(found: Counter[tuple[str, ...]], result: RunResult) -> None:
    """Every protocol total that the result has."""
    waits = {
        "slept": result.waits.slept,
        "halted": result.waits.halted,
        "early_ready": result.waits.early_ready,
    }
    for metric, counts in {
        "page_not_present_total": result.not_present,
        "guest_task_waits_total": waits,
        "guest_task_wakes_total": result.wakes,
        "kvm_halts_total": result.halts,
    }.items():
        for label, count in counts.items():
            assert found[metric, label] == count, (metric, label)
    for route, count in result.exits.items():
        exits = sum(
            n for key, n in found.items() if key[0] == "nested_exits_total" and route in key
        )
        assert exits == count, route
    assert found["guest_dummies",] == result.dummies.left
    assert found["guest_sleepers",] == result.sleepers
    assert found["guest_wait_sim_seconds_count",] == sum(result.wakes.values())
    assert found["windows_total",] == result.windows
    assert found["window_events_sum",] == result.events
    groups = Counter[str]()
    for key, count in found.items():
        if key[0].startswith("group_"):
            groups[key[0]] += count
    assert groups["group_work_total"] == result.work.total
    assert groups["group_touches_total"] == result.touches
    assert groups["group_requests_total"] == result.requests
    for how in ("finished", "killed"):
        of_vms = sum(getattr(share, how) for share in (result.per_group or {}).values())
        assert groups[f"group_tasks_{how}_total"] == of_vms
    assert groups["group_sleepers"] == result.sleepers
    assert groups["group_resident_pages"] == sum(
        count for key, count in found.items() if key[0] == "host_resident_pages"
    )
    assert found["run_paused",] == 0
    of_medium = dict.fromkeys(("host_page_ins_total", "host_evictions_total"), 0)
    for key, count in found.items():
        if key[0] in of_medium:
            of_medium[key[0]] += count
    assert list(of_medium.values()) == [result.page_ins, result.evictions]


def test_totals_after_services_were_killed(cluster: Cluster) -> None:
    """Comes first: the services that stand for the other tests would share its run."""
    services = ["host", "guest", "guest-2"]
    cluster.start(*services)
    run, sets = new_run(), ["scenario.duration=250ms"]
    submitted = cluster.submit(run, "overcommit", *set_options(sets), "--shards", "2")
    until_under_way(run)
    for victim in ("guest", "host"):
        after(1.0)
        cluster.kill(victim)
        cluster.start(victim)
    digest_of(submitted)
    result = run_scenario(load("overcommit", sets))

    def caught_up() -> bool:
        """A source is shown by its owner, once that has caught up with the log."""
        found = scraped(cluster, services, run)
        shown = {key[1] for key in found if key[0] == "sim_time_seconds"}
        return len(shown) == 3 and found["window_events_sum",] == result.events

    until(caught_up, "the host and both shards have caught up with the end", within_s=90)
    found = scraped(cluster, services, run)
    found["windows_total",] = result.windows
    assert_totals_agree(found, result)
    assert cluster.metric("guest", "pagewake_recoveries_total") > 0


@pytest.mark.parametrize("scenario", RUNS)
def test_totals_are_the_results(standing: Cluster, scenario: str) -> None:
    run, sets = new_run(), RUNS[scenario]
    digest_of(standing.submit(run, scenario, *set_options(sets)))
    found = scraped(standing, SERVICES, run)
    result = run_scenario(load(scenario, sets))
    windows = found.pop(("windows_total",))  # cut otherwise than in one process
    assert windows > 0
    found["windows_total",] = result.windows
    assert_totals_agree(found, result)
    assert CONTRACT - {key[0] for key in found} == set()
    parsed = load(scenario, sets)
    asked = Counter(INTERVENTIONS[type(event.control)] for event in parsed.events)
    assert {do: found["interventions_total", do] for do in asked} == asked
    assert found["group_vms", parsed.vms[0].name] == parsed.vms[0].count
    assert found["run_ended",] == parsed.host.count
    assert found["run_bytes_total",] > found["run_records_total",] > windows
    if scenario == "nested":
        assert {key[0] for key in found} >= NESTED
