"""An MQTT broker of a test's own, in place of the client that an address makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Self

import aiomqtt
import pytest

from pagewake.cluster.mqtt_address import MqttAddress
from tests.support.clock import TURNS


class Published(NamedTuple):
    """A message to the broker."""

    topic: str
    payload: bytes
    retain: bool


class FakeClient:
    """One connection."""

    def __init__(self, broker: FakeMqtt, options: dict[str, Any]) -> None:
        self.options = options
        self.subscribed: list[str] = []
        self._broker = broker
        self._inbound: asyncio.Queue[aiomqtt.Message | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        if self._broker.down:
            raise aiomqtt.MqttError("refused")
        self._broker.clients.append(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._broker.clients.remove(self)

    async def subscribe(self, topic: str, qos: int) -> None:
        self.subscribed.append(topic)
        for published in self._broker.retained:
            self.receive(published.topic, published.payload)

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, **_: object
    ) -> None:
        if self._broker.down:
            raise aiomqtt.MqttError("gone")
        self._broker.published.append(Published(topic, payload, retain))

    def receive(self, topic: str, payload: bytes) -> None:
        """A message to this client."""
        self._inbound.put_nowait(aiomqtt.Message(topic, payload, 1, False, 0, None))

    def drop(self) -> None:
        """The broker is gone."""
        self._inbound.put_nowait(None)

    @property
    def messages(self) -> AsyncIterator[aiomqtt.Message]:
        return self._received()

    async def _received(self) -> AsyncIterator[aiomqtt.Message]:
        while (message := await self._inbound.get()) is not None:
            yield message
        raise aiomqtt.MqttError("connection lost")


class FakeMqtt:
    """What all its clients published, and who is connected."""

    def __init__(self) -> None:
        self.published: list[Published] = []
        self.retained: list[Published] = []
        self.clients: list[FakeClient] = []
        self.down = False

    def words(self, topic_end: str) -> list[str]:
        """Payloads of the topics that end so."""
        return [each.payload.decode() for each in self.published if each.topic.endswith(topic_end)]

    def stop(self) -> None:
        """Nobody is let in any more, and who is in is cut off."""
        self.down = True
        for client in self.clients:
            client.drop()


@pytest.fixture
def mqtt(monkeypatch: pytest.MonkeyPatch) -> FakeMqtt:
    """In place of every broker."""
    broker = FakeMqtt()
    monkeypatch.setattr(MqttAddress, "client", lambda _, **options: FakeClient(broker, options))
    return broker


async def turns() -> None:
    """Let everybody do what they have to do by now; fewer than it takes a `FakeClock` to jump."""
    for _ in range(TURNS - 5):
        await asyncio.sleep(0)
