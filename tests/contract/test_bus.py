"""What every bus does."""

from __future__ import annotations

import pytest

from pagewake.bus.memory import MemoryBus
from pagewake.bus.port import Bus


@pytest.fixture(params=[MemoryBus], ids=["memory"])
def bus(request: pytest.FixtureRequest) -> Bus:
    made: Bus = request.param()
    return made


def test_records_are_read_in_the_order_in_which_they_were_appended(bus: Bus) -> None:
    assert [bus.append("faults", 0, record) for record in (b"a", b"b", b"c")] == [0, 1, 2]
    assert bus.read("faults", 0, 0) == [b"a", b"b", b"c"]


def test_reading_begins_where_it_is_told(bus: Bus) -> None:
    for record in (b"a", b"b", b"c"):
        bus.append("faults", 0, record)
    assert bus.read("faults", 0, 2) == [b"c"]
    assert bus.read("faults", 0, 3) == []


def test_partitions_and_topics_are_apart(bus: Bus) -> None:
    bus.append("faults", 0, b"a")
    bus.append("faults", 1, b"b")
    bus.append("journal", 0, b"c")
    assert bus.read("faults", 0, 0) == [b"a"]
    assert bus.read("faults", 1, 0) == [b"b"]
    assert bus.read("journal", 0, 0) == [b"c"]
    assert bus.read("journal", 1, 0) == []


def test_what_was_read_does_not_change_behind_the_readers_back(bus: Bus) -> None:
    bus.append("faults", 0, b"a")
    records = bus.read("faults", 0, 0)
    bus.append("faults", 0, b"b")
    assert records == [b"a"]
