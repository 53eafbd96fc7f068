"""The arithmetic of a plan, on amounts and costs that are made up."""

from __future__ import annotations

from collections import defaultdict

import pytest

from pagewake.capacity.costs import Costs, yardstick_s
from pagewake.capacity.need import Need
from pagewake.capacity.probe import Amounts, HostProbe, Probe
from pagewake.capacity.reckoning import LOG_RECORD_BYTES, Terms, need_of, passing, thinned
from pagewake.participants.footprint import memory_bytes
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load

COSTS = Costs(
    taken="some day",
    command="some command",
    machine="some machine",
    turns_s=0.02,
    round_trip_s=0.002,
    record_s={"host": 0.0005, "guest": 0.0003, "nested": 0.0003},
    broker_record_s=0.0001,
    base_bytes=70 << 20,
    state={"host": 0.5, "guest": 2.0, "nested": 2.0},
    broker_bytes=400 << 20,
)
PLAN = RunPlan.of("made-up", load("overcommit", ["host.count=2"]), 1)
SEEN: Amounts = defaultdict(
    float,
    {
        "windows": 100.0,
        "faults": 400.0,
        "events": 7_000.0,
        "records faults": 100.0,
        "bytes faults": 50_000.0,
        "records apf.guest": 100.0,
        "bytes apf.guest": 40_000.0,
        "records journal": 50.0,
        "bytes journal": 400_000.0,
        "cpu host": 0.05,
        "cpu guest": 0.4,
        "cpu path": 0.3,
    },
)
HOST = HostProbe(0, 2, True, SEEN, SEEN, 0.0, 1_000_000)
PROBE = Probe([HOST], False)


def need(**terms: float) -> Need:
    return need_of(PLAN, PROBE, COSTS, Terms(**terms))  # type: ignore[arg-type]


def test_one_simulated_host_is_counted_for_all_that_it_stands_for() -> None:
    found = need()
    assert (found.windows, found.faults, found.events) == (200, 800, 14_000)
    assert (found.records, found.bytes) == (500, 980_000)
    assert [(topic.topic, topic.partitions) for topic in found.topics] == [
        ("faults", 2),
        ("apf.guest", 2),
        ("journal", 2),
        ("snapshots", 4),
    ]
    assert found.partitions == 10
    assert found.basis.simulated == 0.5
    assert found.basis.amounts_within == pytest.approx(400**-0.5)


def test_copies_multiply_disk_and_network_and_what_is_written_once_stays() -> None:
    one, three = need(), need(copies=3)
    assert one.disk_bytes == 980_000 + 500 * LOG_RECORD_BYTES
    assert three.disk_bytes == 3 * one.disk_bytes
    assert three.bytes == one.bytes
    assert (one.brokers, three.brokers) == (1, 3)
    (first, *_), (tripled, *_) = one.sizes, three.sizes
    assert tripled.bytes_per_s == first.bytes_per_s
    again = tripled.network_bytes_per_s - first.network_bytes_per_s
    assert again == pytest.approx(4 * first.bytes_per_s)
    assert tripled.cores["broker"] == pytest.approx(3 * first.cores["broker"])


def test_a_window_takes_the_work_and_the_records_of_each_service() -> None:
    found = {each.service: each for each in need().services}
    assert found["host"].cpu_ms_per_window == pytest.approx(0.5 + 0.5 * 2)
    assert found["guest"].cpu_ms_per_window == pytest.approx(4 + 0.3 * 2.5)
    assert found["guest"].state_bytes == 2 * memory_bytes(PLAN.scenario)
    assert found["host"].processes_max <= 2


def test_rates_follow_from_the_bound_that_binds() -> None:
    first = need().sizes[0]
    assert first.bound_by == "guest services"
    assert first.windows_per_s == pytest.approx(1 / 0.00475)
    assert first.takes_s == pytest.approx(200 * 0.00475)
    assert first.records_per_s == pytest.approx(2.5 / 0.00475)
    assert first.cores["guest"] == pytest.approx(1)
    assert first.cores["broker"] == pytest.approx(2.5 * 0.0001 / 0.00475)
    assert first.cores_in_all == pytest.approx(sum(first.cores.values()))
    (shared,) = need(cores=0.5).sizes
    assert shared.bound_by == "cores"
    assert shared.cores_in_all == pytest.approx(0.5)


def test_a_snapshot_is_written_for_so_much_work() -> None:
    (snapshots,) = [topic for topic in need().topics if topic.compacted]
    assert snapshots.bytes == 0  # 0.225 s of work each, and one is due after five
    (snapshots,) = [topic for topic in need(snapshot_s=0.1).topics if topic.compacted]
    assert (snapshots.records, snapshots.bytes) == (4, 2_000_000)  # half a MB is worth 0.12 s


def test_a_journal_is_written_by_those_that_read_windows() -> None:
    both = SEEN | {"records apf.nested": 300.0, "records faults": 400.0}
    amounts: Amounts = defaultdict(float, both)
    assert passing(amounts, "host") == 800
    assert passing(amounts, "guest") == 100 + (400 + 50) / 4
    assert passing(amounts, "nested") == 300 + (400 + 50) * 3 / 4


def test_a_slower_machine_makes_kafka_dearer_and_not_what_was_timed_on_it() -> None:
    slower = COSTS.here(0.06)
    assert slower.slower == pytest.approx(3)
    assert slower.record_s["host"] == pytest.approx(0.0015)
    assert slower.round_trip_s == pytest.approx(0.006)
    assert slower.base_bytes == COSTS.base_bytes
    assert 0 < yardstick_s() < 10


def test_a_long_table_keeps_its_first_rows_and_its_last() -> None:
    sizes = need().sizes[:1] * 100
    assert len(thinned(sizes)) == 6 + 4 + 1  # 0 to 5, then 8, 16, 32, 64, and the last
