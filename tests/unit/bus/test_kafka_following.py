"""Who follows a topic that is not there yet waits for it; who reads one is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace

import pytest
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.bus.kafka_rights import MissingRightError

TOPIC = "pagewake.runs"


class Late(KafkaBus):
    """A broker that has the topic when asked for the fourth time."""

    def __init__(self) -> None:
        super().__init__(KafkaSettings())
        self.asked = 0

    async def partitions(self, names: Iterable[str]) -> dict[str, int]:
        self.asked += 1
        return dict.fromkeys(names, 1) if self.asked > 3 else {}


def test_a_topic_that_comes_in_time_is_read() -> None:
    bus = Late()
    place = asyncio.run(bus._place(TOPIC, 0, within_s=30.0))
    assert (place.topic, place.partition, bus.asked) == (TOPIC, 0, 4)


def test_without_patience_a_missing_topic_is_an_error_that_names_it() -> None:
    bus = Late()
    with pytest.raises(UnknownTopicOrPartitionError, match=rf"there is no {TOPIC}-0$"):
        asyncio.run(bus._place(TOPIC, 0))
    assert bus.asked == 1


def test_patience_ends_and_the_error_says_how_much_there_was() -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match=r"waited 0.05 s for it"):
        asyncio.run(Late()._place(TOPIC, 0, within_s=0.05))


class Closed:
    """An admin client whose broker shows none of its topics."""

    async def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
        code = TopicAuthorizationFailedError.errno
        return [{"topic": name, "error_code": code, "partitions": []} for name in names]


def test_a_topic_that_may_not_be_looked_at_is_not_waited_for() -> None:
    bus = KafkaBus(KafkaSettings())
    bus._admin = Closed()
    with pytest.raises(MissingRightError, match=f"Describe on topic {TOPIC}"):
        asyncio.run(bus._place(TOPIC, 0, within_s=30.0))


class Forgetful:
    """A producer whose broker has no such topic, and which does not say which."""

    client = SimpleNamespace(cluster=SimpleNamespace(partitions_for_topic=lambda _: {0, 1, 2}))

    async def send(self, *_: object, **__: object) -> None:
        raise UnknownTopicOrPartitionError


def test_a_record_for_a_topic_that_is_gone_is_an_error_that_names_it() -> None:
    bus = KafkaBus(KafkaSettings())
    bus._producer = Forgetful()
    with pytest.raises(UnknownTopicOrPartitionError, match=rf"there is no {TOPIC}-2$"):
        asyncio.run(bus.send(TOPIC, 2, b""))
