"""What every bus does, asked of the memory bus and of a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pagewake.bus.kafka import TopicSpec
from pagewake.bus.kafka_settings import RECORD_BYTES_MAX
from pagewake.bus.port import AppliedCommit, Inbox, Outbox
from pagewake.events.codec import FAULTS
from pagewake.events.types import PagesEvicted, WindowClosed
from tests.support.buses import InMemory, Partitions, in_kafka
from tests.support.processes import needs_kafka

KAFKA = pytest.param("kafka", marks=[pytest.mark.broker, needs_kafka])


@pytest.fixture(params=["memory", KAFKA])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Partitions]:
    if request.param == "memory":
        yield InMemory()
        return
    async with in_kafka(faults=TopicSpec(2), journal=TopicSpec(2)) as place:
        yield place


async def test_records_are_read_in_the_order_in_which_they_were_appended(bus: Partitions) -> None:
    assert [await bus.append("faults", 0, record) for record in (b"a", b"b", b"c")] == [0, 1, 2]
    assert await bus.read("faults", 0) == [(0, b"a"), (1, b"b"), (2, b"c")]


async def test_order_holds_when_nobody_waits_for_acknowledgements(bus: Partitions) -> None:
    records = [b"%d" % number for number in range(500)]
    assert await bus.append_all("faults", 0, records) == list(range(500))
    assert await bus.read("faults", 0) == list(enumerate(records))


async def test_reading_begins_where_it_is_told(bus: Partitions) -> None:
    await bus.append_all("faults", 0, [b"a", b"b", b"c"])
    assert await bus.read("faults", 0, 2) == [(2, b"c")]
    assert await bus.read("faults", 0, 3) == []


async def test_what_was_read_can_be_read_again(bus: Partitions) -> None:
    await bus.append_all("faults", 0, [b"a", b"b"])
    assert await bus.read("faults", 0) == await bus.read("faults", 0)


async def test_two_readers_do_not_take_from_each_other(bus: Partitions) -> None:
    records = [b"%d" % number for number in range(50)]
    await bus.append_all("faults", 0, records)
    whole, half = await asyncio.gather(bus.read("faults", 0), bus.read("faults", 0, 25))
    assert whole == list(enumerate(records))
    assert half == whole[25:]


async def test_partitions_and_topics_are_apart(bus: Partitions) -> None:
    await bus.append("faults", 0, b"a")
    await bus.append("faults", 1, b"b")
    await bus.append("journal", 0, b"c")
    assert await bus.read("faults", 0) == [(0, b"a")]
    assert await bus.read("faults", 1) == [(0, b"b")]
    assert await bus.read("journal", 0) == [(0, b"c")]
    assert await bus.read("journal", 1) == []


async def test_what_was_read_does_not_change_behind_the_readers_back(bus: Partitions) -> None:
    await bus.append("faults", 0, b"a")
    records = await bus.read("faults", 0)
    await bus.append("faults", 0, b"b")
    assert records == [(0, b"a")]


async def test_a_record_may_be_empty_any_bytes_or_as_large_as_allowed(bus: Partitions) -> None:
    records = [b"", bytes(range(256)), b"\n" * 1000, b"x" * RECORD_BYTES_MAX]
    await bus.append_all("faults", 0, records)
    assert [record for _, record in await bus.read("faults", 0)] == records


# ---------------------------------------------------------------------- commits


def outbox() -> Outbox:
    return Outbox("r", "guest-0", FAULTS, 0, "1.0")


def events_of(window: int, evicted_pages: int) -> list[PagesEvicted | WindowClosed]:
    gfns = list(range(evicted_pages))
    return [
        *(PagesEvicted(window, "vm-0", n, gfns, [], []) for n in range(3)),
        WindowClosed(window, window + 1),
    ]


async def applied_from(bus: Partitions, inbox: Inbox) -> list[AppliedCommit]:
    accepted = [inbox.accept(record) for _, record in await bus.read(FAULTS, 0)]
    return [applied for applied in accepted if applied is not None]


async def test_commits_arrive_whole_also_in_parts(bus: Partitions) -> None:
    sender = outbox()
    sent = [events_of(0, 3), events_of(1, 60_000), events_of(2, 3)]
    for window, events in enumerate(sent):
        parts = [one.record for one in sender.encode(window, events)]
        assert (len(parts) > 1) == (window == 1)
        await bus.append_all(FAULTS, 0, parts)
    applied = await applied_from(bus, Inbox(FAULTS, 0, "r"))
    assert [one.events for one in applied] == sent


async def test_a_sender_that_starts_over_changes_nothing(bus: Partitions) -> None:
    for windows in (2, 3):  # the second says again what the first said, and one commit more
        sender = outbox()
        for window in range(windows):
            parts = [one.record for one in sender.encode(window, events_of(window, 60_000))]
            await bus.append_all(FAULTS, 0, parts[: 1 if windows == 2 and window else None])
    inbox = Inbox(FAULTS, 0, "r")
    assert [one.seq for one in await applied_from(bus, inbox)] == [0, 1, 2]
    assert inbox.duplicates > 0
