"""What a plan counts is what a run on a real cluster has: partitions, windows, records, bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from pagewake.bus.kafka import KafkaSettings
from pagewake.capacity.need import Need
from pagewake.participants.plan import PREFIX
from tests.support.processes import (
    END_S,
    KAFKA,
    Cluster,
    needs_kafka,
    new_run,
    running,
    set_options,
)

pytestmark = [pytest.mark.broker, needs_kafka]
SMALL = set_options(["scenario.duration=60ms", "host.count=2"])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path)


def partitions_of(run: str) -> dict[str, int]:
    """Of the topics that there are, by the broker."""
    return asyncio.run(_partitions_of(f"{PREFIX}.{run}."))


async def _partitions_of(prefix: str) -> dict[str, int]:
    admin = AIOKafkaAdminClient(**KafkaSettings(bootstrap=KAFKA).options())
    await admin.start()
    try:
        mine = [name for name in await admin.list_topics() if name.startswith(prefix)]
        described = await admin.describe_topics(mine)
    finally:
        await admin.close()
    return {each["topic"].removeprefix(prefix): len(each["partitions"]) for each in described}


@pytest.mark.parametrize("journal", ["full", "none"])
def test_a_run_is_what_its_plan_says(cluster: Cluster, journal: str) -> None:
    cluster.start("host", "guest")
    run = new_run()
    asked = ["overcommit", *SMALL, "--shards", "2", "--journal", journal, "--name", run, "--json"]
    planned = cluster.run("plan", *asked, within_s=END_S)
    assert planned.returncode == 0, planned.stderr
    need = msgspec.json.decode(planned.stdout, type=Need)
    submitted = cluster.run("submit", *asked, "--wait", within_s=END_S)
    assert submitted.returncode == 0, submitted.stderr
    ran = msgspec.json.decode(submitted.stdout)
    told = ran["cluster"]
    assert need.basis.exact
    assert (need.windows, need.records, need.bytes) == (
        told["windows"],
        told["records"],
        told["bytes"],
    )
    assert need.events == ran["events"]
    assert need.shards == ran["shards"]
    assert {topic.topic: topic.partitions for topic in need.topics} == partitions_of(run)
    cluster.run("runs", "delete", run)
