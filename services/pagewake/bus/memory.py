"""The bus inside one process: partitions are lists of records.

A partition with a single reader can be emptied by `take`, so a long run stays small.
"""

from __future__ import annotations

from collections import defaultdict


class MemoryBus:
    """Partitions inside this process: each is a list."""

    __slots__ = ("_first", "_records")

    def __init__(self) -> None:
        self._first: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._records: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)

    def append(self, topic: str, partition: int, record: bytes) -> int:
        """Append a record; returns its offset."""
        at = (topic, partition)
        records = self._records[at]
        records.append(record)
        return self._first[at] + len(records) - 1

    def read(self, topic: str, partition: int, offset: int) -> list[bytes]:
        """The records that stand at `offset` and behind it."""
        at = (topic, partition)
        skipped = offset - self._first.get(at, 0)
        assert skipped >= 0, f"{topic}-{partition} no longer holds offset {offset}"
        return self._records.get(at, [])[skipped:]

    def take(self, topic: str, partition: int) -> list[bytes]:
        """What stands there, for its single reader: the bus forgets it, offsets count on."""
        at = (topic, partition)
        records = self._records.get(at)
        if not records:
            return []
        self._records[at] = []
        self._first[at] += len(records)
        return records
