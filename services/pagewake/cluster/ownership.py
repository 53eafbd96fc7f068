"""The partitions that one process owns: taken over, fed, looked after, handed over.

Position, state and numbering of output come from the newest snapshot and the log behind it, so a
process that joins, dies, or was thought dead changes nothing in what a run says (design,
"Recovery").  A partition is taken over again when something that was sent did not reach the log.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from pagewake.cluster.clock import Clock
from pagewake.cluster.log_watch import LogWatch
from pagewake.cluster.membership import LogCutError, Membership
from pagewake.cluster.owner import Owner
from pagewake.cluster.process_metrics import ProcessMetrics
from pagewake.cluster.rejections import Rejections
from pagewake.cluster.runs import RunEntry
from pagewake.cluster.runs_topic import RunsTopic
from pagewake.cluster.takeover import Claims, next_takeovers
from pagewake.errors import PagewakeError
from pagewake.participants.participant import Rejected
from pagewake.participants.plan import SNAPSHOTS, RunPlan, split_topic, topic_name

# While output was lost and its senders start over, those whose output is all there have the broker
# to themselves.
START_OVER_S = 3.0
# Of a rebalance that the group waits for: what is not written then, the next owner executes again.
LAST_SNAPSHOT_S = 5.0

# What waits for a run under way to end is looked at so often, not once a window.
LOOK_AGAIN_S = 0.2
# With twenty owners, looking after all of them takes as long as a poor window.
LOOK_AFTER_S = 0.02

NewOwner = Callable[[RunPlan, str, int], Owner]
"""Of a run's plan, a topic without the run's prefix, and a partition."""

log = structlog.get_logger()


def described(error: Exception) -> str:
    """A defect, and the place it came up."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error!r} ({last.filename}:{last.lineno}): a defect of pagewake"


class Ownership:
    """`loss` says what was sent and is not in the log; empty for nothing.

    `let_go` is told of each owner that is none any more.
    """

    def __init__(
        self,
        new_owner: NewOwner,
        runs: RunsTopic,
        metrics: ProcessMetrics,
        rejections: Rejections,
        stopping: asyncio.Event,
        clock: Clock,
        logs: LogWatch,
        let_go: Callable[[], None],
    ) -> None:
        self.loss = ""
        self._logs = logs
        self._let_go = let_go
        self._owners: dict[TopicPartition, Owner] = {}
        self._new_owner = new_owner
        self._runs = runs
        self._metrics = metrics
        self._rejections = rejections
        self._stopping = stopping
        self._clock = clock
        self._given_up: dict[TopicPartition, RunEntry] = {}
        self._not_before_s: dict[TopicPartition, float] = {}
        self._waiting: set[TopicPartition] = set()
        self._look_s = 0.0
        self._looked_s = 0.0

    def owners(self) -> list[Owner]:
        """All of them."""
        return list(self._owners.values())

    # ------------------------------------------------------------------ as the group decides

    def keep(self, places: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Own no others; the next offsets of those among them that are owned and go on."""
        for place in self._owners.keys() - places:
            self._drop(place)
        return {place: own.offset for place, own in self._owners.items() if not own.at_rest}

    async def hand_over(self, places: Iterable[TopicPartition] | None = None) -> None:
        """Leave a fresh snapshot to who may own these next; None: all that there is."""
        for place in self._owners.copy() if places is None else places:
            owner = self._owners.get(place)
            if owner is not None:
                await self._last_snapshot(owner)

    async def _last_snapshot(self, owner: Owner) -> None:
        if owner.participant.ended or not self._runs.active(owner.plan.run):
            return
        try:
            await self._clock.wait_for(owner.snapshot(), LAST_SNAPSHOT_S)
        except (KafkaError, TimeoutError) as error:
            log.warning("no last snapshot", owner=owner.label, error=repr(error))

    def _drop(self, place: TopicPartition) -> None:
        owner = self._owners.pop(place, None)
        if owner is not None:
            owner.forget()
            self._let_go()

    # ------------------------------------------------------------------ taking over

    async def take_over(self, member: Membership) -> None:
        """What was assigned and is not owned yet, as far as it is its turn."""
        assigned, now_s = member.assigned, self._clock.monotonic_s()
        missing = assigned - self._owners.keys()
        if not missing or (missing == self._waiting and now_s < self._look_s):
            return  # nothing was to be taken a moment ago
        self._forgive()
        claims = Claims(
            assigned=assigned,
            owned={place: owner.caught_up for place, owner in self._owners.items()},
            given_up=set(self._given_up),
            not_before_s=self._not_before_s,
            active={place for place in assigned if self._runs.active(split_topic(place.topic)[0])},
        )
        put_off, take = next_takeovers(claims, now_s)
        self._waiting = set() if take or self._not_before_s else missing
        self._look_s = now_s + LOOK_AGAIN_S
        for place in put_off:
            self._drop(TopicPartition(*place))
            member.hold_back(place)
        for place in take:
            if place in member.assigned and not self._stopping.is_set():  # else another's, or soon
                await self._take(TopicPartition(*place), member)

    def _forgive(self) -> None:
        """What was given up was so for this run, not for another of its name."""
        entries = self._runs.entries
        for place, entry in [*self._given_up.items()]:
            if entries.get(entry.announced.run) is not entry:
                del self._given_up[place]

    async def _take(self, place: TopicPartition, member: Membership) -> None:
        """Newest snapshot, to go on with the log behind it."""
        run, topic = split_topic(place.topic)
        entry = self._runs.entries.get(run)
        if entry is None or not entry.owned(self._clock.wall_s()):
            return
        if not entry.finished and (why := await self._logs.why_lost(entry)):
            await self._give_up(place, entry, why)
            return
        try:
            owner = self._new_owner(entry.plan, topic, place.partition)
            await owner.recover(await member.end_offset(place), over=entry.finished)
        except KafkaError:
            raise
        except PagewakeError as error:
            await self._give_up(place, entry, f"{place.topic}-{place.partition}: {error}")
            return
        self._pass_over(owner, entry.plan.snapshot_partition(topic, place.partition))
        self._metrics.recovered()
        log.info(
            "owned", run=run, source=owner.participant.source, offset=owner.offset,
            replay=owner.log_end - owner.offset, window=owner.participant.window,
            at_ns=owner.participant.at_ns,
        )  # fmt: skip
        if member.go_on(place, owner.offset):
            self._owners[place] = owner
            self._not_before_s.pop(place, None)
            if owner.participant.ended:
                await self._end(owner)
            if owner.at_rest:
                member.hold_back(place)

    def _pass_over(self, owner: Owner, partition: int) -> None:
        """Snapshots and parts of them that could not be used."""
        place = TopicPartition(topic_name(owner.plan.run, SNAPSHOTS), partition)
        for refused in owner.refused:
            rejected = Rejected("malformed", f"{owner.label}: {refused}")
            self._rejections.note(place, None, rejected)

    async def _give_up(self, place: TopicPartition, entry: RunEntry, why: str) -> None:
        self._given_up[place] = entry
        await self._runs.stop(entry.announced.run, why)

    # ------------------------------------------------------------------ work

    async def feed(
        self, place: TopicPartition, records: Sequence[ConsumerRecord], member: Membership
    ) -> None:
        """Records of a partition, in order; those of one that is not owned are left out."""
        owner = self._owners.get(place)
        if owner is None:
            return
        was_ended = owner.participant.ended
        for record in records:
            if self._owners.get(place) is not owner:
                return
            if not await self._feed(owner, place, record, member):
                return
        owner.note_end(member.highwater(place))
        size = sum(len(record.value or b"") for record in records)
        self._metrics.received(owner.participant.topic, len(records), size)
        if owner.participant.ended and not was_ended:
            await self._end(owner)
        if owner.at_rest:  # each partition that is read costs every fetch
            member.hold_back(place)

    async def _feed(
        self, owner: Owner, place: TopicPartition, record: ConsumerRecord, member: Membership
    ) -> bool:
        """Whether the owner can go on."""
        try:
            rejected = await owner.feed(record.offset, record.value)
        except UnknownTopicOrPartitionError as error:
            self._put_off(place, member, error)
            return False
        except KafkaError as error:
            self._lose(owner, error)
            return False
        except MemoryError:  # the record is not to blame, and where there is more it can be fed
            self._drop(place)
            raise
        except Exception as error:  # noqa: BLE001 - a poisoned record must not take others along
            where = f"{place.topic}-{place.partition} at offset {record.offset}"
            why = str(error) if isinstance(error, PagewakeError) else described(error)
            self._drop(place)
            entry = self._runs.entries.get(owner.plan.run)
            if entry is not None:
                await self._give_up(place, entry, f"{where}: {why}")
            return False
        if rejected is not None:
            self._rejections.note(place, record.offset, rejected)
        return True

    async def _end(self, owner: Owner) -> None:
        try:
            await self._runs.say_ended(owner)
        except KafkaError as error:
            self._lose(owner, error)

    async def look_after(self, fed: Collection[TopicPartition], member: Membership) -> None:
        """Send what is due, write snapshots, and see whether all that was sent arrived.

        Of all owners now and then, else of those that were fed.
        """
        for place, owner in self._to_look_after(fed):
            if self._another(owner):
                self._drop(place)
                continue
            error = owner.failed()
            if error is not None:
                self._lose(owner, error)
                return
            try:
                await owner.release()
                if await owner.snapshot_if_due():
                    self._metrics.snapshot_taken()
            except UnknownTopicOrPartitionError as missing:
                self._put_off(place, member, missing)
            except KafkaError as lost:
                self._lose(owner, lost)
                return

    def _another(self, owner: Owner) -> bool:
        """Whether the run was deleted, and another one announced under its name."""
        entry = self._runs.entries.get(owner.plan.run)
        return entry is not None and entry.plan is not owner.plan

    def _to_look_after(self, fed: Collection[TopicPartition]) -> list[tuple[TopicPartition, Owner]]:
        now_s = self._clock.monotonic_s()
        if fed and now_s - self._looked_s < LOOK_AFTER_S:
            return [(place, self._owners[place]) for place in fed if place in self._owners]
        self._looked_s = now_s
        return [*self._owners.items()]

    def wait_s(self) -> float | None:
        """Until the next window that a pace holds back may open; None if there is none."""
        waits = [wait_s for owner in self.owners() if (wait_s := owner.wait_s()) is not None]
        return min(waits, default=None)

    @property
    def caught_up(self) -> bool:
        """All of them have."""
        return all(owner.caught_up for owner in self._owners.values())

    # ------------------------------------------------------------------ what got lost

    def cut_off(self, places: Iterable[TopicPartition], member: Membership) -> None:
        """There is no record where these were read up to; how that is becomes known in a while."""
        for place in places:
            owner = self._owners.get(place)
            entry = owner and self._runs.entries.get(owner.plan.run)
            if owner is not None and entry:
                self._logs.read_up_to(entry, place.topic, place.partition, owner.offset)
            self._put_off(place, member, LogCutError({place: owner.offset if owner else 0}))

    def _put_off(self, place: TopicPartition, member: Membership, why: Exception) -> None:
        """Taken over again in a while, if there is still a log to be read."""
        log.warning("put off", topic=place.topic, partition=place.partition, error=repr(why))
        self._drop(place)
        self._not_before_s[place] = self._clock.monotonic_s() + START_OVER_S
        member.hold_back(place)

    def _lose(self, owner: Owner, error: Exception) -> None:
        owner.lose()
        self.loss = f"{owner.label}: {error!r}"

    def start_over(self, member: Membership) -> None:
        """Let go of those whose output is not all there, for a while."""
        self.loss = ""
        for place in [place for place, owner in self._owners.items() if not owner.settled]:
            self._drop(place)
            self._not_before_s[place] = self._clock.monotonic_s() + START_OVER_S
            member.hold_back(place)
