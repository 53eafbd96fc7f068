"""What Kafka refuses a command or a service that has reached it, in words that a person can act on.

A missing topic or right is no defect of pagewake: each becomes a BrokerError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NoBrokersAvailable,
    NodeNotReadyError,
    NotControllerError,
    NotCoordinatorForGroupError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from pagewake.bus.kafka_rights import MissingRightError, missing
from pagewake.errors import BrokerError
from pagewake.participants.plan import PREFIX, RUNS_TOPIC

RIGHTS = "docs/reference/kafka-rights.md says which ACLs each process needs"
SILENCE = (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    NoBrokersAvailable,
    RequestTimedOutError,
    OSError,
)
FEW = "bring back the brokers that are away, or replace them"
LACKS: tuple[tuple[type[KafkaError], str], ...] = (
    (NotEnoughReplicasError, f"has fewer copies in sync than min.insync.replicas: {FEW}"),
    (NotEnoughReplicasAfterAppendError, f"has fewer copies in sync than it needs: {FEW}"),
    (LeaderNotAvailableError, f"has partitions without a leader: {FEW}"),
    (NotLeaderForPartitionError, "is electing leaders: try again in some seconds"),
    (GroupCoordinatorNotAvailableError, f"has no coordinator of its groups: {FEW}"),
    (NotCoordinatorForGroupError, "is electing coordinators: try again in some seconds"),
    (NotControllerError, "is electing a controller: try again in some seconds"),
)
"""What the brokers lack when one of them is away, and what to do."""
_TOPIC = re.compile(rf"{PREFIX}\.(?P<run>[A-Za-z0-9-]+)\.[a-z.]*[a-z]|{RUNS_TOPIC}\b")


@contextmanager
def told_to_a_person(kafka: str) -> Iterator[None]:
    """Errors of the client become a BrokerError; `kafka` is the address that was asked."""
    try:
        yield
    except (KafkaError, ConnectionError, TimeoutError) as error:
        raise BrokerError(_told(error, kafka)) from error


def _told(error: Exception, kafka: str) -> str:
    topic = _TOPIC.search(str(error))
    name = f" {topic[0]}" if topic else ""
    if isinstance(error, TopicAuthorizationFailedError):  # all else says itself what it needs
        error = missing("Write", error, str(error.args[0] if error.args else "?"))
    if isinstance(error, MissingRightError):
        return f"Kafka at {kafka} refuses something: {error}; {RIGHTS}"
    if isinstance(error, SILENCE):
        return f"Kafka at {kafka} does not answer any more ({error!r}): bring it back, try again"
    for kind, lack in LACKS:
        if isinstance(error, kind):
            return f"Kafka at {kafka} {lack} ({error!r})"
    if not isinstance(error, UnknownTopicOrPartitionError) or not topic:
        return f"Kafka at {kafka} does not do what it is asked ({error!r}): its log says why"
    run = topic["run"]
    if not run:
        return f"topic{name} is not there: submit a run, or start a service; both create it"
    return (
        f"topic{name} of run {run} is gone, deleted by hand: nothing can be read of the run any"
        f" more; take away what is left of it with: pagewake runs delete {run}"
    )
