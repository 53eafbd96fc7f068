"""What Kafka refuses after connecting ends a command with 69 and says what to do."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Self

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    InvalidReplicationFactorError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotControllerError,
    NotEnoughReplicasError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from pagewake.bus.kafka_rights import missing
from pagewake.cli import cluster, serve
from tests.unit.cli.support import invoke

PAGE = "docs/reference/kafka-rights.md"
TOLD = [
    (UnknownTopicOrPartitionError("there is no pagewake.a-1.apf.guest-0"),
     "topic pagewake.a-1.apf.guest of run a-1 is gone, deleted by hand"),
    (UnknownTopicOrPartitionError("there is no pagewake.a-1.faults-0"), "pagewake runs delete a-1"),
    (UnknownTopicOrPartitionError("there is no pagewake.runs-0"), "pagewake.runs is not there"),
    (TopicAuthorizationFailedError("pagewake.a-1.faults"),
     "Write on topic pagewake.a-1.faults is not allowed; docs/reference/kafka-rights.md says"),
    (missing("Read", GroupAuthorizationFailedError(), "pagewake-host"),
     "Read on group pagewake-host is not allowed; docs/reference/kafka-rights.md says"),
    (RequestTimedOutError(), "does not answer any more (RequestTimedOutError()): bring it back"),
    (NodeNotReadyError("node id 2"), "does not answer any more (NodeNotReadyError"),
    (TimeoutError(), "does not answer any more (TimeoutError()): bring it back"),
    (ConnectionResetError(), "does not answer any more (ConnectionResetError()"),
    (NotEnoughReplicasError(), "min.insync.replicas: bring back the brokers that are away"),
    (LeaderNotAvailableError("pagewake.runs"), "without a leader: bring back the brokers"),
    (GroupCoordinatorNotAvailableError(), "no coordinator of its groups: bring back"),
    (NotControllerError(), "is electing a controller: try again"),
    (InvalidReplicationFactorError(), "does not do what it is asked (InvalidReplicationFactor"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "told"), TOLD, ids=lambda each: str(each)[:40])
@pytest.mark.parametrize("command", [("runs", "list"), ("serve", "host")], ids=" ".join)
def test_what_kafka_refuses_is_no_defect(
    command: tuple[str, ...],
    error: Exception,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Refusing:
        """The bus of a broker that refuses whatever comes first."""

        def __init__(self, *_: object, **__: object) -> None:
            """Anything will do."""

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            """Nothing is open."""

        async def create_topics(self, _: object) -> None:
            raise error

    monkeypatch.setattr(cluster, "KafkaBus", Refusing)
    monkeypatch.setattr(serve, "_serve", lambda *_: Refusing().create_topics(None))
    monkeypatch.setattr(serve, "log_as_json", lambda _: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    outcome = invoke(capsys, *command)
    assert (outcome.code, outcome.out) == (69, "")
    assert outcome.err.startswith("pagewake: error: ")
    assert told in outcome.err


def test_the_page_about_rights_is_where_the_message_says() -> None:
    assert (Path(__file__).parents[3] / PAGE).is_file()
