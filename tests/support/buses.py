"""One face for every bus, so that one suite of tests can ask all of them the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from uuid import uuid4

from pagewake.bus.kafka import KafkaBus, KafkaSettings, TopicSpec
from pagewake.bus.memory import MemoryBus
from tests.support.processes import KAFKA


class Partitions(Protocol):
    """Partitions of topics of a test's own."""

    async def append(self, topic: str, partition: int, record: bytes) -> int:
        """Append a record; returns its offset once it is in the log."""
        ...

    async def append_all(self, topic: str, partition: int, records: list[bytes]) -> list[int]:
        """Hand many over before the first is acknowledged."""
        ...

    async def read(self, topic: str, partition: int, offset: int = 0) -> list[tuple[int, bytes]]:
        """Offsets and records up to the present end."""
        ...


class InMemory:
    """The memory bus."""

    def __init__(self) -> None:
        self.bus = MemoryBus()

    async def append(self, topic: str, partition: int, record: bytes) -> int:
        """At once."""
        return self.bus.append(topic, partition, record)

    async def append_all(self, topic: str, partition: int, records: list[bytes]) -> list[int]:
        """One by one."""
        return [self.bus.append(topic, partition, record) for record in records]

    async def read(self, topic: str, partition: int, offset: int = 0) -> list[tuple[int, bytes]]:
        """Counted from `offset`."""
        return list(enumerate(self.bus.read(topic, partition, offset), offset))


class InKafka:
    """Kafka, with topics whose names no other test has."""

    def __init__(self, bus: KafkaBus, prefix: str) -> None:
        self.bus = bus
        self.prefix = prefix

    def name(self, topic: str) -> str:
        """The topic's name in Kafka."""
        return f"{self.prefix}.{topic}"

    async def append(self, topic: str, partition: int, record: bytes) -> int:
        """Acknowledged."""
        (offset,) = await self.append_all(topic, partition, [record])
        return offset

    async def append_all(self, topic: str, partition: int, records: list[bytes]) -> list[int]:
        """All under way before the first is waited for."""
        sent = [await self.bus.send(self.name(topic), partition, record) for record in records]
        return [metadata.offset for metadata in await asyncio.gather(*sent)]

    async def read(self, topic: str, partition: int, offset: int = 0) -> list[tuple[int, bytes]]:
        """As they stand."""
        return [
            (stored.offset, stored.value or b"")
            async for stored in self.bus.read(self.name(topic), partition, offset)
        ]


@asynccontextmanager
async def in_kafka(**topics: TopicSpec) -> AsyncIterator[InKafka]:
    """Topics that are deleted in the end."""
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        place = InKafka(bus, f"pagewake.test-{uuid4().hex[:12]}")
        await bus.create_topics({place.name(topic): spec for topic, spec in topics.items()})
        try:
            yield place
        finally:
            await bus.delete_topics([place.name(topic) for topic in topics])
