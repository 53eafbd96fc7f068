"""A member of a consumer group, over a consumer of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError

from pagewake.cluster.membership import AGAIN_S, FAILURES_MAX, STOP_S, Membership
from tests.support.clock import FakeClock

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class FakeConsumer:
    """Keeps what it was told; `broken` reads nothing and cannot be stopped."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.places: set[TopicPartition] = set()
        self.paused: set[TopicPartition] = set()
        self.offsets: dict[TopicPartition, int] = {}
        self.stopped = False
        self.broken = False

    def subscribe(self, topics: list[str], listener: object) -> None:
        self.topics = topics

    def unsubscribe(self) -> None:
        self.topics = []

    def assignment(self) -> set[TopicPartition]:
        return self.places

    def pause(self, place: TopicPartition) -> None:
        self.paused.add(place)

    def resume(self, place: TopicPartition) -> None:
        self.paused.discard(place)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.offsets[place] = offset

    async def getmany(self, **asked: Any) -> dict[TopicPartition, list[object]]:
        if self.broken:
            raise IllegalStateError("its group routine has failed")
        return {A: [asked]}

    async def stop(self) -> None:
        if self.broken:
            await asyncio.get_running_loop().create_future()
        self.stopped = True


class Holder:
    """Owns what it is told that it may keep, at offsets of its own."""

    def __init__(self) -> None:
        self.offsets: dict[TopicPartition, int] = {}
        self.handed_over: list[TopicPartition] = []

    async def hand_over(self, places: Iterable[TopicPartition]) -> None:
        self.handed_over += places

    def keep(self, places: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.offsets = {place: at for place, at in self.offsets.items() if place in places}
        return self.offsets


class Group:
    """A membership and what it deals with; `refusals` tries to join fail."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.holder = Holder()
        self.consumers: list[FakeConsumer] = []
        self.refusals = 0
        self.member = Membership(self._connect, self.holder, self.clock)

    async def _connect(self) -> FakeConsumer:
        if self.refusals:
            self.refusals -= 1
            raise KafkaConnectionError("refused")
        self.consumers.append(FakeConsumer())
        return self.consumers[-1]

    async def assigned(self, *places: TopicPartition) -> None:
        self.consumers[-1].places = set(places)
        await self.member.on_partitions_assigned(places)


@pytest.fixture
async def group() -> Group:
    group = Group()
    await group.member.join(asyncio.Event())
    return group


async def test_topics_are_subscribed_to_when_they_change(group: Group) -> None:
    (consumer,) = group.consumers
    assert group.member.subscribe({"b", "a"})
    assert consumer.topics == ["a", "b"]
    consumer.topics = []
    assert group.member.subscribe({"a", "b"})
    assert consumer.topics == []


async def test_without_topics_nothing_is_assigned_or_kept(group: Group) -> None:
    group.member.subscribe({"a"})
    await group.assigned(A)
    group.holder.offsets = {A: 3}
    assert not group.member.subscribe(set())
    assert group.member.assigned == set()
    assert group.holder.offsets == {}


async def test_what_was_owned_goes_on_and_the_rest_waits(group: Group) -> None:
    group.holder.offsets = {A: 3}
    await group.assigned(A, B)
    (consumer,) = group.consumers
    assert consumer.offsets == {A: 3, B: 0}
    assert consumer.paused == {B}


async def test_what_is_revoked_is_handed_over(group: Group) -> None:
    await group.member.on_partitions_revoked([A])
    assert group.holder.handed_over == [A]


async def test_a_partition_goes_on_where_it_is_told_unless_it_is_another_s(group: Group) -> None:
    await group.assigned(A)
    assert group.member.go_on(A, 7)
    assert not group.member.go_on(B, 7)
    (consumer,) = group.consumers
    assert consumer.offsets == {A: 7}
    assert consumer.paused == set()
    for place in (A, B):
        group.member.hold_back(place)
    assert consumer.paused == {A}


async def test_reading_hands_over_what_there_is(group: Group) -> None:
    assert await group.member.read(0.25, 1) == {A: [{"timeout_ms": 250, "max_records": 1}]}


async def fail(group: Group, times: int) -> None:
    group.consumers[-1].broken = True
    for _ in range(times):
        with pytest.raises(IllegalStateError):
            await group.member.read(0.1, None)


async def test_a_member_is_broken_that_fails_over_and_over(group: Group) -> None:
    await fail(group, FAILURES_MAX - 1)
    assert not group.member.broken
    group.consumers[-1].broken = False
    await group.member.read(0.1, None)
    await fail(group, FAILURES_MAX - 1)
    assert not group.member.broken
    await fail(group, 1)
    assert group.member.broken


async def test_another_takes_the_place_of_a_broken_one(group: Group) -> None:
    group.member.subscribe({"t"})
    await group.assigned(A)
    group.holder.offsets = {A: 3}
    await fail(group, FAILURES_MAX)
    group.refusals = 2
    since_s = group.clock.monotonic_s()
    await group.member.rejoin(asyncio.Event())
    assert group.clock.monotonic_s() - since_s == STOP_S + 2 * AGAIN_S
    assert group.member.consumer is group.consumers[1]
    assert (group.member.broken, group.member.subscribed) == (False, False)
    assert (group.member.assigned, group.holder.offsets) == (set(), {})


async def test_who_joins_waits_for_a_broker_that_is_away() -> None:
    group = Group()
    group.refusals = 2
    since_s = group.clock.monotonic_s()
    await group.member.join(asyncio.Event())
    assert group.clock.monotonic_s() - since_s == 2 * AGAIN_S
    assert len(group.consumers) == 1


async def test_nobody_joins_anew_who_is_to_stop(group: Group) -> None:
    await fail(group, FAILURES_MAX)
    stopping = asyncio.Event()
    stopping.set()
    await group.member.rejoin(stopping)
    assert group.member.consumer is None
    await group.member.leave()


async def test_who_leaves_stops(group: Group) -> None:
    await group.member.leave()
    assert group.consumers[0].stopped
    assert group.member.highwater(A) == 0
