"""Many runs on one cluster: one after the other they leave its memory as it was, and at once they
all end as they should.

`MANY_RUNS` is how many (20; `make soak` takes 100).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.cluster import client
from pagewake.cluster.clock import SystemClock
from pagewake.engine.run import run_scenario
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from tests.support.processes import KAFKA, Cluster, after, needs_kafka, new_run, running

pytestmark = [pytest.mark.broker, pytest.mark.soak, needs_kafka]
RUNS = int(os.environ.get("MANY_RUNS", "20"))
KEPT_S = 1.0
"""Instead of five minutes, in which the memory of runs that have ended is used."""
WARM = 10
"""Runs until all code is loaded and the allocator has what it needs."""
GROWN_MIB = 10.0
"""Chosen: less than half of what ten runs took that were never given back."""
PEAK_MIB = 500.0
"""Of a service with a hundred small runs at once, of which each takes some MiB."""
SMALL = load("overcommit", ["scenario.duration=20ms"])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    patch = f"import pagewake.cluster.runs as runs\nruns.SERIES_KEPT_S = {KEPT_S}\n"
    (tmp_path / "sitecustomize.py").write_text(patch)
    for cluster in running(tmp_path):
        cluster.env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), cluster.env["PYTHONPATH"]])
        yield cluster


def memory_mib(cluster: Cluster) -> dict[str, float]:
    """Resident, of each service."""
    return {
        name: cluster.metric(name, "process_resident_memory_bytes") / 2**20
        for name in cluster.processes
    }


def peak_mib(cluster: Cluster) -> dict[str, float]:
    """The most that was ever resident of each service."""
    peaks = {}
    for name, process in cluster.processes.items():
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        peaks[name] = int(peak) / 1024
    return peaks


async def one_after_the_other(bus: KafkaBus, count: int) -> None:
    clock = SystemClock()
    for _ in range(count):
        plan = RunPlan.of(new_run(), SMALL, 1)
        await client.announce(bus, plan, clock.wall_s())
        await client.wait_until_ended(bus, plan.run, clock)
        await client.delete(bus, plan.run, clock)


def test_runs_leave_the_memory_of_services_as_it_was(cluster: Cluster) -> None:
    cluster.start("host", "guest")

    async def work(count: int) -> None:
        async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
            await one_after_the_other(bus, count)

    asyncio.run(work(WARM))
    after(4 * KEPT_S)
    before = memory_mib(cluster)
    asyncio.run(work(RUNS - WARM))
    after(4 * KEPT_S)
    grown = {name: mib - before[name] for name, mib in memory_mib(cluster).items()}
    assert all(mib < GROWN_MIB for mib in grown.values()), (before, grown)


async def at_once(count: int) -> list[str]:
    """The digests of so many runs that are announced before the first has ended."""
    clock = SystemClock()
    plans = [RunPlan.of(new_run(), SMALL, 1) for _ in range(count)]
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        for plan in plans:
            await client.announce(bus, plan, clock.wall_s())
        digests = []
        for plan in plans:
            entry = await client.wait_until_ended(bus, plan.run, clock)
            digests.append((await client.read_result(bus, entry, 0.0)).digest)
        for plan in plans:
            await client.delete(bus, plan.run, clock)
    return digests


def test_many_runs_at_once_end_as_they_should(cluster: Cluster) -> None:
    cluster.start("host", "guest", "guest-2")
    digests = asyncio.run(at_once(RUNS))
    assert set(digests) == {run_scenario(SMALL).digest}
    assert len(digests) == RUNS
    peaks = peak_mib(cluster)
    assert all(mib < PEAK_MIB for mib in peaks.values()), peaks
