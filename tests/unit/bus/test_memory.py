"""What the memory bus does beyond the port: it forgets."""

from __future__ import annotations

import pytest

from pagewake.bus.memory import MemoryBus


def test_offsets_count_on_when_records_are_taken() -> None:
    bus = MemoryBus()
    for record in (b"a", b"b"):
        bus.append("faults", 0, record)
    assert bus.take("faults", 0) == [b"a", b"b"]
    assert bus.append("faults", 0, b"c") == 2
    assert bus.read("faults", 0, 2) == [b"c"]


def test_each_record_is_taken_once() -> None:
    bus = MemoryBus()
    assert bus.take("faults", 0) == []
    bus.append("faults", 0, b"a")
    bus.append("faults", 1, b"b")
    assert bus.take("faults", 0) == [b"a"]
    assert bus.take("faults", 0) == []
    assert bus.take("faults", 1) == [b"b"]


def test_what_is_taken_cannot_be_read() -> None:
    bus = MemoryBus()
    bus.append("faults", 0, b"a")
    bus.take("faults", 0)
    with pytest.raises(AssertionError, match="no longer holds offset 0"):
        bus.read("faults", 0, 0)
