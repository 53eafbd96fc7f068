"""Which right is missing, when a Kafka that enforces ACLs refuses something.

Kafka answers a refused request with the topic or the group, never with the operation; so whoever
asks says what it needs.  The least rights of each process stand in `deploy/kafka/acls.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

REFUSALS: dict[type[KafkaError], str] = {
    TopicAuthorizationFailedError: "topic",
    GroupAuthorizationFailedError: "group",
    ClusterAuthorizationFailedError: "cluster",
}
"""By what Kafka answers: which kind of resource it is about."""


class MissingRightError(KafkaError):  # type: ignore[misc]
    """The operation and the resource that Kafka does not allow, as an ACL names them."""

    def __str__(self) -> str:
        return f"{self.args[0]} is not allowed"


@contextmanager
def needing(operation: str, name: str) -> Iterator[None]:
    """Whatever is refused in the block is `operation`, on this topic or group."""
    try:
        yield
    except tuple(REFUSALS) as error:
        raise missing(operation, error, name) from error


def missing(operation: str, error: KafkaError, name: str) -> MissingRightError:
    """The same for an error that was raised already."""
    return MissingRightError(f"{operation} on {REFUSALS[type(error)]} {name}")
