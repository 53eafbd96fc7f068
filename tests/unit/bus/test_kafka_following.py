"""Who follows a topic that is not there yet waits for it; who reads one is told at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from pagewake.bus import kafka_topics
from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.bus.kafka_rights import MissingRightError
from pagewake.bus.kafka_topics import KafkaTopics

TOPIC = "pagewake.runs"
LED = {"leader": 1, "replicas": [1], "isr": [1]}


class Late:
    """An admin client whose brokers have the topic when asked for the fourth time."""

    def __init__(self, *, leader: int = 1, brokers: int = 1) -> None:
        self.asked = 0
        self.brokers = brokers
        self.leader = leader

    async def describe_cluster(self) -> dict[str, object]:
        return {"brokers": [object()] * self.brokers}

    async def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
        self.asked += 1
        partitions = [LED | {"leader": self.leader}] if self.asked > 3 else []
        return [{"topic": name, "error_code": 0, "partitions": partitions} for name in names]


def topics(admin: object) -> KafkaTopics:
    made = KafkaTopics(KafkaSettings())
    made._admin = admin
    return made


def test_a_topic_that_comes_in_time_is_read() -> None:
    admin = Late()
    asyncio.run(topics(admin).until_led(TOPIC, 0, within_s=30.0))
    assert admin.asked == 4


def test_without_patience_a_missing_topic_is_an_error_that_names_it() -> None:
    admin = Late()
    with pytest.raises(UnknownTopicOrPartitionError, match=rf"there is no {TOPIC}-0$"):
        asyncio.run(topics(admin).until_led(TOPIC, 0, 0.0))
    assert admin.asked == 1


def test_of_several_brokers_some_may_not_have_heard_of_it_yet() -> None:
    admin = Late(brokers=3)
    asyncio.run(topics(admin).until_led(TOPIC, 0, 0.0))
    assert admin.asked == 4


def test_patience_ends_and_the_error_says_how_much_there_was() -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match=r"waited 0.05 s for it"):
        asyncio.run(topics(Late()).until_led(TOPIC, 0, within_s=0.05))


def test_a_partition_without_a_leader_is_waited_for_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_topics, "PATIENCE_S", 0.3)
    with pytest.raises(LeaderNotAvailableError, match=rf"{TOPIC} has partitions without a leader"):
        asyncio.run(topics(Late(leader=-1)).until_led(TOPIC, 0, within_s=30.0))


class Closed:
    """An admin client whose broker shows none of its topics."""

    async def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
        code = TopicAuthorizationFailedError.errno
        return [{"topic": name, "error_code": code, "partitions": []} for name in names]


def test_a_topic_that_may_not_be_looked_at_is_not_waited_for() -> None:
    with pytest.raises(MissingRightError, match=f"Describe on topic {TOPIC}"):
        asyncio.run(topics(Closed()).until_led(TOPIC, 0, within_s=30.0))


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
