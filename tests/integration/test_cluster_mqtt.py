"""Commands over MQTT change a running run, are answered, and stand in its log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import msgspec
import pytest

from pagewake.scenario.loading import load
from pagewake.verify.verify import verify_log
from tests.support.control import until_status
from tests.support.processes import (
    MQTT,
    Cluster,
    digest_of,
    embedded_digest,
    needs_kafka,
    needs_mqtt,
    new_run,
    running,
    until_under_way,
)
from tests.support.schemas import payload_accepts

pytestmark = [pytest.mark.broker, needs_kafka, needs_mqtt]
DURATION = "scenario.duration=3s"
REPLY_S = 30.0
FIRST_VM = load("overcommit").instances()[0].name


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path, mqtt=MQTT)


async def _ask(run: str, commands: list[dict[str, object]]) -> list[dict[str, Any]]:
    """Send commands one after the other; the reply to each."""
    address = urlsplit(MQTT)
    replies: list[dict[str, Any]] = []
    async with aiomqtt.Client(address.hostname or "", address.port or 1883) as client:
        await client.subscribe(f"pagewake/v1/{run}/host/+/status", qos=1)
        async for _ in client.messages:
            break  # the host has a connection for this run
        await client.subscribe(f"pagewake/v1/{run}/command/reply", qos=1)
        for command in commands:
            await client.publish(f"pagewake/v1/{run}/command", msgspec.json.encode(command), qos=1)
            async for message in client.messages:
                if not message.topic.matches("pagewake/v1/+/command/reply"):
                    continue
                reply = msgspec.json.decode(bytes(message.payload))
                if reply["id"] == command["id"]:
                    replies.append(reply)
                    break
    return replies


def ask(run: str, *commands: dict[str, object]) -> list[dict[str, Any]]:
    return asyncio.run(asyncio.wait_for(_ask(run, list(commands)), REPLY_S))


def test_an_interactive_run_replays_to_its_digest(cluster: Cluster, tmp_path: Path) -> None:
    run = new_run()
    cluster.start("host", "guest")
    submitted = cluster.submit(run, "overcommit", "--set", DURATION)
    until_under_way(run)
    replies = ask(
        run,
        {"id": "a", "do": "pause"},
        {"id": "b", "do": "vcpu-offline", "vm": FIRST_VM, "vcpu": 9},
        {"id": "c", "do": "nonsense"},
        {"id": "d", "do": "migrate", "vm": FIRST_VM, "pause": "1ms"},
        {"id": "e", "do": "resume"},
    )
    assert [reply["ok"] for reply in replies] == [True, False, False, True, True]
    assert all(reply["error"] for reply in replies if not reply["ok"])
    assert all(payload_accepts("Answer", reply) for reply in replies)
    digest = digest_of(submitted)
    assert digest != embedded_digest("overcommit", DURATION)
    log = tmp_path / "log"
    assert cluster.run("export", run, "-o", str(log)).stdout.strip() == digest
    assert verify_log(log).problems == []
    replayed = cluster.run("replay", str(log))
    assert replayed.returncode == 0, replayed.stderr


async def _watch(run: str, watching: asyncio.Event) -> list[tuple[str, bytes]]:
    """What is said of a run, as topic and payload, until all of it has ended."""
    address = urlsplit(MQTT)
    heard: list[tuple[str, bytes]] = []
    ended: set[str] = set()
    async with aiomqtt.Client(address.hostname or "", address.port or 1883) as client:
        await client.subscribe(f"pagewake/v1/{run}/#", qos=1)
        watching.set()
        async for message in client.messages:
            name = message.topic.value.removeprefix(f"pagewake/v1/{run}/")
            heard.append((name, bytes(message.payload)))
            if name.endswith("/status") and heard[-1][1] == b"ended":
                ended.add(name.split("/")[0])
            if ended == {"host", "guest"}:
                break
    return heard


def test_what_is_said_is_what_the_schemas_say(cluster: Cluster) -> None:
    run = new_run()
    cluster.start("host", "guest")

    async def watched() -> list[tuple[str, bytes]]:
        watching = asyncio.Event()
        watcher = asyncio.create_task(_watch(run, watching))
        await watching.wait()
        cluster.submit(run, "overcommit", "--set", DURATION)
        return await asyncio.wait_for(watcher, REPLY_S * 2)

    heard = asyncio.run(watched())
    words = {payload.decode() for name, payload in heard if name.endswith("/status")}
    reports = [msgspec.json.decode(payload) for name, payload in heard if name == "progress"]
    assert "ended" in words
    assert {report["service"] for report in reports} == {"host", "guest"}
    assert all(payload_accepts("Status", word) for word in words)
    assert all(payload_accepts("Progress", report) for report in reports)


def test_nothing_is_retained_of_a_deleted_run(cluster: Cluster) -> None:
    run = new_run()
    cluster.start("host", "guest")
    submitted = cluster.submit(run, "overcommit", "--set", DURATION)
    until_status(run, "host/host", "running")
    until_status(run, "guest/guest", "running")
    cluster.kill("guest")
    assert until_status(run, "guest/guest", "lost") == "lost"
    submitted.kill()
    assert cluster.run("runs", "delete", run).returncode == 0
    assert asyncio.run(_retained(run)) == []


async def _retained(run: str) -> list[str]:
    address = urlsplit(MQTT)
    topics: list[str] = []
    async with aiomqtt.Client(address.hostname or "", address.port or 1883) as client:
        await client.subscribe(f"pagewake/v1/{run}/#", qos=1)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                topics += [message.topic.value async for message in client.messages]
    return topics
