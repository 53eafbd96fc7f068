"""What a service needs of a broker; `bus.kafka` fits, and so does an in-memory twin in the tests.

Everything here may raise BrokerError, which says what could not be done, where and what to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

TopicPartition: TypeAlias = tuple[str, int]


class Received(NamedTuple):
    """A record and where it stands."""

    offset: int
    key: bytes | None
    value: bytes | None


class Admin(Protocol):
    """Topics: created and deleted explicitly, never by use."""

    async def create_topics(self, topics: Mapping[str, tuple[int, bool]]) -> None:
        """Name to (partitions, compacted); what is there already with these counts is fine."""
        ...

    async def delete_topics(self, names: Sequence[str]) -> None:
        """Delete those that are there."""
        ...

    async def existing(self, names: Sequence[str]) -> set[str]:
        """Those of the names that are there."""
        ...


class Producer(Protocol):
    """Appends records; per partition in the order of the calls."""

    async def send(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        """Returns the offset once the record is acknowledged."""
        ...

    async def send_nowait(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None
    ) -> Awaitable[int]:
        """Returns once the record is accepted for sending: waits while too many are in flight."""
        ...


class Reader(Protocol):
    """One partition from an offset on, for whoever owns nothing."""

    async def end_offset(self) -> int:
        """The offset behind the last record now."""
        ...

    def __aiter__(self) -> AsyncIterator[Received]: ...

    async def close(self) -> None: ...


class Ownership(Protocol):
    """A member of a consumer group: what it is assigned it owns, until it is revoked."""

    async def subscribe(self, topics: Sequence[str]) -> None:
        """The topics to share with the other members of the group, instead of those before."""
        ...

    async def getmany(self, timeout_s: float) -> Mapping[TopicPartition, Sequence[Received]]:
        """New records of owned partitions; empty when there are none in time."""
        ...

    async def end_offset(self, at: TopicPartition) -> int:
        """The offset behind the last record of a partition now."""
        ...

    def pause(self, at: TopicPartition) -> None:
        """Fetch nothing more of an owned partition."""
        ...

    async def close(self) -> None:
        """Leave the group."""
        ...


Assigned: TypeAlias = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
Revoked: TypeAlias = Callable[[Sequence[TopicPartition]], Awaitable[None]]


class Broker(Protocol):
    """Where all of these come from."""

    @property
    def admin(self) -> Admin: ...

    @property
    def producer(self) -> Producer: ...

    async def reader(self, topic: str, partition: int, offset: int = 0) -> Reader: ...

    async def ownership(self, group: str, assigned: Assigned, revoked: Revoked) -> Ownership: ...
