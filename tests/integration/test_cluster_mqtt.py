"""Commands over MQTT change a running run, are answered, and stand in its log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import msgspec
import pytest

from pagewake.observe.verify import verify_log
from pagewake.scenario.loading import load
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

pytestmark = [pytest.mark.broker, needs_kafka, needs_mqtt]
DURATION = "scenario.duration=600ms"
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
    digest = digest_of(submitted)
    assert digest != embedded_digest("overcommit", DURATION)
    log = tmp_path / "log"
    assert cluster.run("export", run, "-o", str(log)).stdout.strip() == digest
    assert verify_log(log).problems == []
    replayed = cluster.run("replay", str(log))
    assert replayed.returncode == 0, replayed.stderr
