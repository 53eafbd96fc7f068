"""What only Kafka has to do: topics, keys, following, groups, and refusing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.conn import AIOKafkaConnection

from pagewake.bus.kafka import (
    RECORD_BYTES_MAX,
    Copies,
    KafkaBus,
    KafkaError,
    KafkaSettings,
    TopicSpec,
    group_consumer,
)
from pagewake.bus.kafka_settings import fetch_options
from pagewake.bus.partitions import StoredRecord
from pagewake.errors import BrokerError, ConfigError, DataError
from tests.support.buses import InKafka, in_kafka
from tests.support.processes import KAFKA, needs_kafka

REBALANCED_S = 30.0
COMPACTED_S = 60.0


@pytest.fixture
async def place() -> AsyncIterator[InKafka]:
    async with in_kafka(faults=TopicSpec(4), snapshots=TopicSpec(1, compacted=True)) as made:
        yield made


# ---------------------------------------------------------------------- without a broker


async def test_without_a_broker_it_gives_up_in_time_and_says_what_to_do() -> None:
    bus = KafkaBus(KafkaSettings(bootstrap="127.0.0.1:1", wait_s=0.5))
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1 within 0\.5 s: .*make brokers"):
        await bus.start()


def test_sasl_without_a_password_is_a_mistake_of_configuration() -> None:
    with pytest.raises(ConfigError, match="PAGEWAKE_KAFKA_PASSWORD"):
        KafkaSettings(security_protocol="SASL_SSL", username="u").options()


def test_an_authority_that_cannot_be_read_is_a_mistake_of_configuration() -> None:
    with pytest.raises(ConfigError, match="PAGEWAKE_KAFKA_CAFILE=/nowhere"):
        KafkaSettings(security_protocol="SSL", cafile="/nowhere").options()


def test_tls_checks_certificates() -> None:
    context = KafkaSettings(security_protocol="SSL").options()["ssl_context"]
    assert context.check_hostname


def test_a_rack_is_told_to_who_is_read_from() -> None:
    assert fetch_options(1, "a")["client_rack"] == "a"
    assert fetch_options(1)["client_rack"] is None


# ---------------------------------------------------------------------- topics


@pytest.mark.broker
@needs_kafka
class TestTopics:
    """Created with their partition counts, never by accident."""

    async def test_creating_them_again_changes_nothing(self, place: InKafka) -> None:
        name = place.name("faults")
        await place.append("faults", 3, b"a")
        await place.bus.create_topics({name: TopicSpec(4)})
        assert await place.bus.partitions([name]) == {name: 4}
        assert await place.read("faults", 3) == [(0, b"a")]

    async def test_another_partition_count_is_refused(self, place: InKafka) -> None:
        with pytest.raises(ConfigError, match="exists with 4 partitions and is needed with 5"):
            await place.bus.create_topics({place.name("faults"): TopicSpec(5)})

    async def test_it_has_as_many_copies_as_was_asked_for(self) -> None:
        name = f"pagewake.test-{uuid4().hex[:12]}.other"
        async with KafkaBus(KafkaSettings(bootstrap=KAFKA, replication=1)) as bus:
            assert await bus.create_topics({name: TopicSpec(2)}) == {name: Copies(1, 1)}
            await bus.delete_topics([name])

    async def test_more_copies_than_brokers_are_a_mistake_of_configuration(self) -> None:
        async with KafkaBus(KafkaSettings(bootstrap=KAFKA, replication=100)) as bus:
            refused = rf"REPLICATION=100: .* set it to {await bus.brokers()} at most"
            with pytest.raises(ConfigError, match=refused):
                await bus.create_topics({f"pagewake.test-{uuid4().hex}.other": TopicSpec(1)})

    async def test_what_the_broker_refuses_is_an_error(self, place: InKafka) -> None:
        with pytest.raises(KafkaError, match="could not be created"):
            await place.bus.create_topics({"no name for a topic": TopicSpec(1)})

    async def test_a_topic_that_is_not_there_is_neither_made_nor_waited_for(
        self, place: InKafka
    ) -> None:
        with pytest.raises(KafkaError, match="there is no"):
            await asyncio.wait_for(place.read("never-made", 0), 5)
        assert await place.bus.partitions([place.name("never-made")]) == {}

    async def test_a_partition_that_is_not_there_is_not_waited_for(self, place: InKafka) -> None:
        with pytest.raises(KafkaError, match="there is no"):
            await asyncio.wait_for(place.read("faults", 4), 5)

    async def test_deleting_what_is_not_there_is_fine(self, place: InKafka) -> None:
        await place.bus.delete_topics([place.name("never-made")])


# ---------------------------------------------------------------------- records


@pytest.mark.broker
@needs_kafka
class TestRecords:
    """Keys, ends, following and limits."""

    async def test_keys_and_deletions_come_back(self, place: InKafka) -> None:
        name = place.name("snapshots")
        for key, value in ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None)):
            await (await place.bus.send(name, 0, value, key))
        latest: dict[bytes | None, bytes | None] = {}
        async for stored in place.bus.read(name, 0):
            latest[stored.key] = stored.value
        assert latest == {b"a": b"3", b"b": None}

    async def test_what_is_on_its_way_has_been_written_to_the_socket(
        self, place: InKafka, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once the partition is known, and nothing else of it is under way."""
        await (await place.bus.send(place.name("faults"), 0, b"first"))
        written: list[object] = []
        send = AIOKafkaConnection.send

        def noting(connection: AIOKafkaConnection, request: object, **options: object) -> object:
            written.append(request)
            return send(connection, request, **options)

        monkeypatch.setattr(AIOKafkaConnection, "send", noting)
        await place.bus.send(place.name("faults"), 0, b"second")
        assert written == []
        await place.bus.on_its_way()
        assert [type(request).__name__ for request in written] == ["ProduceRequest"]

    async def test_the_end_is_where_the_next_record_will_stand(self, place: InKafka) -> None:
        name = place.name("faults")
        assert await place.bus.end_offset(name, 0) == 0
        await place.append_all("faults", 0, [b"a", b"b"])
        assert await place.bus.end_offset(name, 0) == 2

    async def test_a_follower_sees_what_comes_later(self, place: InKafka) -> None:
        await place.append("faults", 0, b"a")
        followed = aiter(place.bus.read(place.name("faults"), 0, follow=True))
        assert await asyncio.wait_for(anext(followed), 10) == StoredRecord(0, None, b"a")
        later = asyncio.ensure_future(anext(followed))
        await place.append("faults", 0, b"b")
        assert await asyncio.wait_for(later, 10) == StoredRecord(1, None, b"b")

    async def test_a_record_above_the_limit_is_refused_and_no_other_with_it(
        self, place: InKafka
    ) -> None:
        with pytest.raises(DataError, match="1000001 bytes exceeds 1000000"):
            await place.append("faults", 0, b"x" * (RECORD_BYTES_MAX + 1))
        assert await place.append("faults", 0, b"y") == 0

    async def test_many_large_records_wait_for_room_and_all_arrive(self, place: InKafka) -> None:
        records = [bytes([number]) * 400_000 for number in range(40)]
        await asyncio.wait_for(place.append_all("faults", 0, records), 60)
        assert [record for _, record in await place.read("faults", 0)] == records


# ---------------------------------------------------------------------- ownership


class Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """One of a group: what it owns, and what it reads from where it was told to begin."""

    def __init__(self, bus: KafkaBus, group: str, begin: int) -> None:
        self.consumer: AIOKafkaConsumer = group_consumer(bus.settings, group)
        self.begin = begin
        self.owned: set[int] = set()
        self.read: list[tuple[int, int]] = []

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Let go."""
        self.owned.clear()

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Begin where a snapshot would say."""
        self.owned = {place.partition for place in assigned}
        for place in assigned:
            self.consumer.seek(place, self.begin)

    async def poll(self) -> None:
        """Read on and on."""
        while True:
            for place, records in (await self.consumer.getmany(timeout_ms=50)).items():
                self.read.extend((place.partition, record.offset) for record in records)


@asynccontextmanager
async def member(place: InKafka, group: str, begin: int = 0) -> AsyncIterator[Member]:
    """In the group until the end of the block."""
    one = Member(place.bus, group, begin)
    await one.consumer.start()
    one.consumer.subscribe(topics=[place.name("faults")], listener=one)
    polling = asyncio.create_task(one.poll())
    try:
        yield one
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await one.consumer.stop()


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again, for a bounded time."""
    async with asyncio.timeout(REBALANCED_S):
        while not holds():  # noqa: ASYNC110 - the members report to nobody
            await asyncio.sleep(0.05)


async def until_shared(*members: Member) -> None:
    """All four partitions are owned, each by one member, and every member has its share."""
    await until(
        lambda: (
            sorted(n for one in members for n in one.owned) == [0, 1, 2, 3]
            and all(one.owned for one in members)
        )
    )


async def read_by_member(
    place: InKafka, group: str, begin: int, records: int
) -> list[tuple[int, int]]:
    """Partitions and offsets of what a lone member reads."""
    async with member(place, group, begin) as one:
        await until(lambda: len(one.read) >= records)
    return one.read


@pytest.mark.broker
@needs_kafka
class TestOwnership:
    """A group decides who owns what, and nothing else."""

    async def test_partitions_are_shared_and_fall_to_who_stays(self, place: InKafka) -> None:
        group = f"test-{uuid4().hex}"
        async with member(place, group) as first:
            await until_shared(first)
            async with member(place, group) as second:
                await until_shared(first, second)
                assert len(first.owned) == len(second.owned) == 2
            await until_shared(first)

    async def test_an_owner_begins_where_it_says_and_a_group_remembers_nothing(
        self, place: InKafka
    ) -> None:
        group = f"test-{uuid4().hex}"
        for partition in range(4):
            await place.append_all("faults", partition, [b"%d" % number for number in range(10)])
        for begin in (0, 7):
            read = await read_by_member(place, group, begin, 4 * (10 - begin))
            assert sorted(read) == [(n, offset) for n in range(4) for offset in range(begin, 10)]

    async def test_records_of_each_partition_come_in_order(self, place: InKafka) -> None:
        for partition in range(4):
            await place.append_all("faults", partition, [b"x"] * 100)
        read = await read_by_member(place, f"test-{uuid4().hex}", 0, 400)
        for partition in range(4):
            offsets = [offset for number, offset in read if number == partition]
            assert all(after == before + 1 for before, after in pairwise(offsets))


@needs_kafka
@pytest.mark.broker
async def test_old_snapshots_do_not_pile_up(place: InKafka) -> None:
    """Kafka compacts all but the newest segment, which by its own default is a gigabyte."""
    name, records = place.name("snapshots"), 60
    for _ in range(records):
        await (await place.bus.send(name, 0, bytes(900_000), b"a/0"))

    async def kept() -> int:
        return len([stored async for stored in place.bus.read(name, 0)])

    deadline_s = asyncio.get_running_loop().time() + COMPACTED_S
    while await kept() > records // 2:
        assert asyncio.get_running_loop().time() < deadline_s, "nothing was compacted"
        await asyncio.sleep(1.0)
