"""What the memory bus does beyond the port: it forgets."""

from __future__ import annotations

import pytest

from pagewake.bus.memory import MemoryBus


def test_offsets_count_on_when_records_are_forgotten() -> None:
    bus = MemoryBus()
    for record in (b"a", b"b", b"c"):
        bus.append("faults", 0, record)
    bus.forget("faults", 0, 2)
    assert bus.read("faults", 0, 2) == [b"c"]
    assert bus.append("faults", 0, b"d") == 3
    assert bus.read("faults", 0, 3) == [b"d"]


def test_forgetting_twice_or_nothing_is_harmless() -> None:
    bus = MemoryBus()
    bus.forget("faults", 0, 5)
    bus.append("faults", 0, b"a")
    bus.forget("faults", 0, 1)
    bus.forget("faults", 0, 1)
    assert bus.read("faults", 0, 1) == []


def test_what_is_forgotten_cannot_be_read() -> None:
    bus = MemoryBus()
    bus.append("faults", 0, b"a")
    bus.forget("faults", 0, 1)
    with pytest.raises(AssertionError, match="no longer holds offset 0"):
        bus.read("faults", 0, 0)
