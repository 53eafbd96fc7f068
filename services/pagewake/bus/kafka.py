"""The bus over Kafka: explicit topics, an idempotent producer, readers of single partitions.

The clients' settings and their reasons stand in `kafka_settings`, what is asked about topics in
`kafka_topics`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Self

from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)

from pagewake.bus import kafka_group, kafka_logs
from pagewake.bus.kafka_bootstrap import reachable_first
from pagewake.bus.kafka_doors import refusal
from pagewake.bus.kafka_group import dismiss_predecessor, group_consumer, stop_consumer
from pagewake.bus.kafka_rights import MissingRightError, needing
from pagewake.bus.kafka_settings import (
    RECORD_BYTES_MAX,
    KafkaSettings,
    fetch_options,
    producer_options,
)
from pagewake.bus.kafka_topics import Copies, KafkaTopics, TopicSpec, passes, patiently
from pagewake.bus.partitions import StoredRecord, TopicLog
from pagewake.errors import BrokerError, DataError

CONNECT_S = 15.0
"""Of one attempt: a producer whose brokers are reached under no name that it is told looks for them
without end."""
CONNECT_AGAIN_S = 0.3
"""Between two attempts to connect at start: a few of them within any patience, no busy loop."""
LOOK_S = 10.0
"""Between two looks at which bootstrap servers can be reached; readers come many a second."""
PRODUCER_TURNS = 3
"""Of the loop, from a record that is handed over to the request on the socket: the record wakes a
wait, the wait the producer's task, which starts the request's, which writes it."""
FOLLOWED_WITHIN_S = 30.0
"""Who follows a run may come before it is created; as patient as a service at its start."""
SENT_WITHIN_S = 0.5
"""A topic that was created a moment ago may not be known to every broker yet."""
FOLLOW_WAIT_MS = 500
"""An empty fetch is answered after so long: only how soon a reader sees that it is to stop."""


class KafkaBus:
    """One process's connections for writing, creating topics and reading from given offsets.

    One that never writes has no producer, for which Kafka asks for a right to write something.
    """

    def __init__(self, settings: KafkaSettings, *, writes: bool = True) -> None:
        self.settings = settings
        self.writes = writes
        self._producer: AIOKafkaProducer | None = None
        self._asker: AIOKafkaClient | None = None
        self._asking_first = asyncio.Lock()
        self._topics = KafkaTopics(settings)
        self._reachable = settings
        self._looked_s = 0.0
        self._written = set[str]()

    @property
    def address(self) -> str:
        """Of the brokers that it begins with."""
        return self.settings.bootstrap

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, or BrokerError: after `wait_s`, or at once where waiting could not help."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.wait_s
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._connect()
            except (KafkaError, OSError) as error:
                await self.stop()
                if not passes(error):
                    raise
                why = await refusal(self.settings)
                if why:
                    raise BrokerError(f"Kafka at {why}") from None
                if loop.time() >= deadline:
                    raise BrokerError(
                        f"no Kafka at {self.settings.bootstrap} within {self.settings.wait_s:g} s: "
                        "start one (make brokers) or set PAGEWAKE_KAFKA"
                    ) from None
                await asyncio.sleep(CONNECT_AGAIN_S)
            else:
                return

    async def _connect(self) -> None:
        reachable = self._reachable = await reachable_first(self.settings)
        if self.writes:
            self._producer = AIOKafkaProducer(**reachable.options(), **producer_options())
            try:
                await self._producer.start()
            except ClusterAuthorizationFailedError as error:  # it may number no records
                await self.stop()
                raise MissingRightError("Write on any topic") from error
        await self._topics.start(reachable.bootstrap)

    async def stop(self) -> None:
        """Flush what is unsent, and disconnect."""
        producer, self._producer = self._producer, None
        await self._topics.stop()
        asker, self._asker = self._asker, None
        if producer is not None:
            await producer.stop()
        if asker is not None:
            await asker.close()

    @property
    def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:  # for a moment, while it is connected anew
            raise KafkaConnectionError("not connected")
        return self._producer

    async def answers(self, topic: str, within_s: float) -> bool | None:
        """Whether a broker answers a question about a topic; None if the bus is not started.

        The clients themselves wait for it in silence.
        """
        if not self._topics.started:
            return None
        try:
            async with asyncio.timeout(within_s):
                await self._topics.ask(lambda admin: admin.describe_topics([topic]), within_s)
        except (KafkaError, OSError):
            return False
        return True

    # ------------------------------------------------------------------ topics

    async def brokers(self) -> int:
        """How many there are now."""
        return await self._topics.brokers()

    async def create_topics(
        self, topics: Mapping[str, TopicSpec | tuple[int, bool]]
    ) -> dict[str, Copies]:
        """Those that do not exist; how many copies each has, once a broker knows them all.

        ConfigError if one has another partition count.
        """
        return await self._topics.create({name: TopicSpec(*spec) for name, spec in topics.items()})

    async def partitions(self, names: Iterable[str]) -> dict[str, int]:
        """How many partitions each of the topics has, of those that exist and have leaders."""
        return await self._topics.partitions(names)

    async def copies(self, names: Iterable[str]) -> dict[str, Copies]:
        """Of those topics that are there."""
        return await self._topics.copies(names)

    async def topic_logs(self, names: Iterable[str]) -> dict[str, TopicLog | None]:
        """How topics stand, asked on a connection of its own: nothing waits behind it."""
        wanted = list(names)

        async def found() -> dict[str, TopicLog | None]:
            return await kafka_logs.topic_logs(await self._asking(), wanted)

        return await patiently(found)

    async def members_called(self, group: str, instance: str) -> int:
        """How many members of a group have a name."""
        _, members = await kafka_group.members_called(await self._asking(), group, instance)
        return len(members)

    async def _asking(self) -> AIOKafkaClient:
        async with self._asking_first:
            if self._asker is None:
                asker = AIOKafkaClient(**self._reachable.options())
                await asker.bootstrap()
                self._asker = asker
            return self._asker

    async def topics(self, prefix: str) -> list[str]:
        """Names of the topics that begin so."""
        return await self._topics.beginning(prefix)

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Delete the topics, those that exist."""
        await self._topics.delete(names)

    # ------------------------------------------------------------------ writing

    async def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None
    ) -> asyncio.Future[Any]:
        """Hand a record over, in order per partition; the future is its acknowledgement."""
        producer = self._connected
        self._written.add(topic)
        size = len(value or b"") + len(key or b"")
        if size > RECORD_BYTES_MAX:
            raise DataError(
                f"{topic}-{partition}: a record of {size} bytes exceeds {RECORD_BYTES_MAX}"
            )
        if producer.client.cluster.partitions_for_topic(topic) is None:
            await self._place(topic, partition, SENT_WITHIN_S)  # it would look for half a minute
        try:
            future: asyncio.Future[Any] = await producer.send(
                topic, value, key=key, partition=partition
            )
        except MessageSizeTooLargeError as error:
            raise DataError(f"{topic}-{partition}: {error}") from None
        except UnknownTopicOrPartitionError:  # the client does not say which
            raise UnknownTopicOrPartitionError(f"there is no {topic}-{partition}") from None
        return future

    async def on_its_way(self) -> None:
        """Let the producer's task write what it was handed to its socket, and do not wait for more.

        It does nothing then while a request is under way; its answer brings the next.
        """
        for _ in range(PRODUCER_TURNS):
            await asyncio.sleep(0)

    def forget_topics(self, prefix: str) -> None:
        """Ask no more for topics of a deleted run, as a producer does for all it wrote to."""
        self._written = {topic for topic in self._written if not topic.startswith(prefix)}
        if self._producer is not None and self._written:
            self._producer.client.set_topics(self._written)

    # ------------------------------------------------------------------ reading

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record of a partition gets."""
        await self._place(topic, partition)
        return (await self._ends([TopicPartition(topic, partition)]))[0]

    async def end_offsets(self, topic: str, partitions: int) -> list[int]:
        """The offsets that the next records of partitions 0 to `partitions - 1` get."""
        await self._place(topic, partitions - 1)
        return await self._ends([TopicPartition(topic, number) for number in range(partitions)])

    async def _ends(self, places: list[TopicPartition]) -> list[int]:
        consumer = await self._reader()
        await consumer.start()
        try:
            ends = await consumer.end_offsets(places)
        finally:
            await stop_consumer(consumer)
        return [ends[place] for place in places]

    async def read(
        self, topic: str, partition: int, offset: int = 0, *, follow: bool = False
    ) -> AsyncIterator[StoredRecord]:
        """Records from an offset to the present end, or on and on.

        Who follows a topic that is not there yet waits for it, though not for ever.
        """
        place = await self._place(topic, partition, FOLLOWED_WITHIN_S if follow else 0.0)
        consumer = await self._reader()
        await consumer.start()
        try:
            consumer.assign([place])
            consumer.seek(place, offset)
            end = (await consumer.end_offsets([place]))[place]
            while follow or await consumer.position(place) < end:
                with needing("Read", topic):
                    batches = await consumer.getmany(timeout_ms=FOLLOW_WAIT_MS)
                for message in batches.get(place, []):
                    yield StoredRecord(message.offset, message.key, message.value)
        finally:
            await stop_consumer(consumer)

    async def _place(self, topic: str, partition: int, within_s: float = 0.0) -> TopicPartition:
        await self._topics.until_led(topic, partition, within_s)
        return TopicPartition(topic, partition)

    async def _reader(self) -> AIOKafkaConsumer:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._reachable = await reachable_first(self.settings)
        fetching = fetch_options(FOLLOW_WAIT_MS, self.settings.rack)
        return AIOKafkaConsumer(**self._reachable.options(), **fetching)


__all__ = [
    "RECORD_BYTES_MAX",
    "Copies",
    "KafkaBus",
    "KafkaError",
    "KafkaSettings",
    "TopicPartition",
    "TopicSpec",
    "dismiss_predecessor",
    "group_consumer",
    "stop_consumer",
]
