"""One owned partition: a participant between the records it reads and those it writes.

Feeds records in order, sends what comes out, and takes snapshots, but only when all that was sent
is acknowledged: the newest snapshot then never promises output that is not in the log.  Records
arrive in one task and ownership is lost in another, so one lock keeps feeding, sending and
snapshots apart.

A person may pause a run or set its pace: then a host's opened windows are held back here.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

from pagewake.bus.kafka import KafkaBus
from pagewake.cluster import snapshots
from pagewake.cluster.commands import Answer
from pagewake.cluster.participant import (
    HostParticipant,
    Out,
    Participant,
    Rejected,
    ShardParticipant,
)
from pagewake.cluster.plan import SNAPSHOTS, RunPlan, topic_name
from pagewake.cluster.tally import Tally
from pagewake.errors import DataError
from pagewake.events.codec import FAULTS

UNACKNOWLEDGED_MAX = 512
SNAPSHOT_BYTES_PER_S = 4 << 20
"""A snapshot of so many bytes has to save a second of replay."""

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
        self.tally = Tally()
        self.offset = 0
        self.log_end = 0
        self.rejected: Counter[str] = Counter()
        self.every_s = every_s
        self.snapshots = 0
        self.recovered_from = 0
        self.refused: list[str] = []
        self.fed_s = time.monotonic()
        self._held: deque[Out] = deque()
        self._lock = asyncio.Lock()
        self._pace = Pace()
        self._number = 0
        self._replay_s = 0.0
        self._snapshot_bytes = 0
        self._sent: list[asyncio.Future[Any]] = []
        self._snapshot_topic = topic_name(plan.run, SNAPSHOTS)
        self._snapshot_partition = plan.snapshot_partition(topic, partition)

    @property
    def label(self) -> str:
        """For logs."""
        return f"{self.plan.run}/{self.participant.source}"

    @property
    def caught_up(self) -> bool:
        """Replay is over: what stood in the log at the takeover has been read."""
        return self.offset >= self.log_end

    @property
    def paused(self) -> bool:
        """A person paused the run."""
        participant = self.participant
        return isinstance(participant, HostParticipant) and participant.paused

    # ------------------------------------------------------------------ recovery

    async def recover(self) -> None:
        """Newest complete snapshot, or the start; a snapshot that cannot be read is named."""
        reader = snapshots.SnapshotReader(self.plan.run, self.participant.source, self.plan.code)
        topic, partition = self._snapshot_topic, self._snapshot_partition
        async for stored in self.bus.read(topic, partition):
            reader.feed(stored.key, stored.value)
        self.refused = reader.refused
        if reader.newest is None or not self._restore(reader.newest):
            async with self._lock:
                self._held.extend(self.participant.start())
                await self._release()

    def _restore(self, found: snapshots.Snapshot) -> bool:
        try:
            state = snapshots.unpack(found.content)
        except DataError as error:
            self.refused.append(str(error))
            return False
        self.participant.restore(state)
        self.tally.restore(state["tally"])
        self.offset = self.recovered_from = found.manifest.offset
        self._number = found.manifest.number + 1
        self._snapshot_bytes = found.manifest.size
        return True

    # ------------------------------------------------------------------ records

    async def feed(self, offset: int, record: bytes | None, answered: Answered) -> Rejected | None:
        """The next record of the partition; BrokenLogError stops the run."""
        async with self._lock:
            started_s = time.perf_counter()
            step = self.participant.accept(record)
            self.tally.feed(step.events)
            self.offset = offset + 1
            self.fed_s = time.monotonic()
            self._replay_s += time.perf_counter() - started_s
            self._held.extend(step.outs)
            await self._release()
        if step.rejected is not None:
            self.rejected[step.rejected.why] += 1
        if step.answer is not None:
            await answered(self.plan, step.answer)
        return step.rejected

    async def release(self) -> None:
        """Send what was held back, if it is time."""
        async with self._lock:
            await self._release()

    def wait_s(self) -> float | None:
        """How long what is held back has to wait yet; None: nothing is, or until `resume`."""
        if not self._held or self.paused:
            return None
        return self._pace.wait_s(self.participant, self.caught_up)

    async def _release(self) -> None:
        if self.wait_s() != 0:
            return
        while self._held:
            out = self._held[0]
            if self.participant.ended and out.topic == FAULTS:
                await self._acknowledged()  # a run that has ended has all of its journal
            name = topic_name(self.plan.run, out.topic)
            self._sent.append(await self.bus.send(name, out.partition, out.record))
            self._held.popleft()
        if len(self._sent) > UNACKNOWLEDGED_MAX:
            await self._acknowledged()

    async def acknowledged(self) -> None:
        """Wait until the log has everything that was sent."""
        async with self._lock:
            await self._acknowledged()

    async def _acknowledged(self) -> None:
        sent, self._sent = self._sent, []
        if sent:
            await asyncio.gather(*sent)

    def failed(self) -> BaseException | None:
        """Why something that was sent is not in the log, once that is known."""
        errors = [sent.exception() for sent in self._sent if sent.done() and not sent.cancelled()]
        return next((error for error in errors if error is not None), None)

    # ------------------------------------------------------------------ snapshots

    async def snapshot_if_due(self) -> None:
        """When replaying would take longer than a snapshot is worth, and rarely if it is large."""
        worth_s = self._snapshot_bytes / SNAPSHOT_BYTES_PER_S
        if self._replay_s >= max(self.every_s, worth_s):
            await self.snapshot()

    async def snapshot(self) -> None:
        """Write one behind acknowledged output; not while something is held back."""
        async with self._lock:
            if self._held or self._replay_s == 0:
                return
            await self._acknowledged()
            taken = snapshots.take(
                self.participant, self._number, self.offset, tally=self.tally.state()
            )
            *parts, manifest = snapshots.records_of(taken)
            await asyncio.gather(*[await self._store(key, value) for key, value in parts])
            await (await self._store(*manifest))
            self._number += 1
            self.snapshots += 1
            self._replay_s = 0.0
            self._snapshot_bytes = taken.manifest.size

    async def _store(self, key: bytes, value: bytes) -> asyncio.Future[Any]:
        return await self.bus.send(self._snapshot_topic, self._snapshot_partition, value, key)


class Pace:
    """When a window may open if a run has a pace: where the wall clock reaches its beginning."""

    def __init__(self) -> None:
        self._speed = 0.0
        self._from_s = 0.0
        self._from_ns = 0

    def wait_s(self, participant: Participant, caught_up: bool) -> float:
        """How long yet; 0 without a pace, and for what is only replayed."""
        speed = participant.speed if isinstance(participant, HostParticipant) else 0.0
        if not speed or not caught_up:
            self._speed = 0.0
            return 0.0
        if speed != self._speed:
            self._speed = speed
            self._from_s = time.monotonic()
            self._from_ns = participant.at_ns
        due_s = self._from_s + (participant.at_ns - self._from_ns) / 1e9 / speed
        return max(0.0, due_s - time.monotonic())
