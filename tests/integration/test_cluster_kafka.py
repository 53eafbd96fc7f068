"""The cluster on real Kafka: whatever dies on the way, the digest is that of the embedded run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec
import pytest

from pagewake.bus.kafka import KafkaBus, KafkaError, KafkaSettings
from pagewake.events.codec import decode_commit, encode_commit, head_of
from pagewake.participants.plan import topic_name
from pagewake.verify.verify import verify_log
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
    until_under_way,
)

pytestmark = [pytest.mark.broker, needs_kafka]
OVERCOMMIT = ["scenario.duration=250ms"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path)


@pytest.mark.parametrize(
    ("scenario", "sets", "shards"),
    [
        ("natapov-2010", ["scenario.duration=2s"], "1"),
        ("nested", ["scenario.duration=100ms", "vm.0.count=2"], "2"),
        ("overcommit", ["scenario.duration=60ms", "host.count=2"], "3"),
    ],
)
def test_the_digest_is_the_embedded_one_and_the_exported_log_verifies(
    cluster: Cluster, tmp_path: Path, scenario: str, sets: list[str], shards: str
) -> None:
    cluster.start("host", "guest", "guest-2", "nested")
    run = new_run()
    digest = digest_of(cluster.submit(run, scenario, *set_options(sets), "--shards", shards))
    assert digest == embedded_digest(scenario, *sets)
    exported = cluster.run("export", run, "-o", str(tmp_path / "log"))
    assert exported.stdout.strip() == digest, exported.stderr
    report = verify_log(tmp_path / "log")
    assert (report.problems, report.digest) == ([], digest)
    assert cluster.run("replay", str(tmp_path / "log")).returncode == 0


@pytest.mark.parametrize("mode", ["faults", "none"])
def test_a_run_that_keeps_less_of_its_journal_is_the_same_run(
    cluster: Cluster, tmp_path: Path, mode: str
) -> None:
    cluster.start("host", "guest")
    run = new_run()
    arguments = ("overcommit", "--set", "scenario.duration=60ms", "--journal", mode)
    digest = digest_of(cluster.submit(run, *arguments))
    assert digest == embedded_digest("overcommit", "scenario.duration=60ms")
    (listed,) = [line for line in cluster.run("runs", "list").stdout.splitlines() if run in line]
    assert f"journal {mode}" in listed
    refused = cluster.run("export", run, "-o", str(tmp_path / "log"))
    assert refused.returncode == 2
    assert f"--journal {mode}" in refused.stderr
    assert not (tmp_path / "log").exists()


def test_two_runs_at_once(cluster: Cluster) -> None:
    cluster.start("host", "guest", "nested")
    first = cluster.submit(new_run(), "overcommit", "--set", "scenario.duration=60ms")
    second = cluster.submit(new_run(), "nested", "--set", "scenario.duration=60ms")
    assert digest_of(first) == embedded_digest("overcommit", "scenario.duration=60ms")
    assert digest_of(second) == embedded_digest("nested", "scenario.duration=60ms")


# The soak kills a hundred times more; one seed says here whether it works at all.
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_services_killed_at_random_moments(cluster: Cluster, seed: int) -> None:
    draws = Random(seed)
    names = ["host", "guest", "guest-2"]
    cluster.start(*names)
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT), "--shards", "3")
    until_under_way(run)
    for _ in range(4):
        after(draws.uniform(0.1, 1.0))
        victim = draws.choice(names)
        cluster.kill(victim)
        cluster.start(victim)
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)


def test_all_services_killed_at_once(cluster: Cluster) -> None:
    names = ["host", "guest"]
    cluster.start(*names)
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT))
    until_under_way(run)
    for name in names:
        cluster.kill(name)
    after(0.5)
    cluster.start(*names)
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)


def test_instances_that_join_and_leave_in_mid_run(cluster: Cluster) -> None:
    cluster.start("host", "guest")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT), "--shards", "4")
    until_under_way(run)
    cluster.start("guest-2")
    after(4.0)
    cluster.kill("guest-2", signal.SIGTERM)
    assert cluster.processes["guest-2"].returncode == 0
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)


@pytest.mark.slow
def test_a_service_thought_dead_comes_back(cluster: Cluster) -> None:
    """Stopped for longer than the session timeout, it goes on as a zombie of its partitions."""
    cluster.start("host", "guest", "guest-2")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT), "--shards", "4")
    until_under_way(run)
    cluster.kill("guest-2", signal.SIGSTOP)
    after(14.0)
    cluster.kill("guest-2", signal.SIGCONT)
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)


def test_rubbish_foreign_records_and_duplicates_on_every_topic_change_nothing(
    cluster: Cluster,
) -> None:
    run = new_run()
    cluster.start("host", "guest")
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT), "--shards", "2")
    until_under_way(run)
    asyncio.run(_throw_rubbish(run))
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)


async def _records(bus: KafkaBus, name: str, partition: int) -> list[bytes]:
    """What stands in a partition, once something does."""
    async with asyncio.timeout(30):
        while True:
            with suppress(KafkaError):
                stood = [stored.value or b"" async for stored in bus.read(name, partition)]
                if stood:
                    return stood
            await asyncio.sleep(0.2)


async def _throw_rubbish(run: str) -> None:
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        places = [("faults", 0), ("apf.guest", 0), ("apf.guest", 1), ("journal", 0)]
        for topic, partition in places:
            name = topic_name(run, topic)
            stood = await _records(bus, name, partition)
            for value in [b"", b"\xff\x00", b"{}", b"x" * 500_000, *stood[:3], *stood[-3:]]:
                await bus.send(name, partition, value)
            foreign = msgspec.json.decode(stood[0]) | {"run": "another"}
            await (await bus.send(name, partition, msgspec.json.encode(foreign)))


def test_a_gap_stops_the_run_and_says_where(cluster: Cluster) -> None:
    run = new_run()
    cluster.start("host", "guest")
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT))
    until_under_way(run)
    asyncio.run(_skip_ahead(run))
    _, err = submitted.communicate(timeout=60)
    assert submitted.returncode == 1
    assert "apf.guest-0" in err
    assert "gap" in err


async def _skip_ahead(run: str) -> None:
    """A commit of the host that is well made and comes a thousand too early."""
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        name = topic_name(run, "apf.guest")
        stood = [stored.value or b"" async for stored in bus.read(name, 0)]
        last = decode_commit(stood[-1])
        head = head_of(run, last.source)
        (ahead,) = encode_commit(head, last.code, last.seq + 1_000, last.window + 1_000, [])
        await (await bus.send(name, 0, ahead.record))


def test_a_name_that_is_taken_is_refused(cluster: Cluster) -> None:
    run = new_run()
    assert cluster.run("submit", "row-09-enable", "--name", run).returncode == 0
    again = cluster.run("submit", "row-09-enable", "--name", run)
    assert again.returncode == 2
    assert run in again.stderr
    assert cluster.run("runs", "delete", run).returncode == 0
    assert run not in cluster.run("runs", "list").stdout


def test_without_a_broker_commands_give_up_with_69(cluster: Cluster) -> None:
    cluster.env |= {"PAGEWAKE_KAFKA": "127.0.0.1:1", "PAGEWAKE_KAFKA_WAIT": "1"}
    for command in (["submit", "row-09-enable"], ["runs", "list"], ["serve", "guest"]):
        gave_up = cluster.run(*command)
        assert gave_up.returncode == 69, gave_up.stderr
        assert "no Kafka at 127.0.0.1:1" in gave_up.stderr
