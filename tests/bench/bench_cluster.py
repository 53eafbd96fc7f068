"""The cluster's two bounds, beside what a bare round trip and the embedded engine take now.

A window costs one round trip.  Where windows are poor (`natapov-2010`: about one event each) the
wall time of a run, from its announcement to its result, is held against as many bare round trips,
taken right before and after it; target: at most 1.5 times.  Where they are rich (10,000 vcpus on
20 simulated hosts, NVMe with 64 parallel requests) the faults per second of wall time are held
against those of the embedded engine; target: at least 70 %.

A third table holds the rich run with less of its journal kept against the run with all of it, in
pairs, by wall time from its first window to its last.

The embedded engine is one process and keeps one core busy; services and broker share all there are.
Rich runs are timed from their first window to their last, on both sides: their VMs are built then,
and nothing is read back yet.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from pagewake.bus.kafka import FOLLOW_WAIT_MS, KafkaSettings
from pagewake.bus.kafka_settings import fetch_options
from pagewake.engine.run import run_scenario
from pagewake.events.codec import FAULTS
from pagewake.observe.result import RunResult
from pagewake.participants.plan import topic_name
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml
from tests.bench.bench_pingpong import round_trips_ms
from tests.bench.common import quick, table, thrash
from tests.support.processes import KAFKA, START, Cluster, answers, new_run, running

SERVICES = ("host", "guest", "guest-2")
RECORD_BYTES = 400
RUN_S = 900.0
SNAPSHOT_S = 5.0
POOR_TARGET = 1.5
RICH_TARGET = 0.7


class Ran(NamedTuple):
    """What a run came to; `log_s` is from its first window to its last."""

    result: dict[str, Any]
    log_s: float

    @property
    def faults(self) -> int:
        """Page requests and joins."""
        return sum(self.result["not_present"].values())

    def share(self, part: str) -> str:
        """Of the wall time of all processes."""
        processes = self.result["cluster"]["processes"].values()
        part_s = sum(process[f"{part}_s"] for process in processes)
        return f"{100 * part_s / sum(process['wall_s'] for process in processes):.0f} %"


def on_cluster(cluster: Cluster, scenario: str, hosts: int, *arguments: str) -> Ran:
    """A run to its end, and gone."""
    run = new_run()
    submitted = cluster.submit(run, scenario, *arguments)
    out, err = submitted.communicate(timeout=RUN_S)
    if submitted.returncode:
        raise RuntimeError(err)
    log_s = asyncio.run(_log_s(run, hosts))
    cluster.run("runs", "delete", run, within_s=RUN_S)
    return Ran(msgspec.json.decode(out), log_s)


async def _log_s(run: str, hosts: int) -> float:
    """From the first close of a window to the last, by the times of the records."""
    settings = KafkaSettings(bootstrap=KAFKA)
    consumer = AIOKafkaConsumer(**settings.options(), **fetch_options(FOLLOW_WAIT_MS))
    places = [TopicPartition(topic_name(run, FAULTS), host) for host in range(hosts)]
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        times_ms: list[int] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=FOLLOW_WAIT_MS)).values():
                times_ms += (record.timestamp for record in records)
        return (max(times_ms) - min(times_ms)) / 1000
    finally:
        await consumer.stop()


def embedded(scenario: Scenario) -> tuple[RunResult, float]:
    """A run in this process, and its wall time from the first window to the last."""
    marks: list[float] = []

    def mark(_sim_ns: int, _windows: int) -> None:
        marks.append(time.perf_counter())
        del marks[1:-1]

    result = run_scenario(scenario, on_progress=mark)
    return result, marks[-1] - marks[0]


def poor(cluster: Cluster, duration: str, times: int, rounds: int) -> None:
    """One VM, a disk.  A row each, and the median ratio last."""
    heads = [
        "natapov-2010",
        "windows",
        "faults each",
        "wall s",
        "bare ms",
        "round trips s",
        "ratio",
    ]
    rows: list[list[object]] = [[*heads, "of 1.5", "waiting", "codec", "simulation"]]
    ratios: list[float] = []
    bare_ms = [mean(asyncio.run(round_trips_ms(RECORD_BYTES, rounds)))]
    for _ in range(times):
        ran = on_cluster(cluster, "natapov-2010", 1, "--set", f"scenario.duration={duration}")
        bare_ms.append(mean(asyncio.run(round_trips_ms(RECORD_BYTES, rounds))))
        beside_ms = mean(bare_ms[-2:])
        windows, wall_s = ran.result["windows"], ran.result["wall_s"]
        bound_s = windows * beside_ms / 1000
        ratios.append(wall_s / bound_s)
        rows.append(
            [
                duration,
                windows,
                f"{ran.faults / windows:.2f}",
                f"{wall_s:.2f}",
                f"{beside_ms:.2f}",
                f"{bound_s:.2f}",
                f"{ratios[-1]:.2f}",
                f"{ratios[-1] / POOR_TARGET:.2f}",
                *(ran.share(part) for part in ("waiting", "codec", "simulation")),
            ]
        )
    middle = median(ratios)
    rows.append(["median", *[""] * 5, f"{middle:.2f}", f"{middle / POOR_TARGET:.2f}", "", "", ""])
    table(rows)


def rich(cluster: Cluster, directory: Path, scenario: Scenario) -> None:
    """Many VMs on many hosts: the embedded engine before and after the cluster."""
    path = directory / "rich.toml"
    path.write_text(effective_toml(scenario))
    alone, before_s = embedded(scenario)
    ran = on_cluster(cluster, str(path), scenario.host.count)
    _, after_s = embedded(scenario)
    assert ran.result["digest"] == alone.digest, "the cluster's digest is not the embedded one"
    alone_rate, rate = 2 * ran.faults / (before_s + after_s), ran.faults / ran.log_s
    cost = ran.result["cluster"]
    heads = ["vCPUs", "windows", "faults each", "records/fault", "bytes/fault", "embedded/s"]
    table(
        [
            [*heads, "cluster/s", "ratio", "of 0.7", "waiting", "codec", "simulation"],
            [
                f"{sum(vm.vcpus * vm.count for vm in scenario.vms):,}",
                alone.windows,
                f"{cost['faults_per_window']:.1f}",
                f"{cost['records_per_fault']:.2f}",
                f"{cost['bytes_per_fault']:.0f}",
                f"{alone_rate:,.0f}",
                f"{rate:,.0f}",
                f"{rate / alone_rate:.2f}",
                f"{rate / alone_rate / RICH_TARGET:.2f}",
                *(ran.share(part) for part in ("waiting", "codec", "simulation")),
            ],
        ]
    )


def journals(cluster: Cluster, path: Path, hosts: int, pairs: int) -> None:
    """What it costs to keep the journal: full and less of it by turns."""
    rows: list[list[object]] = [["journal", "log s", "full, log s", "ratio", "bytes/fault"]]
    for mode in ("faults", "none"):
        for _ in range(pairs):
            full, less = (
                on_cluster(cluster, str(path), hosts, "--journal", each) for each in ("full", mode)
            )
            assert less.result["digest"] == full.result["digest"], "the journal changed the run"
            size = less.result["cluster"]["bytes_per_fault"]
            ratio = f"{less.log_s / full.log_s:.2f}"
            rows.append([mode, f"{less.log_s:.2f}", f"{full.log_s:.2f}", ratio, f"{size:.0f}"])
    table(rows)


def main() -> None:
    """Print the three tables."""
    if not answers(KAFKA):
        print(f"skipped, no Kafka at {KAFKA}: {START}", file=sys.stderr)
        return
    small = quick()
    with TemporaryDirectory() as name:
        directory = Path(name)
        for cluster in running(directory, snapshot_s=SNAPSHOT_S):
            cluster.start(*SERVICES)
            for service in SERVICES:
                cluster.until_said(service, "serving")
            poor(cluster, *(("1s", 1, 100) if small else ("30s", 3, 3_000)))
            vms, hosts = (40, 4) if small else (2_500, 20)
            rich(cluster, directory, thrash(vms, "2ms" if small else "6ms", hosts=hosts))
            path = directory / "rich.toml"
            journals(cluster, path, hosts, 1 if small else 2)


if __name__ == "__main__":
    main()
