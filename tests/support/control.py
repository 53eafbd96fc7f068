"""The control plane as a person uses it: commands and their replies, retained status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import msgspec

from tests.support.processes import MQTT

REPLY_S = 30.0


@asynccontextmanager
async def _connected(mqtt: str) -> AsyncIterator[aiomqtt.Client]:
    address = urlsplit(mqtt)
    async with aiomqtt.Client(address.hostname or "", address.port or 1883) as client:
        yield client


async def _listen(run: str, commands: list[dict[str, object]], mqtt: str) -> list[dict[str, Any]]:
    async with _connected(mqtt) as client:
        await client.subscribe(f"pagewake/v1/{run}/command/reply", qos=1)
        replies: list[dict[str, Any]] = []
        for command in commands:
            await client.publish(f"pagewake/v1/{run}/command", msgspec.json.encode(command), qos=1)
            async for message in client.messages:
                replies.append(msgspec.json.decode(bytes(message.payload)))
                if replies[-1]["id"] == command["id"]:
                    break
    return replies


def ask(run: str, *commands: dict[str, object], mqtt: str = MQTT) -> list[dict[str, Any]]:
    """Send commands, each once the one before is answered; all replies that were heard."""
    listening = _listen(run, list(commands), mqtt)
    return asyncio.run(asyncio.wait_for(listening, REPLY_S))


async def _tell(run: str, command: dict[str, object], mqtt: str) -> None:
    async with _connected(mqtt) as client:
        await client.publish(f"pagewake/v1/{run}/command", msgspec.json.encode(command), qos=1)


def tell(run: str, command: dict[str, object], mqtt: str = MQTT) -> None:
    """Send a command and do not wait for its answer."""
    asyncio.run(asyncio.wait_for(_tell(run, command, mqtt), REPLY_S))


async def _until_status(topic: str, words: set[str], mqtt: str) -> str:
    async with _connected(mqtt) as client:
        await client.subscribe(f"pagewake/v1/{topic}/status", qos=1)
        async for message in client.messages:
            word = bytes(message.payload).decode()
            if word in words:
                return word
    raise AssertionError("the broker went away")


def until_status(run: str, instance: str, *words: str, mqtt: str = MQTT) -> str:
    """Wait until the status of `<service>/<instance>` is one of these words."""
    waiting = _until_status(f"{run}/{instance}", set(words), mqtt)
    return asyncio.run(asyncio.wait_for(waiting, REPLY_S))
