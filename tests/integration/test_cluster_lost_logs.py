"""A log that is not what it was: the run is stopped and says why, and other runs go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.participants.plan import RunPlan, topic_name
from pagewake.scenario.loading import load
from tests.support.processes import (
    KAFKA,
    Cluster,
    after,
    digest_of,
    embedded_digest,
    needs_kafka,
    new_run,
    running,
    set_options,
    until,
    until_under_way,
)

pytestmark = [pytest.mark.broker, needs_kafka]
LONG = ["scenario.duration=60s"]
SHORT = ["scenario.duration=60ms"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path)


@asynccontextmanager
async def admin() -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=KAFKA)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def deleted(name: str) -> None:
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        await bus.delete_topics([name])


async def created_anew(name: str) -> None:
    run = name.split(".")[1]
    plan = RunPlan.of(run, load("overcommit", LONG), 1)
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        await bus.delete_topics([name])
        while await bus.partitions([name]):  # noqa: ASYNC110 - nothing of it is an event
            await asyncio.sleep(0.05)
        await bus.create_topics({name: plan.topics()[name]})


async def shortened(name: str) -> None:
    async with admin() as client:
        await client.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=5)})


@pytest.mark.parametrize(
    ("harm", "topic", "said"),
    [
        (deleted, "apf.guest", "is gone"),
        (created_anew, "faults", "created again"),
        (shortened, "journal", "begins at offset 5"),
    ],
)
def test_a_run_whose_log_is_harmed_is_stopped_and_others_go_on(
    cluster: Cluster, tmp_path: Path, harm: object, topic: str, said: str
) -> None:
    cluster.start("host", "guest")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(LONG))
    until_under_way(run)
    name = topic_name(run, topic)
    asyncio.run(harm(name))  # type: ignore[operator]
    other = cluster.submit(new_run(), "overcommit", *set_options(SHORT))
    _, err = submitted.communicate(timeout=60)
    assert submitted.returncode == 1, err
    assert name in err
    assert said in err
    assert digest_of(other) == embedded_digest("overcommit", *SHORT)
    (listed,) = [line for line in cluster.run("runs", "list").stdout.splitlines() if run in line]
    assert "stopped" in listed
    assert said in listed
    watched = cluster.run("runs", "watch", run)
    assert (watched.returncode, said in watched.stderr) == (1, True)
    for service in ("host", "guest"):
        until(lambda: said in cluster.get(service, "/readyz")[1], f"{service} tells of it")  # noqa: B023
        assert cluster.get(service, "/readyz")[0] == 200, "other runs go on"
        assert cluster.metric(service, f'pagewake_run_broken_off{{run="{run}"}}') == 1
    stops = [line for service in ("host", "guest") for line in cluster.said(service)]
    assert any(line["event"] == "run stopped" and name in line["why"] for line in stops)


def test_a_log_that_was_emptied_while_nobody_looked_is_not_taken_over(cluster: Cluster) -> None:
    cluster.start("host", "guest")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(LONG))
    until_under_way(run)
    for service in ("host", "guest"):
        cluster.kill(service)
    asyncio.run(created_anew(topic_name(run, "faults")))
    cluster.start("host", "guest")
    _, err = submitted.communicate(timeout=60)
    assert submitted.returncode == 1, err
    assert "created again" in err
    after(1.0)
    assert asyncio.run(_end(topic_name(run, "faults"))) == 0, "nothing was written to another log"


async def _end(name: str) -> int:
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        return await bus.end_offset(name, 0)
