"""What services and commands need of a bus: partitions of records, written and read.

`KafkaBus` is one.  Creating topics, connecting and the group's consumer are Kafka's own and no part
of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias


class StoredRecord(NamedTuple):
    """A record as it stands in a partition; None is a deleted key's value."""

    offset: int
    key: bytes | None
    value: bytes | None


Offsets: TypeAlias = Mapping[int, int]
"""By partition; those that the broker cannot tell at the moment are left out."""


class TopicLog(NamedTuple):
    """A topic: its id, empty if the broker says none; its first and its next offsets."""

    topic_id: str
    begins: Offsets
    ends: Offsets


class Bus(Protocol):
    """Partitions of topics: appended at the end, read from an offset."""

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        ...

    async def send(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None
    ) -> asyncio.Future[Any]:
        """Hand a record over, in order per partition; the future is its acknowledgement."""
        ...

    async def on_its_way(self) -> None:
        """What was handed over has left the process, though it may not have arrived."""
        ...

    def read(
        self, topic: str, partition: int, offset: int = 0, *, follow: bool = False
    ) -> AsyncIterator[StoredRecord]:
        """Records from an offset to the present end, or on and on."""
        ...

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record of a partition gets."""
        ...

    async def end_offsets(self, topic: str, partitions: int) -> list[int]:
        """The offsets that the next records of partitions 0 to `partitions - 1` get."""
        ...

    async def topic_logs(self, names: Iterable[str]) -> dict[str, TopicLog | None]:
        """How topics stand: None for one that is not there; left out: nobody can say now."""
        ...
