"""`pagewake load` at tiny sizes: in one process, and against a cluster that it leaves as it was."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pagewake.load.measured import LoadResult
from tests.support.processes import MQTT, Cluster, needs_kafka, needs_mqtt, running, until
from tests.unit.cli.support import invoke

DURATION_S = 4


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path, mqtt=MQTT, snapshot_s=5.0)


def check(found: LoadResult) -> None:
    """What must hold of any measurement."""
    assert [size.vcpus for size in found.sizes] == [8, 32]
    for size in found.sizes:
        assert size.faults_per_s > 0
        assert size.events_per_s > size.faults_per_s
        assert size.faults_per_window > 0
        assert size.simulated_per_wall > 0
        assert size.window.p50_s <= size.window.p99_s <= size.window.p999_s <= size.window.max_s
        assert size.cpu_s_per_million_faults is not None
        assert size.cpu_s_per_million_faults > 0
        assert size.memory_bytes_per_vcpu is not None


def loads_of(cluster: Cluster) -> list[str]:
    listed = msgspec.json.decode(cluster.run("runs", "list", "--json").stdout)
    return [row["run"] for row in listed if row["run"].startswith("load-")]


def test_two_sizes_in_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "load", "--embedded", "--vcpus", "32,8", "--duration", "1s", "--json")
    assert outcome.code == 0, outcome.err
    found = msgspec.json.decode(outcome.out, type=LoadResult)
    check(found)
    assert all(size.wall_s == pytest.approx(1.0, abs=0.5) for size in found.sizes)
    assert all(size.kafka_bytes_per_fault is None for size in found.sizes)


@pytest.mark.broker
@needs_kafka
@needs_mqtt
def test_two_sizes_on_a_cluster(cluster: Cluster) -> None:
    cluster.start("host", "guest")
    before = loads_of(cluster)
    duration = f"{DURATION_S}s"
    done = cluster.run("load", "--vcpus", "8,32", "--duration", duration, "--json", within_s=180)
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode(done.stdout, type=LoadResult)
    check(found)
    for size in found.sizes:
        assert size.wall_s >= DURATION_S
        assert size.kafka_bytes_per_fault is not None
        assert {cost.service for cost in size.services} == {"host host", "guest guest"}
    assert loads_of(cluster) == before


@pytest.mark.broker
@needs_kafka
@needs_mqtt
def test_ctrl_c_leaves_no_run_behind(cluster: Cluster) -> None:
    cluster.start("host", "guest")
    before = loads_of(cluster)
    command = cluster.command("load", "--vcpus", "8", "--duration", "10m", "--json")
    until(lambda: len(loads_of(cluster)) > len(before), "the run is there", 60)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 130, err
    assert msgspec.json.decode(out, type=LoadResult).interrupted
    assert "interrupted: 0 of 1 size measured" in err
    assert loads_of(cluster) == before
