"""A question to a broker that has just died is asked again, of another as it may be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    NotControllerError,
    RequestTimedOutError,
)

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.bus.kafka_topics import Copies, KafkaTopics, TopicSpec, passes

AWAY = [
    KafkaConnectionError(),
    NodeNotReadyError(),
    RequestTimedOutError(),
    KafkaTimeoutError(),
    TimeoutError(),
    ConnectionResetError(),
    AttributeError("'NoneType' object has no attribute 'nodeId'", name="nodeId"),
]


class Admin:
    """A client that fails as told, and then answers; `refused` are codes of created topics."""

    def __init__(self, *failures: Exception, refused: tuple[int, ...] = ()) -> None:
        self.failures = list(failures)
        self.refused = list(refused)

    async def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
        if self.failures:
            raise self.failures.pop(0)
        names = [name for name in names if name == "there" or not self.refused]
        partitions = [{"leader": 1, "replicas": [1, 2], "isr": [1]}]
        return [{"topic": name, "error_code": 0, "partitions": partitions} for name in names]

    async def create_topics(self, wanted: list[object]) -> SimpleNamespace:
        code = self.refused.pop(0) if self.refused else 0
        return SimpleNamespace(topic_errors=[("t", code, "") for _ in wanted])


def topics(*failures: Exception, refused: tuple[int, ...] = ()) -> KafkaTopics:
    made = KafkaTopics(KafkaSettings())
    made._admin = Admin(*failures, refused=refused)
    return made


@pytest.mark.parametrize("away", AWAY, ids=repr)
async def test_who_is_away_is_asked_again(away: Exception) -> None:
    assert (await topics(away, away).copies(["t"]))["t"] == (2, 1)


@pytest.mark.parametrize("away", AWAY, ids=repr)
async def test_who_stays_away_is_an_error_of_kafka_and_no_other(away: Exception) -> None:
    with pytest.raises(KafkaError) as caught:
        await topics(*[away] * 9).describe(["t"], within_s=0.0)
    assert passes(caught.value)


async def test_a_refusal_is_not_waited_out() -> None:
    refusing = topics(ClusterAuthorizationFailedError())
    with pytest.raises(ClusterAuthorizationFailedError):
        await refusing.describe(["t"])


async def test_a_controller_that_is_none_any_more_is_asked_again() -> None:
    made = topics(refused=(NotControllerError.errno,))
    assert await made.create({"t": TopicSpec(1), "there": TopicSpec(1)}) == dict.fromkeys(
        ("t", "there"), Copies(2, 1)
    )
    assert made._admin.refused == []  # type: ignore[union-attr]


async def test_a_defect_of_the_client_is_not_hidden() -> None:
    with pytest.raises(AttributeError):
        await topics(AttributeError("other", name="other")).describe(["t"])


def test_a_bus_that_is_being_connected_anew_is_like_a_broker_that_is_away() -> None:
    bus = KafkaBus(KafkaSettings())
    with pytest.raises(KafkaConnectionError):
        asyncio.run(bus.send("t", 0, b""))
