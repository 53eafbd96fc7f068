"""Services of two versions in one group, and two of one name.

The other version is this code, which calls itself another.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.cluster.runs import Announced
from pagewake.participants.plan import RUNS_TOPIC, SNAPSHOTS, RunPlan, topic_name
from pagewake.scenario.loading import load
from tests.support.processes import (
    KAFKA,
    Cluster,
    digest_of,
    embedded_digest,
    needs_kafka,
    new_run,
    running,
    set_options,
    until_under_way,
)

pytestmark = [pytest.mark.broker, needs_kafka]
SETS = ["scenario.duration=250ms"]
OTHER = "9.9.9"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "sitecustomize.py").write_text(f"import pagewake\npagewake.__version__ = {OTHER!r}")
    yield from running(tmp_path)


def become(cluster: Cluster, name: str, version: str) -> None:
    """A service in place of the one of that name, of another version or of this one again."""
    path = cluster.env["PYTHONPATH"].split(os.pathsep)
    path = [each for each in path if each != str(cluster.directory)]
    if version == OTHER:
        path = [str(cluster.directory), *path]
    cluster.env["PYTHONPATH"] = os.pathsep.join(path)
    if name in cluster.processes:
        cluster.kill(name, signal.SIGTERM)
    cluster.start(name)


def test_services_are_upgraded_one_by_one_and_rolled_back_under_a_run(cluster: Cluster) -> None:
    """The rules are the same, so the run is executed again from its beginning, and goes on."""
    names = ["host", "guest"]
    cluster.start(*names)
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(SETS))
    until_under_way(run)
    become(cluster, "guest", OTHER)
    until_under_way(run, records=60)
    become(cluster, "host", OTHER)
    until_under_way(run, records=90)
    become(cluster, "guest", "this one")
    assert digest_of(submitted) == embedded_digest("overcommit", *SETS)
    refused = [
        line["what"]
        for line in cluster.said("host")
        if line["event"] == "record not applied" and line["topic"] == topic_name(run, SNAPSHOTS)
    ]
    assert refused, "its predecessor left a snapshot"
    assert [what for what in refused if f"this is {OTHER}" not in what] == []


def test_a_run_of_a_later_version_is_left_alone_listed_and_deleted(cluster: Cluster) -> None:
    run = new_run()
    asyncio.run(_announce_later(run))
    cluster.start("host")
    said = cluster.until_said("host", "record not applied")
    assert said["topic"] == RUNS_TOPIC
    (listed,) = [line for line in cluster.run("runs", "list").stdout.splitlines() if run in line]
    assert "unreadable" in listed
    assert f"version {OTHER}" in listed
    watched = cluster.run("runs", "watch", run)
    assert (watched.returncode, OTHER in watched.stderr) == (2, True)
    assert cluster.run("runs", "delete", run).returncode == 0
    assert run not in cluster.run("runs", "list").stdout
    assert asyncio.run(_topics(run)) == []


async def _announce_later(run: str) -> None:
    plan = RunPlan.of(run, load("row-09-enable"), 1)
    announced = msgspec.structs.replace(
        Announced.of(plan, 0.0), code=OTHER, scenario="[scenario]\nlater = 1\n"
    )
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        await bus.create_topics({RUNS_TOPIC: (1, True), **plan.topics()})
        record = msgspec.json.encode(announced)
        await (await bus.send(RUNS_TOPIC, 0, record, run.encode()))


async def _topics(run: str) -> list[str]:
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        return await bus.topics(f"pagewake.{run}.")


def test_two_services_of_one_name_are_told_of(cluster: Cluster) -> None:
    cluster.start("guest")
    first = cluster.processes["guest"]
    cluster.until_said("guest", "serving")
    cluster.start("guest")
    try:
        said = cluster.until_said("guest", "another instance has this name", within_s=60)
        assert "is called guest too" in said["what"]
        status, text = cluster.get("guest", "/readyz")
        assert (status, said["what"] in text) == (200, True)
    finally:
        first.kill()
        first.wait(30)
