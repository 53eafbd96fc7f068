"""The bus over Kafka: explicit topics, an idempotent producer, readers of single partitions.

A window costs one round trip, so nothing here waits to fill a batch (`linger_ms` 0, fetches answer
with the first byte).  Records are commits with their own numbers: offsets are never committed,
and neither transactions nor isolation levels are needed (design, "Time", Delivery).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

from pagewake.errors import BrokerError, DataError

RECORD_BYTES_MAX = 1_000_000
FETCH_BYTES_MAX = 8 << 20
REQUEST_TIMEOUT_MS = 30_000
SESSION_TIMEOUT_MS = 10_000
HEARTBEAT_MS = 3_000
POLL_INTERVAL_MS = 300_000
RETRY_BACKOFF_MS = 100
KEEP_FOR_EVER = "-1"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach the brokers; `wait_s` is the patience at start."""

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = None
    cafile: str | None = None
    wait_s: float = 10.0

    def options(self) -> dict[str, Any]:
        """What every client is given."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "retry_backoff_ms": RETRY_BACKOFF_MS,
        }
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = ssl.create_default_context(cafile=self.cafile)
        return options


class Stored(NamedTuple):
    """A record as it stands in a partition; None is a deleted key's value."""

    offset: int
    key: bytes | None
    value: bytes | None


class KafkaBus:
    """One process's connections for writing, creating topics and reading from given offsets."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._admin: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, or BrokerError after `wait_s`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.wait_s
        while True:
            try:
                await self._connect()
            except (KafkaConnectionError, OSError) as error:
                await self.stop()
                if loop.time() >= deadline:
                    raise BrokerError(
                        f"no Kafka at {self.settings.bootstrap} within {self.settings.wait_s:g} s "
                        f"({error}): start one (make brokers) or set PAGEWAKE_KAFKA"
                    ) from None
                await asyncio.sleep(0.3)
            else:
                return

    async def _connect(self) -> None:
        self._producer = AIOKafkaProducer(
            **self.settings.options(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=RECORD_BYTES_MAX,
            max_request_size=RECORD_BYTES_MAX + 65_536,
        )
        await self._producer.start()
        self._admin = AIOKafkaAdminClient(**self.settings.options())
        await self._admin.start()

    async def stop(self) -> None:
        """Flush and disconnect."""
        producer, self._producer = self._producer, None
        admin, self._admin = self._admin, None
        if producer is not None:
            await producer.stop()
        if admin is not None:
            await admin.close()

    # ------------------------------------------------------------------ topics

    async def create_topics(self, topics: Mapping[str, tuple[int, bool]]) -> None:
        """Partition count and whether compacted, by name; those that exist stay as they are."""
        assert self._admin is not None
        new = [
            NewTopic(
                name,
                partitions,
                1,
                topic_configs={
                    "cleanup.policy": "compact" if compacted else "delete",
                    "retention.ms": KEEP_FOR_EVER,
                    "max.message.bytes": str(RECORD_BYTES_MAX + 65_536),
                },
            )
            for name, (partitions, compacted) in topics.items()
        ]
        for topic in new:
            try:
                await self._admin.create_topics([topic])
            except TopicAlreadyExistsError:
                continue

    async def delete_topics(self, names: list[str]) -> None:
        """Delete those that exist."""
        assert self._admin is not None
        for name in names:
            try:
                await self._admin.delete_topics([name])
            except UnknownTopicOrPartitionError:
                continue

    # ------------------------------------------------------------------ writing

    async def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None
    ) -> asyncio.Future[Any]:
        """Hand a record over, in order per partition; the future is its acknowledgement."""
        assert self._producer is not None
        if value is not None and len(value) > RECORD_BYTES_MAX:
            raise DataError(
                f"{topic}-{partition}: a record of {len(value)} bytes exceeds {RECORD_BYTES_MAX}"
            )
        try:
            future: asyncio.Future[Any] = await self._producer.send(
                topic, value, key=key, partition=partition
            )
        except MessageSizeTooLargeError as error:
            raise DataError(f"{topic}-{partition}: {error}") from None
        return future

    # ------------------------------------------------------------------ reading

    async def read(
        self, topic: str, partition: int, offset: int = 0, *, follow: bool = False
    ) -> AsyncIterator[Stored]:
        """Records from an offset to the present end, or on and on."""
        place = TopicPartition(topic, partition)
        consumer = AIOKafkaConsumer(
            **self.settings.options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=500,
            fetch_min_bytes=1,
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
        )
        await consumer.start()
        try:
            consumer.assign([place])
            consumer.seek(place, offset)
            end = (await consumer.end_offsets([place]))[place]
            while follow or await consumer.position(place) < end:
                batches = await consumer.getmany(timeout_ms=500)
                for message in batches.get(place, []):
                    yield Stored(message.offset, message.key, message.value)
        finally:
            await consumer.stop()


def group_consumer(settings: KafkaSettings, group: str) -> AIOKafkaConsumer:
    """The consumer whose group decides who owns which partition; it commits no offsets."""
    return AIOKafkaConsumer(
        **settings.options(),
        group_id=group,
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        max_poll_interval_ms=POLL_INTERVAL_MS,
        rebalance_timeout_ms=SESSION_TIMEOUT_MS * 2,
        metadata_max_age_ms=5_000,
        fetch_max_wait_ms=250,
        fetch_min_bytes=1,
        fetch_max_bytes=FETCH_BYTES_MAX,
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
    )


__all__ = [
    "RECORD_BYTES_MAX",
    "KafkaBus",
    "KafkaError",
    "KafkaSettings",
    "Stored",
    "TopicPartition",
    "group_consumer",
]
