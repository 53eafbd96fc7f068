"""What a run stands on fails: brokers, clocks, other people's records, absent services.

In the end the digest is always that of the embedded run; on the way everybody says what it waits
for.  Tests that kill a broker have one of their own.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pagewake.bus.kafka import KafkaBus, KafkaSettings, TopicSpec
from pagewake.cluster.runs import Announced, HostEnded
from pagewake.participants import snapshots
from pagewake.participants.build import host_participant
from pagewake.participants.plan import RUNS_TOPIC, RunPlan, topic_name
from pagewake.scenario.loading import load
from pagewake.verify.verify import verify_log
from tests.support.control import ask, tell, until_status
from tests.support.poison import KEYS, NO_TEXT, poison
from tests.support.processes import (
    KAFKA,
    MQTT,
    Brokers,
    Cluster,
    after,
    digest_of,
    embedded_digest,
    needs_kafka,
    needs_mqtt,
    needs_own_brokers,
    needs_own_mosquitto,
    new_run,
    running,
    set_options,
    until,
    until_under_way,
)

pytestmark = pytest.mark.broker
SHORT = ["scenario.duration=150ms"]
SHARDED = ["scenario.duration=300ms"]
OVERCOMMIT = ["scenario.duration=1500ms"]
LONGER = ["scenario.duration=3s"]
FIRST_VM = load("overcommit").instances()[0].name


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path, mqtt=MQTT)


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    own = Brokers(tmp_path_factory.mktemp("brokers"))
    try:
        own.up()
        yield own
    finally:
        own.down()


@pytest.fixture
def on_own_brokers(brokers: Brokers, tmp_path: Path) -> Iterator[Cluster]:
    brokers.up()
    yield from running(tmp_path, kafka=brokers.kafka, mqtt=brokers.mqtt)


# ---------------------------------------------------------------------------------------- brokers


@needs_own_brokers
def test_kafka_dies_and_comes_back_with_its_data(brokers: Brokers, on_own_brokers: Cluster) -> None:
    cluster = on_own_brokers
    names = ["host", "guest"]
    cluster.start(*names)
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT))
    until_under_way(run, kafka=brokers.kafka)
    brokers.kill("kafka")
    for name in names:
        assert cluster.until_said(name, "kafka is not answering")["kafka"] == brokers.kafka
        until(lambda: cluster.get(name, "/readyz")[0] == 503, f"{name} is not ready")  # noqa: B023
        assert f"kafka at {brokers.kafka} has not answered" in cluster.get(name, "/readyz")[1]
        assert cluster.metric(name, "pagewake_kafka_silent_seconds") > 0
        assert cluster.get(name, "/healthz")[0] == 200, "waiting is no reason to be restarted"
    assert submitted.poll() is None
    brokers.up()
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)
    for name in names:
        cluster.until_said(name, "kafka answers again")
        until(lambda: cluster.get(name, "/readyz")[0] == 200, f"{name} is ready")  # noqa: B023


@needs_own_brokers
@needs_own_mosquitto
def test_a_run_goes_on_without_mosquitto_and_is_commanded_again_after_it(
    brokers: Brokers, on_own_brokers: Cluster
) -> None:
    cluster = on_own_brokers
    cluster.start("host", "guest")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(LONGER))
    until_under_way(run, kafka=brokers.kafka)
    until_status(run, "host/host", "running", mqtt=brokers.mqtt)
    brokers.kill("mosquitto")
    cluster.until_said("host", "mqtt is not answering")
    under_way = asyncio.run(_ends(brokers.kafka, run, "faults"))
    until_under_way(run, records=under_way + 30, kafka=brokers.kafka)
    brokers.up()
    until_status(run, "host/host", "running", mqtt=brokers.mqtt)
    replies = ask(run, {"id": "a", "do": "pause"}, mqtt=brokers.mqtt)
    assert [reply["ok"] for reply in replies] == [True]
    until_status(run, "host/host", "paused", mqtt=brokers.mqtt)
    ask(run, {"id": "b", "do": "resume"}, mqtt=brokers.mqtt)
    assert digest_of(submitted) == embedded_digest("overcommit", *LONGER)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    own = Brokers(tmp_path_factory.mktemp("three"), BROKERS="3")
    try:
        own.up()
        yield own
    finally:
        own.down()


@pytest.fixture
def on_three(three: Brokers, tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path, kafka=three.kafka, mqtt=three.mqtt)


@needs_own_brokers
def test_one_of_three_brokers_is_lost_for_good(
    three: Brokers, on_three: Cluster, tmp_path: Path
) -> None:
    """Runs under way and new ones end; every command does what it does, or says 69 and why."""
    cluster = on_three
    cluster.start("host", "guest")
    run, after_it = new_run(), new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT))
    until_under_way(run, kafka=three.kafka)
    until(lambda: f"run {run}: 3 copies, 3 in sync" in cluster.get("host", "/readyz")[1], "copies")
    three.kill("kafka-1")
    next_one = cluster.submit(after_it, "overcommit", *set_options(SHORT))
    while True:
        listed = cluster.run("runs", "list", "--json")
        assert listed.returncode in (0, 69), listed.stderr
        rows = {row["run"]: row for row in msgspec.json.decode(listed.stdout or "[]")}
        if rows.get(run, {}).get("in_sync") == 2:
            break
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)
    assert digest_of(next_one) == embedded_digest("overcommit", *SHORT)
    exported = cluster.run("export", run, "-o", str(tmp_path / "log"))
    assert exported.stdout.strip() == embedded_digest("overcommit", *OVERCOMMIT), exported.stderr
    assert cluster.run("runs", "watch", after_it).returncode == 0
    assert cluster.run("runs", "delete", after_it).returncode == 0
    for name in ("host", "guest"):
        until(lambda: cluster.get(name, "/readyz")[0] == 200, f"{name} is ready")  # noqa: B023
        assert cluster.processes[name].poll() is None


@pytest.mark.soak
@needs_own_brokers
def test_without_enough_copies_commands_say_so_in_time(three: Brokers, on_three: Cluster) -> None:
    """The last of three brokers may not write alone, and says nothing of a defect."""
    cluster = on_three
    three.up()
    for broker in three.kafkas[:2]:
        three.kill(broker)
    answered = cluster.run("submit", "row-09-enable", "--name", new_run(), within_s=240)
    three.up()
    assert answered.returncode == 69, answered.stderr
    assert "Kafka at" in answered.stderr
    assert "defect" not in answered.stderr


async def _ends(kafka: str, run: str, topic: str) -> int:
    async with KafkaBus(KafkaSettings(bootstrap=kafka)) as bus:
        return await bus.end_offset(topic_name(run, topic), 0)


@needs_kafka
@needs_mqtt
def test_the_status_of_a_killed_service_is_lost_until_it_is_back(cluster: Cluster) -> None:
    cluster.start("host", "guest")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT))
    until_status(run, "guest/guest", "running")
    cluster.kill("guest")
    assert until_status(run, "guest/guest", "lost", "left", "ended") == "lost"
    cluster.start("guest")
    assert until_status(run, "guest/guest", "running", "ended")
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)


# ---------------------------------------------------------------------------------------- refusals


async def _configure(name: str, **settings: object) -> None:
    """Set a topic's configuration: as it was created, but for these."""
    created = TopicSpec(1).new(name).topic_configs
    changed = {key.replace("_", "."): str(value) for key, value in settings.items()}
    admin = AIOKafkaAdminClient(bootstrap_servers=KAFKA)
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, name, created | changed)
        await admin.alter_configs([resource])
    finally:
        await admin.close()


@needs_kafka
@pytest.mark.parametrize(("topic", "refused"), [("faults", "guest"), ("apf.guest", "host")])
def test_what_kafka_refuses_is_named_and_tried_again(
    cluster: Cluster, topic: str, refused: str
) -> None:
    cluster.start("host", "guest")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT))
    until_under_way(run)
    name = topic_name(run, topic)
    asyncio.run(_configure(name, max_message_bytes=100))
    error = cluster.until_said(refused, "output was lost")["error"]
    assert name in error
    assert "MessageSizeTooLarge" in error
    after(2.0)
    assert submitted.poll() is None
    assert len(cluster.said(refused)) < 100, "a refusal is no reason to flood the log"
    asyncio.run(_configure(name))
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)


# ---------------------------------------------------------------------------------------- clocks

JUMPING = """
import random, time
_time = time.time
_ahead = [0.0]
def _jumping():
    if random.random() < 0.05:
        _ahead[0] = random.choice([-86400.0, -3.0, 0.0, 3.0, 86400.0])
    return _time() + _ahead[0]
time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
"""


@needs_kafka
def test_wall_clocks_that_jump_by_days_change_nothing(cluster: Cluster, tmp_path: Path) -> None:
    patch = tmp_path / "clock"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(JUMPING)
    cluster.env["PYTHONPATH"] = os.pathsep.join([str(patch), cluster.env["PYTHONPATH"]])
    cluster.start("host", "guest", "guest-2")
    run = new_run()
    digest = digest_of(cluster.submit(run, "overcommit", *set_options(SHORT), "--shards", "2"))
    assert digest == embedded_digest("overcommit", *SHORT)
    for name in ("host", "guest", "guest-2"):
        said = {line["event"] for line in cluster.said(name)}
        assert not said & {"output was lost, starting over from the snapshots", "run stopped"}
    log = tmp_path / "log"
    assert cluster.run("export", run, "-o", str(log)).stdout.strip() == digest
    assert verify_log(log).problems == []


# ---------------------------------------------------------------------------------------- records

RUBBISH = [b"", b"\xff\x00", b"{}", b"[]", b"null", b'{"do": "stop"}', b"x" * 1_040_000]


@needs_kafka
def test_rubbish_on_every_topic_is_counted_named_once_and_never_applied(cluster: Cluster) -> None:
    cluster.start("host", "guest")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT))
    until_under_way(run)
    plan = RunPlan.of(run, load("overcommit", OVERCOMMIT), 1)
    asyncio.run(_throw(plan))
    cluster.kill("host")
    cluster.start("host")  # reads all that is there again
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)
    for name, topics in {"guest": ["apf.guest"], "host": ["faults", "snapshots"]}.items():
        assert cluster.metric(name, "pagewake_bus_rejected_records_total") >= 3
        complaints = [line for line in cluster.said(name) if line["event"] == "record not applied"]
        kinds = [(line["topic"], line["partition"], line["why"]) for line in complaints]
        assert len(kinds) == len(set(kinds))
        named = {topic for topic, _, _ in kinds}
        assert {RUNS_TOPIC, *(topic_name(run, topic) for topic in topics)} <= named
    assert cluster.processes["guest"].poll() is None


async def _throw(plan: RunPlan) -> None:
    """Anything that a broker takes, to every partition of a run and to the runs' own topic."""
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, max_request_size=2_000_000)
    await producer.start()
    try:
        for name, (partitions, compacted) in plan.topics().items():
            for partition in range(partitions):
                keys = KEYS if compacted else (None, b"k" * 20_000)
                values = [*RUBBISH, *poison(plan.run).values()]
                for number, value in enumerate(values):
                    key = keys[number % len(keys)]
                    if compacted and value is None:
                        continue  # takes back what stands there, which is no harm
                    await producer.send_and_wait(name, value, key, partition)
        for partition in range(2):
            for key, value in _forged(plan, partition):
                name = topic_name(plan.run, "snapshots")
                await producer.send_and_wait(name, value, key, partition)
        for value in [*RUBBISH[1:], poison(plan.run)["nested deep"], NO_TEXT]:
            for key in (b"\xff", b"no-such-run", b"no-such-run/state", b"/", b"a/host-x"):
                await producer.send_and_wait(RUNS_TOPIC, value, key, 0)
        for run, what in _foreign(plan):
            await producer.send_and_wait(RUNS_TOPIC, msgspec.json.encode(what), run.encode(), 0)
        for key in (b"\xff", b"no-such-run", b"no-such-run/state", b"/", b"a/host-x", b"another"):
            await producer.send_and_wait(RUNS_TOPIC, None, key, 0)
    finally:
        await producer.stop()


def _forged(plan: RunPlan, partition: int) -> list[tuple[bytes, bytes]]:
    """Snapshots as they should be, of everybody's future, with a state that is none."""
    source = "host-0" if partition == 0 else plan.topology.shards[0].source
    taken = snapshots.take(host_participant(plan, 0), 7, 1 << 40)
    content = snapshots.pack({"tally": [], "inbox": 7})
    manifest = msgspec.structs.replace(
        taken.manifest,
        source=source,
        parts=1,
        size=len(content),
        checksum=snapshots._checksum(content),
    )
    return snapshots.records_of(snapshots.Snapshot(manifest, content))


def _foreign(plan: RunPlan) -> list[tuple[str, Any]]:
    """Well-made records that are not true."""
    return [
        ("another", Announced.of(plan, 0.0)),
        (f"{plan.run}/host-7", HostEnded(1, 1)),
        (f"{plan.run}/host--1", HostEnded(1, 1)),
    ]


# ---------------------------------------------------------------------------------------- services


@needs_kafka
@needs_mqtt
@pytest.mark.slow
def test_a_command_reaches_a_zombie_and_its_successor(cluster: Cluster, tmp_path: Path) -> None:
    """Both append it, and both answer the same; in the log it counts once."""
    zombie, successor = "host", "host-2"
    cluster.start(zombie, "guest")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(LONGER))
    until_under_way(run)
    until_status(run, f"host/{zombie}", "running")
    cluster.kill(zombie, signal.SIGSTOP)
    tell(run, {"id": "early", "do": "migrate", "vm": FIRST_VM, "pause": "1ms"})
    cluster.start(successor)
    until(lambda: _owns(cluster, successor, run), f"{successor} takes over")
    until_status(run, f"host/{successor}", "running")
    replies = ask(run, {"id": "pause", "do": "pause"}, _migrate("late"))
    cluster.kill(zombie, signal.SIGCONT)
    after(3.0)
    replies += ask(run, _migrate("late"), {"id": "resume", "do": "resume"})
    digest = digest_of(submitted)
    late = [reply for reply in replies if reply["id"] == "late"]
    assert len(late) >= 2
    assert all(reply == late[0] for reply in late)
    log = tmp_path / "log"
    exported = cluster.run("export", run, "-o", str(log))
    assert exported.stdout.strip() == digest, exported.stderr
    assert verify_log(log).problems == []
    assert cluster.run("replay", str(log)).returncode == 0


def _migrate(order_id: str) -> dict[str, object]:
    return {"id": order_id, "do": "migrate", "vm": FIRST_VM, "pause": "1ms"}


def _owns(cluster: Cluster, name: str, run: str) -> bool:
    said = [line for line in cluster.said(name) if line["event"] == "owned"]
    return any(line["run"] == run for line in said)


@needs_kafka
def test_submit_says_whose_service_is_missing_and_goes_on_when_it_comes(cluster: Cluster) -> None:
    cluster.start("host")
    run = new_run()
    errors = cluster.directory / "submit.txt"
    with errors.open("wb") as stderr:
        submitted = cluster.submit(run, "overcommit", *set_options(OVERCOMMIT), stderr=stderr)
    (shard,) = RunPlan.of(run, load("overcommit"), 1).topology.shards
    until(lambda: shard.source in errors.read_text(), f"submit says that {shard.source} is missing")
    assert "guest" in errors.read_text()
    cluster.start("guest")
    assert digest_of(submitted) == embedded_digest("overcommit", *OVERCOMMIT)


@needs_kafka
def test_submit_says_that_there_is_no_host_service(cluster: Cluster) -> None:
    cluster.start("guest")
    run = new_run()
    errors = cluster.directory / "submit.txt"
    with errors.open("wb") as stderr:
        submitted = cluster.submit(run, "row-09-enable", stderr=stderr)
    until(lambda: "host-0" in errors.read_text(), "submit says that host-0 is missing")
    cluster.start("host")
    assert digest_of(submitted) == embedded_digest("row-09-enable")


@needs_kafka
def test_a_service_that_is_restarted_has_its_shards_back_at_once(cluster: Cluster) -> None:
    """It need not wait until the group has noticed that the one before it is dead."""
    cluster.start("host", "guest", "guest-2")
    run = new_run()
    submitted = cluster.submit(run, "overcommit", *set_options(SHARDED), "--shards", "2")
    until_under_way(run)
    for name in ("guest-2", "host"):
        cluster.kill(name)
        cluster.start(name)
        assert until(lambda: _owns(cluster, name, run), f"{name} is back") < 8.0  # noqa: B023
    assert digest_of(submitted) == embedded_digest("overcommit", *SHARDED)
