"""This process as a member of its consumer group: joins, subscribes, reads, and joins anew.

The group decides only who owns what, and has patience for a while: a takeover may take longer.  So
its callbacks note what was assigned, and the service's loop takes over later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError

from pagewake.bus.kafka import KafkaSettings, dismiss_predecessor, group_consumer, stop_consumer
from pagewake.bus.kafka_bootstrap import reachable_first
from pagewake.bus.kafka_rights import MissingRightError
from pagewake.bus.kafka_topics import passes
from pagewake.cluster.clock import Clock

# A broken member fails at every read, a broker that is away only until it is back: some more tries.
FAILURES_MAX = 3
# A broken member may wait for its own dead routine for ever.
STOP_S = 10.0
# Between two tries to reach a broker that does not answer.
AGAIN_S = 1.0

log = structlog.get_logger()

UNREADABLE = (KafkaError, IllegalStateError)
"""What reading raises while the broker is away, or when an assignment has just gone."""


class LogCutError(Exception):
    """A log has no record where it is read next; the places, and the offsets asked for."""

    def __init__(self, places: Mapping[TopicPartition, int]) -> None:
        super().__init__(f"no record at {dict(places)}")
        self.places = places


Connect: TypeAlias = Callable[[], Awaitable[AIOKafkaConsumer]]


class Holder(Protocol):
    """Who owns partitions."""

    async def hand_over(self, places: Iterable[TopicPartition]) -> None:
        """Others may own them next."""
        ...

    def keep(self, places: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Own no others; the next offsets of those among them that are owned."""
        ...


async def connected(settings: KafkaSettings, group: str, instance: str) -> AIOKafkaConsumer:
    """A member of the group, in place of the one that had its name."""
    try:
        dismissed = await dismiss_predecessor(settings, group, instance)
    except MissingRightError:
        raise  # waiting would not help
    except KafkaError as error:
        log.info("a predecessor may hold its partitions for a while", why=repr(error))
    else:
        if dismissed:
            log.info("predecessor dismissed", group=group, instance=instance)
    consumer = group_consumer(await reachable_first(settings), group, instance)
    await consumer.start()
    return consumer


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """`consumer` is None while there is no member; `assigned` is the group's last word."""

    def __init__(self, connect: Connect, holder: Holder, clock: Clock) -> None:
        self.consumer: AIOKafkaConsumer | None = None
        self.assigned: set[TopicPartition] = set()
        self._connect = connect
        self._holder = holder
        self._clock = clock
        self._subscribed: set[str] = set()
        self._failures = 0

    async def join(self, stopping: asyncio.Event) -> None:
        """As soon as a broker answers; KafkaError for one that refuses."""
        while not stopping.is_set():
            try:
                self.consumer = await self._connect()
            except (KafkaError, OSError) as error:
                if not passes(error):
                    raise
                log.warning("kafka is not answering, waiting", error=repr(error))
                await self._clock.sleep(AGAIN_S)
            else:
                return

    async def leave(self) -> None:
        """Others get what this process had."""
        consumer, self.consumer = self.consumer, None
        if consumer is not None:
            await stop_consumer(consumer)

    @property
    def _member(self) -> AIOKafkaConsumer:
        assert self.consumer is not None, "join first"
        return self.consumer

    # ------------------------------------------------------------------ what is assigned

    def subscribe(self, topics: set[str]) -> bool:
        """To exactly these topics; whether there are any."""
        if topics != self._subscribed:
            self._subscribed = topics
            if topics:
                self._member.subscribe(topics=sorted(topics), listener=self)
            else:
                self._member.unsubscribe()
                self.assigned = set()
                self._holder.keep(self.assigned)
        return self.subscribed

    @property
    def subscribed(self) -> bool:
        """There is something to read."""
        return bool(self._subscribed)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called in a rebalance, before others are assigned what was revoked."""
        await self._holder.hand_over(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """What was owned before goes on where it is; the rest waits until it is taken over."""
        self.assigned = set(assigned)
        offsets = self._holder.keep(self.assigned)
        for place in self.assigned:
            self._member.seek(place, offsets.get(place, 0))  # without one it asks the group for it
            if place not in offsets:
                self._member.pause(place)

    def hold_back(self, place: TopicPartition) -> None:
        """Read it no more until `go_on`."""
        if place in self._member.assignment():
            self._member.pause(place)

    def go_on(self, place: TopicPartition, offset: int) -> bool:
        """Read it from there; False if it is another's by now."""
        if place not in self._member.assignment():
            return False
        self._member.seek(place, offset)
        self._member.resume(place)
        return True

    # ------------------------------------------------------------------ reading

    async def read(
        self, within_s: float, records_max: int | None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What there is; raises LogCutError, or one of `UNREADABLE`."""
        try:
            batches: dict[TopicPartition, list[ConsumerRecord]] = await self._member.getmany(
                timeout_ms=int(1000 * within_s), max_records=records_max
            )
        except OffsetOutOfRangeError as error:
            raise LogCutError(error.args[0]) from error
        except UNREADABLE:
            self._failures += 1
            raise
        self._failures = 0
        return batches

    async def end_offset(self, place: TopicPartition) -> int:
        """Where a partition ends, asked of the broker."""
        ends: dict[TopicPartition, int] = await self._member.end_offsets([place])
        return ends[place]

    def highwater(self, place: TopicPartition) -> int:
        """The same as last heard with a record; 0 if nothing was."""
        return (self.consumer and self.consumer.highwater(place)) or 0

    # ------------------------------------------------------------------ joining anew

    @property
    def broken(self) -> bool:
        """It reads nothing over and over.

        A client whose group routine has failed (it may when the broker comes back in the middle of
        a rebalance) says so at each call and never joins again.
        """
        return self._failures >= FAILURES_MAX

    async def rejoin(self, stopping: asyncio.Event) -> None:
        """Another member in place of the broken one, which never heard what it lost meanwhile."""
        broken, self.consumer = self._member, None
        self.assigned = set()
        self._subscribed = set()
        self._holder.keep(self.assigned)
        try:
            await self._clock.wait_for(broken.stop(), STOP_S)
        except Exception as error:  # noqa: BLE001 - it is broken; nothing of it is needed any more
            log.warning("the broken member could not be stopped in order", error=repr(error))
        await self.join(stopping)
        self._failures = 0
