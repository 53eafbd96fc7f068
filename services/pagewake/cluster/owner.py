"""One owned partition: a participant between the records it reads and those it writes.

Feeds records in order, sends what comes out, and takes snapshots, but only when all that was sent
is acknowledged: the newest snapshot then never promises output that is not in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from pagewake.bus.kafka import KafkaBus
from pagewake.cluster import snapshots
from pagewake.cluster.commands import Answer
from pagewake.cluster.participant import HostParticipant, Out, Participant, ShardParticipant
from pagewake.cluster.plan import SNAPSHOTS, RunPlan, topic_name
from pagewake.events.codec import FAULTS

UNACKNOWLEDGED_MAX = 512
SNAPSHOT_SHARE = 0.05
"""At most this share of wall time goes into snapshots: dear ones are taken less often."""

Answered = Callable[[RunPlan, Answer], Awaitable[None]]


def build_participant(plan: RunPlan, topic: str, partition: int) -> Participant:
    """The participant that reads this partition, at time 0."""
    if topic == FAULTS:
        return HostParticipant(plan, partition)
    return ShardParticipant(plan, plan.shard_number(topic, partition))


class Owner:
    """See the module; `offset` is the next record of the partition."""

    def __init__(
        self, bus: KafkaBus, plan: RunPlan, topic: str, partition: int, every_s: float
    ) -> None:
        self.bus = bus
        self.plan = plan
        self.participant = build_participant(plan, topic, partition)
        self.offset = 0
        self.rejected: Counter[str] = Counter()
        self.duplicates = 0
        self.every_s = every_s
        self.snapshots = 0
        self.recovered_from = 0
        self.held: list[Out] = []
        self._number = 0
        self._due_s = time.monotonic() + every_s
        self._snapshot_offset = 0
        self._sent: list[asyncio.Future[Any]] = []
        self._snapshot_topic = topic_name(plan.run, SNAPSHOTS)
        self._snapshot_partition = plan.snapshot_partition(topic, partition)

    @property
    def label(self) -> str:
        """For logs."""
        return f"{self.plan.run}/{self.participant.source}"

    async def recover(self) -> None:
        """Newest complete snapshot, or the start."""
        reader = snapshots.SnapshotReader(self.plan.run, self.participant.source, self.plan.code)
        topic, partition = self._snapshot_topic, self._snapshot_partition
        async for stored in self.bus.read(topic, partition):
            reader.feed(stored.key, stored.value)
        found = reader.newest
        if found is None:
            await self.send(self.participant.start())
            return
        self.participant.restore(snapshots.unpack(found.content))
        self.offset = self._snapshot_offset = self.recovered_from = found.manifest.offset
        self._number = found.manifest.number + 1

    async def feed(self, offset: int, record: bytes | None, answered: Answered) -> None:
        """The next record of the partition; BrokenLogError stops the run."""
        self.offset = offset + 1
        step = self.participant.accept(record)
        if step.rejected is not None:
            self.rejected[step.rejected.why] += 1
        if step.answer is not None:
            await answered(self.plan, step.answer)
        if step.outs:
            await self.send(step.outs)

    async def send(self, outs: list[Out]) -> None:
        """Send, or hold back while the host is paused or ahead of its pace."""
        self.held += outs
        if not self.paused:
            await self.release()

    @property
    def paused(self) -> bool:
        """A person paused the run."""
        participant = self.participant
        return isinstance(participant, HostParticipant) and participant.paused

    async def release(self) -> None:
        """Send what was held back."""
        outs, self.held = self.held, []
        for out in outs:
            name = topic_name(self.plan.run, out.topic)
            self._sent.append(await self.bus.send(name, out.partition, out.record))
        if len(self._sent) > UNACKNOWLEDGED_MAX:
            await self.acknowledged()

    async def acknowledged(self) -> None:
        """Wait until the log has everything that was sent."""
        sent, self._sent = self._sent, []
        if sent:
            await asyncio.gather(*sent)

    async def snapshot_if_due(self) -> None:
        """By wall time, and rarely where it is dear."""
        if time.monotonic() >= self._due_s and self.offset > self._snapshot_offset:
            await self.snapshot()

    async def snapshot(self) -> None:
        """Write one behind acknowledged output."""
        if self.held:
            return
        await self.acknowledged()
        started_s = time.monotonic()
        taken = snapshots.take(self.participant, self._number, self.offset)
        topic, partition = self._snapshot_topic, self._snapshot_partition
        for key, value in snapshots.records_of(taken):
            await (await self.bus.send(topic, partition, value, key))
        self._number += 1
        self.snapshots += 1
        self._snapshot_offset = self.offset
        spent_s = time.monotonic() - started_s
        self._due_s = time.monotonic() + max(self.every_s, spent_s / SNAPSHOT_SHARE)
