"""The bus inside one process: partitions are lists of records.

What its single reader has read can be dropped with `forget`, so a long run stays small; offsets
count on.
"""

from __future__ import annotations


class MemoryBus:
    """Implements `Bus`."""

    __slots__ = ("_first", "_records")

    def __init__(self) -> None:
        self._first: dict[tuple[str, int], int] = {}
        self._records: dict[tuple[str, int], list[bytes]] = {}

    def append(self, topic: str, partition: int, record: bytes) -> int:
        """Append a record; returns its offset."""
        at = (topic, partition)
        records = self._records.get(at)
        if records is None:
            records = self._records[at] = []
            self._first[at] = 0
        records.append(record)
        return self._first[at] + len(records) - 1

    def read(self, topic: str, partition: int, offset: int) -> list[bytes]:
        """The records that stand at `offset` and behind it."""
        at = (topic, partition)
        skipped = offset - self._first.get(at, 0)
        assert skipped >= 0, f"{topic}-{partition} no longer holds offset {offset}"
        return self._records.get(at, [])[skipped:]

    def forget(self, topic: str, partition: int, offset: int) -> None:
        """Drop what stands before `offset`."""
        at = (topic, partition)
        records = self._records.get(at, [])
        dropped = min(offset - self._first.get(at, 0), len(records))
        if dropped > 0:
            del records[:dropped]
            self._first[at] += dropped
