"""A bus of a test's own: partitions as lists, and acknowledgements when the test gives them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError

from pagewake.bus.partitions import StoredRecord, TopicLog


class FakeBus:
    """Records are acknowledged at once, unless `holding` or `losing`."""

    address = "nowhere:9092"

    def __init__(self) -> None:
        self.logs: dict[tuple[str, int], list[StoredRecord]] = defaultdict(list)
        self.holding = False
        self.losing = False
        self.silent = False
        self.topics: dict[str, str | None] = {}
        """Ids of topics that are not what they seem; None for one that is gone."""
        self.missing = set[str]()
        """Topics that nothing can be sent to."""
        self.begins: dict[tuple[str, int], int] = {}
        self.under_way: list[asyncio.Future[Any]] = []

    def append(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None
    ) -> None:
        """As somebody else who writes there."""
        log = self.logs[topic, partition]
        log.append(StoredRecord(len(log), key, value))

    def values(self, topic: str, partition: int = 0) -> list[bytes]:
        """What stands in a partition."""
        return [stored.value or b"" for stored in self.logs[topic, partition]]

    def acknowledge(self) -> None:
        """All that is under way."""
        for future in self.under_way:
            future.set_result(None)
        self.under_way.clear()

    async def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None
    ) -> asyncio.Future[Any]:
        self._check()
        if topic in self.missing:
            raise UnknownTopicOrPartitionError(topic)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.losing:
            future.set_exception(KafkaConnectionError("lost"))
            return future
        self.append(topic, partition, value, key)
        if self.holding:
            self.under_way.append(future)
        else:
            future.set_result(None)
        return future

    async def on_its_way(self) -> None:
        self._check()

    async def read(
        self, topic: str, partition: int, offset: int = 0, *, follow: bool = False
    ) -> AsyncIterator[StoredRecord]:
        self._check()
        for stored in self.logs[topic, partition][offset:]:
            yield stored
        if follow:
            await asyncio.get_running_loop().create_future()

    async def end_offset(self, topic: str, partition: int) -> int:
        return (await self.end_offsets(topic, partition + 1))[partition]

    async def end_offsets(self, topic: str, partitions: int) -> list[int]:
        self._check()
        return [len(self.logs[topic, partition]) for partition in range(partitions)]

    async def topic_logs(self, names: Iterable[str]) -> dict[str, TopicLog | None]:
        self._check()
        return {name: self._topic_log(name) for name in names}

    def _topic_log(self, name: str) -> TopicLog | None:
        topic_id = self.topics.get(name, f"id of {name}")
        if topic_id is None:
            return None
        numbers = [number for topic, number in self.logs if topic == name]
        begins = {number: self.begins.get((name, number), 0) for number in numbers}
        return TopicLog(topic_id, begins, {at: len(self.logs[name, at]) for at in numbers})

    def _check(self) -> None:
        if self.silent:
            raise KafkaConnectionError("nobody answers")
