"""What a run cost, from what its participants say at their ends."""

from __future__ import annotations

import msgspec

from pagewake.bus.partitions import StoredRecord
from pagewake.cluster.cost import Spent, Stopwatch, cost_of
from pagewake.cluster.runs import Announced, Runs
from pagewake.engine.run import run_scenario
from pagewake.observe.result import RunResult
from pagewake.participants.participant import LapKind
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from tests.support.clock import FakeClock

HOST = Spent("a", 10.0, 20.0, 0.5, 1.5, records=30, size=3_000)
FIRST = Spent("b", 12.0, 19.0, 1.0, 3.0, records=50, size=5_000)
SECOND = Spent("b", 11.0, 18.0, 1.0, 2.0, records=20, size=2_000)
PLAN = RunPlan.of("r", load("overcommit", ["host.count=2"]), 1)
SPENT = {"host-0": HOST, "guest-0": FIRST, "guest-1": SECOND}


def result(faults: int, windows: int = 50) -> RunResult:
    ran = run_scenario(load("row-09-enable"))
    return msgspec.structs.replace(ran, not_present={"injected": faults}, windows=windows)


def test_what_a_process_neither_encoded_nor_simulated_it_waited() -> None:
    processes = cost_of(result(100), SPENT).processes
    assert processes["a"].waiting_s == 8.0
    assert (processes["b"].wall_s, processes["b"].waiting_s) == (8.0, 1.0)
    assert [process.participants for process in processes.values()] == [1, 2]


def test_records_and_bytes_are_shared_out_over_the_faults() -> None:
    cost = cost_of(result(100), SPENT)
    assert (cost.records, cost.bytes) == (100, 10_000)
    assert (cost.records_per_fault, cost.bytes_per_fault) == (1.0, 100.0)
    assert cost.faults_per_window == 2.0


def test_without_a_fault_nothing_is_per_fault() -> None:
    cost = cost_of(result(0), SPENT)
    assert (cost.records_per_fault, cost.bytes_per_fault) == (None, None)


def test_a_run_knows_what_its_participants_said_and_no_others() -> None:
    announced = Announced.of(PLAN, 1_000.0)
    runs = Runs()
    said = [("r", announced), ("r/spent-host-1", HOST), ("r/spent-host-7", FIRST)]
    for offset, (key, what) in enumerate(said):
        runs.feed(StoredRecord(offset, key.encode(), msgspec.json.encode(what)))
    assert runs.entries["r"].spent == {"host-1": HOST}
    assert runs.skipped == 1


def test_participants_are_hosts_and_shards() -> None:
    assert PLAN.sources() == ["host-0", "host-1", "guest-0", "guest-1"]


def test_laps_add_up_to_the_time_between() -> None:
    clock = FakeClock()
    watch = Stopwatch(clock)
    clock.advance(5.0)
    watch.start()
    laps: list[tuple[LapKind, float]] = [("codec", 2.0), ("simulation", 1.0), ("codec", 4.0)]
    for part, took_s in laps:
        clock.advance(took_s)
        watch.lap(part)
    assert watch.seconds == {"codec": 6.0, "simulation": 1.0}
