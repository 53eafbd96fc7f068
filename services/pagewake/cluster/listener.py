"""Listening to a cluster's control plane from outside, and telling it something.

The connection is made again and again until the listener is closed; what was retained comes again
with each.  Patience exists only at the start: later the listener says since when it hears nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias

import aiomqtt

from pagewake.cluster.clock import Clock
from pagewake.cluster.messages import OVER, STATUS_TOPIC, encode_status
from pagewake.cluster.mqtt_address import MqttAddress, refusal
from pagewake.errors import BrokerError

MQTT_DEFAULT = MqttAddress.of("mqtt://127.0.0.1:1883")
"""Where a person's command looks if nothing was said: as for Kafka, on this machine."""
CONNECT_WAIT_S = 5.0  # at the start a person waits; a broker that is there answers in much less
CONNECT_TIMEOUT_S = 4.0  # within that wait, so that the reason can still be told
AGAIN_S = 1.0  # a broker comes back in seconds, and nobody is harmed by a try
KEEPALIVE_S = 5
"""A broker that is gone without a word is missed after one and a half of it."""
QUEUED_MAX = 4096  # a message a second and service, for runs of any size
RETAINED_S = 0.5  # what is retained comes right after the subscription
LET_GO_S = 5.0  # services say a last word within two turns of their loops
LAST_WORDS = {b"", *(encode_status(word) for word in OVER)}

Heard: TypeAlias = Callable[[str, bytes], None]
"""Topic and payload of a message."""


class MqttListener:
    """See the module; `connected` and `lost_s` (monotonic) say how it stands."""

    def __init__(
        self, address: MqttAddress | None, topics: Sequence[str], heard: Heard, clock: Clock
    ) -> None:
        self.connected = False
        self.lost_s = clock.monotonic_s()
        self._clock = clock
        self.error = ""
        self._refused = ""
        self._address = address or MQTT_DEFAULT
        self._topics = topics
        self._heard = heard
        self._client: aiomqtt.Client | None = None
        self._first = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connected, or BrokerError: after `CONNECT_WAIT_S`, or at once if that cannot help."""
        self._task = asyncio.create_task(self._keep_up())
        try:
            await self._clock.wait_for(self._first.wait(), CONNECT_WAIT_S)
        except TimeoutError:
            await self._close()
            raise BrokerError(
                f"no MQTT broker at {self.place} within {CONNECT_WAIT_S:g} s"
                f" ({self.error or 'no answer'}): start one (make brokers) or set PAGEWAKE_MQTT,"
                " to mqtts:// if it speaks TLS"
            ) from None
        except BaseException:
            await self._close()
            raise
        if self._refused:
            await self._close()
            raise BrokerError(f"MQTT broker at {self.place} {self._refused}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Whether the broker took it."""
        if self._client is None or not self.connected:
            return False
        try:
            await self._client.publish(
                topic, payload, qos=1, retain=retain, timeout=CONNECT_TIMEOUT_S
            )
        except aiomqtt.MqttError:
            return False
        return True

    async def _close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_up(self) -> None:
        while True:
            try:
                async with self._connection() as client:
                    for topic in self._topics:
                        await client.subscribe(topic, qos=1)
                    self._client = client
                    self.connected = True
                    self._first.set()
                    async for message in client.messages:
                        self._heard(message.topic.value, bytes(message.payload))
            except aiomqtt.MqttError as error:
                self.error = str(error)
                self._refused = refusal(error)
                if self._refused:
                    self._first.set()
            finally:
                if self.connected:
                    self.lost_s = self._clock.monotonic_s()
                self.connected = False
            await self._clock.sleep(AGAIN_S)

    def _connection(self) -> aiomqtt.Client:
        return self._address.client(
            timeout=CONNECT_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=QUEUED_MAX,
        )

    @property
    def place(self) -> str:
        """Host and port, without who logs in."""
        return f"{self._address.host}:{self._address.port}"


async def take_back_statuses(address: MqttAddress, run: str, clock: Clock) -> None:
    """Delete what a broker retains of a deleted run, once its services have let go of it."""
    words: dict[str, bytes] = {}
    let_go = asyncio.Event()
    let_go.set()

    def heard(topic: str, word: bytes) -> None:
        words[topic] = word
        if all(each in LAST_WORDS for each in words.values()):
            let_go.set()
        else:
            let_go.clear()

    topics = [STATUS_TOPIC.format(run=run, service="+", instance="+")]
    async with MqttListener(address, topics, heard, clock) as listener:
        await clock.sleep(RETAINED_S)
        with suppress(TimeoutError):
            await clock.wait_for(let_go.wait(), LET_GO_S)
        for topic in [topic for topic, word in words.items() if word]:
            await listener.publish(topic, b"", retain=True)
