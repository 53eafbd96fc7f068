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
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from pagewake.bus.kafka import KafkaBus, KafkaError
from pagewake.cluster.spent import Spent, Stopwatch
from pagewake.cluster.tally import BYTES_SENT, RECORDS_SENT, Tally
from pagewake.errors import DataError
from pagewake.events.codec import FAULTS
from pagewake.participants import snapshots
from pagewake.participants.build import host_participant, shard_participant
from pagewake.participants.commands import Answer
from pagewake.participants.participant import (
    Out,
    Participant,
    Rejected,
    Step,
)
from pagewake.participants.plan import RUNS_TOPIC, SNAPSHOTS, RunPlan, topic_name

UNACKNOWLEDGED_MAX = 512
SNAPSHOT_BYTES_PER_S = 4 << 20
"""A snapshot of so many bytes has to save a second of replay."""

Answered = Callable[[RunPlan, Answer], Awaitable[None]]
Sent = Callable[[str, int], None]
"""Told of each record sent: topic without the run's prefix, bytes."""


def build_participant(plan: RunPlan, topic: str, partition: int) -> Participant:
    """The participant that reads this partition, at time 0."""
    if topic == FAULTS:
        return host_participant(plan, partition)
    return shard_participant(plan, plan.shard_number(topic, partition))


class LostError(KafkaError):  # type: ignore[misc]
    """Something that was sent is not in the log; the message is its topic, and why."""


class Owner:
    """See the module; `offset` is the next record of the partition."""

    def __init__(
        self,
        bus: KafkaBus,
        plan: RunPlan,
        topic: str,
        partition: int,
        every_s: float,
        sent: Sent,
        instance: str = "",
    ) -> None:
        self.bus = bus
        self.plan = plan
        self.instance = instance
        self._place = (topic, partition)
        self.over = False  # the run has ended: all that comes out is in the log
        self._watch = Stopwatch()
        self._from_s = time.time()
        self._accounted = False
        self.participant = build_participant(plan, topic, partition)
        self.tally = Tally()
        self.offset = 0
        self.log_end = 0
        self.highwater = 0
        self.rejected: Counter[str] = Counter()
        self.every_s = every_s
        self.snapshots = 0
        self.recovered_from = 0
        self.refused: list[str] = []
        self.lost = False
        self.fed_s = time.monotonic()
        self.windows_s: list[float] = []  # wall time of windows since somebody took them out
        self.from_ns = self.participant.at_ns
        self.replayed_ns = 0
        self._opened_s = 0.0
        self._on_sent = sent
        self._held: deque[Out] = deque()
        self._lock = asyncio.Lock()
        self._pace = Pace()
        self._number = 0
        self._replay_s = 0.0
        self._snapshot_bytes = 0
        self._sent: deque[tuple[str, asyncio.Future[Any]]] = deque()
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
    def lag(self) -> int:
        """Records of the partition that are not read yet, as far as is known."""
        return max(0, self.log_end - self.offset, self.highwater - self.offset)

    # ------------------------------------------------------------------ recovery

    async def recover(self) -> None:
        """Newest complete snapshot, or the start; a snapshot that cannot be read is named."""
        reader = snapshots.SnapshotReader(self.plan.run, self.participant.source, self.plan.code)
        topic, partition = self._snapshot_topic, self._snapshot_partition
        async for stored in self.bus.read(topic, partition):
            reader.feed(stored.key, stored.value)
        self.refused = reader.refused
        begun = not any(self._restore(found) for found in reader.complete)
        self.participant.lap = self._watch.lap
        if begun:
            async with self._lock:
                self._watch.start()
                self._hold(self.participant.start())
                await self._release()

    def _restore(self, found: snapshots.Snapshot) -> bool:
        try:
            state = snapshots.unpack(found.content)
            self.participant.restore(state)
            self.tally.restore(state["tally"])
        except Exception as error:  # noqa: BLE001 - what somebody else put there fails in any way
            why = str(error) if isinstance(error, DataError) else repr(error)
            self.refused.append(f"snapshot {found.manifest.number}: {why}")
            self.participant = build_participant(self.plan, *self._place)
            self.tally = Tally()
            return False
        self.offset = self.recovered_from = found.manifest.offset
        self.from_ns = self.participant.at_ns
        self._number = found.manifest.number + 1
        self._snapshot_bytes = found.manifest.size
        return True

    # ------------------------------------------------------------------ records

    async def feed(self, offset: int, record: bytes | None, answered: Answered) -> Rejected | None:
        """The next record of the partition; BrokenLogError stops the run."""
        async with self._lock:
            started_s = time.perf_counter()
            replaying = not self.caught_up
            self._watch.start()
            step = self.participant.accept(record)
            if step.outs:
                self._window_done(step)
                self._watch.lap("simulation")
            self.offset = offset + 1
            if replaying:
                self.replayed_ns = self.participant.at_ns - self.from_ns
            self.fed_s = time.monotonic()
            self._replay_s += time.perf_counter() - started_s
            self._hold(step.outs)
            await self._release()
        if step.rejected is not None:
            self.rejected[step.rejected.why] += 1
        if step.answer is not None:
            await answered(self.plan, step.answer)
        return step.rejected

    def _window_done(self, step: Step) -> None:
        """A shard has simulated one; or all shards have, and a host opens the next."""
        if not self.participant.opens_windows:
            self.tally.feed(step.events)
        elif self._opened_s:
            self.windows_s.append(time.monotonic() - self._opened_s)
            self._opened_s = 0.0

    def _hold(self, outs: Iterable[Out]) -> None:
        for out in outs:
            self.tally.add(RECORDS_SENT)
            self.tally.add(BYTES_SENT, count=len(out.record))
            if not self.over:
                self._held.append(out)

    async def release(self) -> None:
        """Send what was held back, if it is time."""
        async with self._lock:
            await self._release()

    def wait_s(self) -> float | None:
        """How long what is held back has to wait yet; None: nothing is, or until `resume`."""
        if not self._held or self.participant.paused:
            return None
        return self._pace.wait_s(self.participant, self.caught_up)

    async def _release(self) -> None:
        if self.wait_s() != 0:
            return
        while self._held:
            out = self._held[0]
            if self.participant.ended and out.topic == FAULTS:
                await self._account()
                await self._acknowledged()  # a run that has ended has all of its journal
            name = topic_name(self.plan.run, out.topic)
            self._sent.append((name, await self.bus.send(name, out.partition, out.record)))
            self._on_sent(out.topic, len(out.record))
            self._held.popleft()
            if out.topic != FAULTS and self.caught_up:
                self._opened_s = time.monotonic()
        if len(self._sent) > UNACKNOWLEDGED_MAX:
            await self._acknowledged()

    async def acknowledged(self) -> None:
        """Wait until the log has everything that was sent, at the end with an account."""
        async with self._lock:
            if self.participant.ended:
                await self._account()
            await self._acknowledged()

    async def _account(self) -> None:
        """Say once what the participant took; not who only found it ended."""
        seconds = self._watch.seconds
        if self.over or self._accounted or not seconds["simulation"]:
            return
        self._accounted = True
        records, size = (self.tally.counts.get((key, ()), 0) for key in (RECORDS_SENT, BYTES_SENT))
        spent = Spent(
            self.instance, self._from_s, time.time(), seconds["codec"], seconds["simulation"],
            records, size,
        )  # fmt: skip
        key = f"{self.plan.run}/spent-{self.participant.source}"
        sending = await self.bus.send(RUNS_TOPIC, 0, msgspec.json.encode(spent), key.encode())
        self._sent.append((RUNS_TOPIC, sending))

    async def _acknowledged(self) -> None:
        sent, self._sent = self._sent, deque()
        if sent:
            await asyncio.wait([future for _, future in sent])
            error = _lost(sent)
            if error is not None:
                raise error

    @property
    def settled(self) -> bool:
        """All that was sent is in the log."""
        done = all(future.done() for _, future in self._sent)
        return done and not self.lost and self.failed() is None

    def forget(self) -> None:
        """Nobody asks any more what became of what was sent."""
        for _, future in self._sent:
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def failed(self) -> LostError | None:
        """Why something that was sent is not in the log, once that is known."""
        while self._sent and _in_log(self._sent[0][1]):
            self._sent.popleft()
        return _lost(self._sent)

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
        self._on_sent(SNAPSHOTS, len(value))
        return await self.bus.send(self._snapshot_topic, self._snapshot_partition, value, key)


def _in_log(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _lost(sent: Iterable[tuple[str, asyncio.Future[Any]]]) -> LostError | None:
    lost: LostError | None = None
    for topic, future in sent:
        if not future.done():
            continue
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            lost = lost or LostError(f"{topic}: {error!r}")
    return lost


class Pace:
    """When a window may open if a run has a pace: where the wall clock reaches its beginning."""

    def __init__(self) -> None:
        self._speed = 0.0
        self._from_s = 0.0
        self._from_ns = 0

    def wait_s(self, participant: Participant, caught_up: bool) -> float:
        """How long yet; 0 without a pace, and for what is only replayed."""
        speed = participant.speed
        if not speed or not caught_up:
            self._speed = 0.0
            return 0.0
        if speed != self._speed:
            self._speed = speed
            self._from_s = time.monotonic()
            self._from_ns = participant.at_ns
        due_s = self._from_s + (participant.at_ns - self._from_ns) / 1e9 / speed
        return max(0.0, due_s - time.monotonic())
