"""The bus over Kafka: explicit topics, an idempotent producer, readers of single partitions.

The clients' settings and their reasons stand in `kafka_settings`.  The admin client reports what
the broker refused only in its answers, so every answer is looked at here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from pagewake.bus import kafka_group, kafka_logs
from pagewake.bus.kafka_doors import refusal
from pagewake.bus.kafka_group import dismiss_predecessor, group_consumer
from pagewake.bus.kafka_rights import REFUSALS, MissingRightError, missing, needing
from pagewake.bus.kafka_settings import (
    BROKERS_OWN,
    ENVELOPE_BYTES,
    RECORD_BYTES_MAX,
    KafkaSettings,
    fetch_options,
    producer_options,
)
from pagewake.bus.partitions import StoredRecord, TopicLog
from pagewake.errors import BrokerError, ConfigError, DataError

KEEP_FOR_EVER = "-1"
CONNECT_S = 15.0
"""Of one attempt: a producer whose brokers are reached under no name that it is told looks for them
without end."""
COMPACTED_BYTES = 16 << 20
"""The newest segment of a topic is never compacted, so an old snapshot outlives so many bytes."""
CONNECT_AGAIN_S = 0.3
"""Between two attempts to connect at start: a few of them within any patience, no busy loop."""
TOPIC_AGAIN_S = 0.1
"""Between two looks for a topic that is not there yet; one request each."""
TOPICS_KNOWN_S = 10.0
"""Chosen: far beyond what a healthy broker takes to know a topic that it has created."""
PRODUCER_TURNS = 3
"""Of the loop, from a record that is handed over to the request on the socket: the record wakes a
wait, the wait the producer's task, which starts the request's, which writes it."""
FOLLOWED_WITHIN_S = 30.0
"""Who follows a run may come before it is created; as patient as a service at its start."""
SENT_WITHIN_S = 0.5
"""A topic that was created a moment ago may not be known to every broker yet."""
FOLLOW_WAIT_MS = 500
"""An empty fetch is answered after so long: only how soon a reader sees that it is to stop."""
COMPACTED = {"cleanup.policy": "compact", "segment.bytes": str(COMPACTED_BYTES)}


class TopicSpec(NamedTuple):
    """How a topic is created."""

    partitions: int
    compacted: bool = False

    def new(self, name: str, copies: int = BROKERS_OWN) -> NewTopic:
        """The topic for the admin client; how many copies must be in step the brokers say."""
        return NewTopic(
            name,
            self.partitions,
            copies,
            replica_assignments={} if copies == BROKERS_OWN else None,  # as the client wants it
            topic_configs={
                **(COMPACTED if self.compacted else {"cleanup.policy": "delete"}),
                "retention.ms": KEEP_FOR_EVER,
                "retention.bytes": KEEP_FOR_EVER,
                "max.message.bytes": str(RECORD_BYTES_MAX + ENVELOPE_BYTES),
                # The broker's clock: it refuses what is stamped by one that is an hour ahead.
                "message.timestamp.type": "LogAppendTime",
            },
        )


class Copies(NamedTuple):
    """Of the partition that has the fewest: how many there are, and how many are in step now."""

    kept: int
    in_sync: int

    @classmethod
    def lowest(cls, several: Iterable[Copies]) -> Copies:
        """Of several partitions or topics; at least one."""
        kept, in_sync = zip(*several, strict=True)
        return cls(min(kept), min(in_sync))

    @property
    def words(self) -> str:
        """For a person."""
        return f"{self.kept} {'copy' if self.kept == 1 else 'copies'}, {self.in_sync} in sync"


class KafkaBus:
    """One process's connections for writing, creating topics and reading from given offsets.

    One that never writes has no producer, for which Kafka asks for a right to write something.
    """

    def __init__(self, settings: KafkaSettings, *, writes: bool = True) -> None:
        self.settings = settings
        self.writes = writes
        self._producer: AIOKafkaProducer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._asker: AIOKafkaClient | None = None
        self._asking_first = asyncio.Lock()
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
            except (KafkaConnectionError, OSError, TimeoutError):
                await self.stop()
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
        if self.writes:
            self._producer = AIOKafkaProducer(**self.settings.options(), **producer_options())
            try:
                await self._producer.start()
            except ClusterAuthorizationFailedError as error:  # it may number no records
                await self.stop()
                raise MissingRightError("Write on any topic") from error
        self._admin = AIOKafkaAdminClient(**self.settings.options())
        await self._admin.start()

    async def stop(self) -> None:
        """Flush what is unsent, and disconnect."""
        producer, self._producer = self._producer, None
        admin, self._admin = self._admin, None
        asker, self._asker = self._asker, None
        if producer is not None:
            await producer.stop()
        if admin is not None:
            await admin.close()
        if asker is not None:
            await asker.close()

    async def answers(self, topic: str, within_s: float) -> bool | None:
        """Whether the broker answers a question about a topic; None if the bus is not started.

        The clients themselves wait for it in silence.
        """
        if self._admin is None:
            return None
        try:
            async with asyncio.timeout(within_s):
                await self._admin.describe_topics([topic])
        except (KafkaError, OSError, TimeoutError):
            return False
        return True

    # ------------------------------------------------------------------ topics

    async def create_topics(self, topics: Mapping[str, TopicSpec | tuple[int, bool]]) -> None:
        """Create topics that do not exist; ConfigError if one has another partition count.

        Returns once the broker knows them all, so they can be written and read at once.
        """
        assert self._admin is not None
        specs = {name: TopicSpec(*spec) for name, spec in topics.items()}
        there = await self.partitions(specs)
        copies = self.settings.replication
        new = [spec.new(name, copies) for name, spec in specs.items() if name not in there]
        if new:
            self._look_at((await self._admin.create_topics(new)).topic_errors)
        await self._known(specs)

    def _look_at(self, topic_errors: Iterable[tuple[Any, ...]]) -> None:
        """What became of topics that were to be created."""
        for name, code, *why in topic_errors:
            error = for_code(code)
            if error in REFUSALS:
                raise missing("Create", error(), name)
            if error is InvalidReplicationFactorError:
                raise ConfigError(self._too_many_copies(name))
            if code and error is not TopicAlreadyExistsError:
                raise error(f"topic {name} could not be created: {next(iter(why), error.__name__)}")

    async def _known(self, specs: Mapping[str, TopicSpec]) -> None:
        deadline = asyncio.get_running_loop().time() + TOPICS_KNOWN_S
        while missing := specs.keys() - (counts := await self.partitions(specs)).keys():
            if asyncio.get_running_loop().time() >= deadline:
                raise BrokerError(
                    f"Kafka at {self.address} created {', '.join(sorted(missing))} and does not"
                    f" know it after {TOPICS_KNOWN_S:g} s: its log says why"
                )
            await asyncio.sleep(0.02)
        for name, count in counts.items():
            if count != specs[name].partitions:
                raise ConfigError(
                    f"topic {name} exists with {count} partitions and is needed with "
                    f"{specs[name].partitions}: delete it, or choose another name for the run"
                )

    async def partitions(self, names: Iterable[str]) -> dict[str, int]:
        """How many partitions each of the topics has, of those that exist and have leaders.

        MissingRightError if one may not be looked at: waiting would not help.
        """
        assert self._admin is not None
        described = await self._admin.describe_topics(list(names))
        for topic in described:
            error = for_code(topic["error_code"])
            if error in REFUSALS:
                raise missing("Describe", error(), topic["topic"])
        return {
            topic["topic"]: len(topic["partitions"])
            for topic in described
            if not topic["error_code"]
            and all(partition["leader"] >= 0 for partition in topic["partitions"])
        }

    def _too_many_copies(self, topic: str) -> str:
        wanted, there = self.settings.replication, self.brokers
        if wanted == BROKERS_OWN:
            return (
                f"topic {topic}: Kafka at {self.address} refuses its own default number of copies"
                f" with {there} brokers: set PAGEWAKE_KAFKA_REPLICATION"
            )
        return (
            f"PAGEWAKE_KAFKA_REPLICATION={wanted}: topic {topic} cannot have so many copies,"
            f" Kafka at {self.address} has {there} brokers: set it to {there} at most"
        )

    @property
    def brokers(self) -> int:
        """How many answer now."""
        assert self._producer is not None
        return len(self._producer.client.cluster.brokers())

    async def copies(self, names: Iterable[str]) -> dict[str, Copies]:
        """Of those topics that are there."""
        assert self._admin is not None
        return {
            topic["topic"]: Copies.lowest(
                Copies(len(partition["replicas"]), len(partition["isr"]))
                for partition in topic["partitions"]
            )
            for topic in await self._admin.describe_topics(list(names))
            if topic["partitions"]
        }

    async def topic_logs(self, names: Iterable[str]) -> dict[str, TopicLog | None]:
        """How topics stand, asked on a connection of its own: nothing waits behind it."""
        return await kafka_logs.topic_logs(await self._asking(), names)

    async def members_called(self, group: str, instance: str) -> int:
        """How many members of a group have a name."""
        _, members = await kafka_group.members_called(await self._asking(), group, instance)
        return len(members)

    async def _asking(self) -> AIOKafkaClient:
        async with self._asking_first:
            if self._asker is None:
                asker = AIOKafkaClient(**self.settings.options())
                await asker.bootstrap()
                self._asker = asker
            return self._asker

    async def topics(self, prefix: str) -> list[str]:
        """Names of the topics that begin so."""
        assert self._admin is not None
        return [name for name in await self._admin.list_topics() if name.startswith(prefix)]

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Delete the topics, those that exist."""
        assert self._admin is not None
        answer = await self._admin.delete_topics(list(names))
        for name, code in answer.topic_error_codes:
            error = for_code(code)
            if error in REFUSALS:
                raise missing("Delete", error(), name)
            if code and error is not UnknownTopicOrPartitionError:
                raise error(f"topic {name} could not be deleted")

    # ------------------------------------------------------------------ writing

    async def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None
    ) -> asyncio.Future[Any]:
        """Hand a record over, in order per partition; the future is its acknowledgement."""
        assert self._producer is not None
        self._written.add(topic)
        size = len(value or b"") + len(key or b"")
        if size > RECORD_BYTES_MAX:
            raise DataError(
                f"{topic}-{partition}: a record of {size} bytes exceeds {RECORD_BYTES_MAX}"
            )
        if self._producer.client.cluster.partitions_for_topic(topic) is None:
            await self._place(topic, partition, SENT_WITHIN_S)  # it would look for half a minute
        try:
            future: asyncio.Future[Any] = await self._producer.send(
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
        consumer = self._reader()
        await consumer.start()
        try:
            ends = await consumer.end_offsets(places)
        finally:
            await consumer.stop()
        return [ends[place] for place in places]

    async def read(
        self, topic: str, partition: int, offset: int = 0, *, follow: bool = False
    ) -> AsyncIterator[StoredRecord]:
        """Records from an offset to the present end, or on and on.

        Who follows a topic that is not there yet waits for it, though not for ever.
        """
        place = await self._place(topic, partition, FOLLOWED_WITHIN_S if follow else 0.0)
        consumer = self._reader()
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
            await consumer.stop()

    async def _place(self, topic: str, partition: int, within_s: float = 0.0) -> TopicPartition:
        """Wait for a partition that is not there yet: a consumer would look for it without end."""
        deadline = asyncio.get_running_loop().time() + within_s
        while partition >= (await self.partitions([topic])).get(topic, 0):
            if asyncio.get_running_loop().time() >= deadline:
                waited = f", waited {within_s:g} s for it" if within_s else ""
                raise UnknownTopicOrPartitionError(f"there is no {topic}-{partition}{waited}")
            await asyncio.sleep(TOPIC_AGAIN_S)
        return TopicPartition(topic, partition)

    def _reader(self) -> AIOKafkaConsumer:
        fetching = fetch_options(FOLLOW_WAIT_MS, self.settings.rack)
        return AIOKafkaConsumer(**self.settings.options(), **fetching)


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
]
