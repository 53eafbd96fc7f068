"""One owned partition: a participant between the records it reads and those it writes.

Feeds records in order, sends what comes out, and takes snapshots, but only when all that was sent
is acknowledged: the newest snapshot then never promises output that is not in the log.  Records
arrive in one task and ownership is lost in another, so one lock keeps feeding, sending and
snapshots apart.

Others wait for a window's close, nobody for its journal: that is made once the close is on its way,
and sent along with a later one.

A person may pause a run or set its pace: then a host's opened windows are held back here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from pagewake.bus.kafka_rights import missing
from pagewake.bus.partitions import Bus
from pagewake.bus.port import BrokenLogError
from pagewake.cluster.clock import Clock
from pagewake.cluster.cost import Spent, Stopwatch
from pagewake.cluster.pace import Pace
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

# Records under way: a window is a handful, so only who executes a log again comes so far.
UNACKNOWLEDGED_MAX = 512
# A snapshot of so many bytes has to save a second of replay.
SNAPSHOT_BYTES_PER_S = 4 << 20
# So much of the journal goes along with the next close: a record for Kafka costs as much as these.
JOURNAL_BYTES = 32 << 10
# Who follows a journal is behind by no more than that.
JOURNAL_S = 0.2
# A window takes milliseconds, a takeover some seconds; who owes an answer for longer is not there.
STALLED_S = 10.0

Answered = Callable[[str, Answer], None]
"""Told of each command that took effect, or cannot: the run, and what is answered."""
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
        bus: Bus,
        plan: RunPlan,
        topic: str,
        partition: int,
        *,
        clock: Clock,
        snapshot_s: float,
        instance: str,
        sent: Sent,
        answered: Answered,
    ) -> None:
        self.plan = plan
        self.participant = build_participant(plan, topic, partition)
        self.tally = Tally()
        self.offset = 0
        self.log_end = 0
        self.replayed_ns = 0
        self.refused: list[str] = []
        self._bus = bus
        self._clock = clock
        self._instance = instance
        self._snapshot_s = snapshot_s
        self._on_sent = sent
        self._on_answer = answered
        self._place = (topic, partition)
        self._over = False  # the run has ended: all that comes out is in the log
        self._lost = False
        self._watch = Stopwatch(clock)
        self._from_s = clock.wall_s()
        self._accounted = False
        self._highwater = 0
        self._fed_s = clock.monotonic_s()
        self._windows_s: list[float] = []
        self._from_ns = self.participant.at_ns
        self._opened_s: float | None = None
        self._held: deque[Out] = deque()
        self._journal: list[Out] = []  # not sent yet
        self._journal_bytes = 0
        self._lock = asyncio.Lock()
        self._pace = Pace(clock)
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
    def at_rest(self) -> bool:
        """A shard that has ended: nothing more comes for it.  A host still answers commands."""
        participant = self.participant
        return participant.ended and self.caught_up and not participant.opens_windows

    @property
    def lag(self) -> int:
        """Records of the partition that are not read yet, as far as is known."""
        return max(0, self.log_end - self.offset, self._highwater - self.offset)

    @property
    def unsent_journal(self) -> int:
        """Records of the journal that wait for a close to go along with."""
        return len(self._journal)

    def waiting_for(self) -> list[tuple[str, float]]:
        """Shards that have had a window open for suspiciously long, and how long."""
        participant = self.participant
        waited_s = self._clock.monotonic_s() - self._fed_s
        if waited_s < STALLED_S or participant.ended or participant.paused or self.wait_s():
            return []
        return [(source, waited_s) for source in participant.awaited]

    # ------------------------------------------------------------------ what others learn

    def note_end(self, highwater: int) -> None:
        """Where the partition ends by the broker's last word."""
        self._highwater = highwater

    def lose(self) -> None:
        """Something that was sent cannot be in the log; so it is never settled again."""
        self._lost = True

    def take_windows_s(self) -> list[float]:
        """Wall time of each window since the last call."""
        taken, self._windows_s = self._windows_s, []
        return taken

    # ------------------------------------------------------------------ recovery

    async def recover(self, log_end: int, *, over: bool) -> None:
        """Newest complete snapshot, or the start; `refused` names those that cannot be read.

        `log_end` is where the partition ends now; nothing is sent if the run is `over`, because
        its log has it all.
        """
        self.log_end, self._over = log_end, over
        reader = snapshots.SnapshotReader(self.plan.run, self.participant.source, self.plan.code)
        topic, partition = self._snapshot_topic, self._snapshot_partition
        async for stored in self._bus.read(topic, partition):
            reader.feed(stored.key, stored.value)
        self.refused = reader.refused
        begun = not any(self._restore(found) for found in reader.complete)
        self.participant.lap = self._watch.lap
        if self.offset > log_end:
            raise BrokenLogError(
                f"the last snapshot was taken at offset {self.offset}, and the log ends at"
                f" {log_end}: it is not what it was"
            )
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
        self.offset = found.manifest.offset
        self._from_ns = self.participant.at_ns
        self._number = found.manifest.number + 1
        self._snapshot_bytes = found.manifest.size
        return True

    # ------------------------------------------------------------------ records

    async def feed(self, offset: int, record: bytes | None) -> Rejected | None:
        """The next record of the partition; BrokenLogError stops the run."""
        async with self._lock:
            started_s = self._clock.monotonic_s()
            replaying = not self.caught_up
            self._watch.start()
            step = self.participant.accept(record)
            opens = self.participant.opens_windows
            if step.outs and opens and self._opened_s is not None:
                self._windows_s.append(self._clock.monotonic_s() - self._opened_s)
                self._opened_s = None
            self.offset = offset + 1
            if replaying:
                self.replayed_ns = self.participant.at_ns - self._from_ns
            self._fed_s = self._clock.monotonic_s()
            self._replay_s += self._fed_s - started_s
            self._hold(step.outs)
            await self._release()
            if step.outs and not opens:
                await self._after_close(step)
        if step.answer is not None:
            self._on_answer(self.plan.run, step.answer)
        return step.rejected

    def _hold(self, outs: Iterable[Out]) -> None:
        for out in outs:
            self._count(out)
            if not self._over:
                self._held.append(out)

    def _count(self, out: Out) -> None:
        self.tally.add(RECORDS_SENT)
        self.tally.add(BYTES_SENT, count=len(out.record))

    async def release(self) -> None:
        """Send what was held back, if it is time, and what has waited for long enough."""
        async with self._lock:
            await self._release()
            if self.unsent_journal and self._clock.monotonic_s() - self._fed_s >= JOURNAL_S:
                await self._send_journal()

    def wait_s(self) -> float | None:
        """How long what is held back has to wait yet; None: nothing is, or until `resume`."""
        participant = self.participant
        if not self._held or participant.paused:
            return None
        at_ns = participant.at_ns
        return self._pace.wait_s(participant.speed, at_ns, caught_up=self.caught_up)

    async def _release(self) -> None:
        if self.wait_s() != 0:
            return
        while self._held:
            out = self._held[0]
            if self.participant.ended:
                await self._send_journal()
                if out.topic == FAULTS:
                    await self._account()
                    await self._acknowledged()  # a run that has ended has all of its journal
            await self._send(out)
            self._held.popleft()
            if out.topic != FAULTS and self.caught_up:
                self._opened_s = self._clock.monotonic_s()
        if self._journal_bytes >= JOURNAL_BYTES:
            await self._send_journal()
        if len(self._sent) > UNACKNOWLEDGED_MAX:
            await self._acknowledged()

    async def _send(self, out: Out) -> None:
        name = topic_name(self.plan.run, out.topic)
        self._sent.append((name, await self._bus.send(name, out.partition, out.record)))
        self._on_sent(out.topic, len(out.record))

    async def _after_close(self, step: Step) -> None:
        """What a shard does that nobody waits for: count the window, and make its journal."""
        await self._bus.on_its_way()
        self._watch.start()
        self.tally.feed(step.events)
        self._watch.lap("simulation")
        outs = self.participant.journal()
        self._watch.lap("codec")
        for out in outs:
            self._count(out)
            if not self._over:
                self._journal.append(out)
                self._journal_bytes += len(out.record)

    async def _send_journal(self) -> None:
        """In order: a record leaves the list when the bus has it."""
        while self._journal:
            await self._send(self._journal[0])
            self._journal_bytes -= len(self._journal.pop(0).record)

    async def acknowledged(self) -> None:
        """Wait until the log has everything that was sent, at the end with an account."""
        async with self._lock:
            if self.participant.ended:
                await self._account()
            await self._acknowledged()

    async def _account(self) -> None:
        """Say once what the participant took; not who only found it ended."""
        seconds = self._watch.seconds
        if self._over or self._accounted or not seconds["simulation"]:
            return
        self._accounted = True
        records, size = (self.tally.counts.get((key, ()), 0) for key in (RECORDS_SENT, BYTES_SENT))
        spent = Spent(
            self._instance, self._from_s, self._clock.wall_s(),
            seconds["codec"], seconds["simulation"], records, size,
        )  # fmt: skip
        key = f"{self.plan.run}/spent-{self.participant.source}"
        sending = await self._bus.send(RUNS_TOPIC, 0, msgspec.json.encode(spent), key.encode())
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
        return done and not self._lost and self.failed() is None

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

    async def snapshot_if_due(self) -> bool:
        """When replaying would take longer than a snapshot is worth, and rarely if it is large.

        Whether one was written.
        """
        worth_s = self._snapshot_bytes / SNAPSHOT_BYTES_PER_S
        return self._replay_s >= max(self._snapshot_s, worth_s) and await self.snapshot()

    async def snapshot(self) -> bool:
        """Write one behind acknowledged output; False for no news, or while something is held.

        Nor of what is lost: it may stand between a window and its journal.
        """
        async with self._lock:
            if self._held or self._lost or self._replay_s == 0:
                return False
            await self._send_journal()
            await self._acknowledged()
            taken = snapshots.take(
                self.participant, self._number, self.offset, tally=self.tally.state()
            )
            *parts, manifest = snapshots.records_of(taken)
            await asyncio.gather(*[await self._store(key, value) for key, value in parts])
            await (await self._store(*manifest))
            self._number += 1
            self._replay_s = 0.0
            self._snapshot_bytes = taken.manifest.size
            return True

    async def _store(self, key: bytes, value: bytes) -> asyncio.Future[Any]:
        self._on_sent(SNAPSHOTS, len(value))
        return await self._bus.send(self._snapshot_topic, self._snapshot_partition, value, key)


def _in_log(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _lost(sent: Iterable[tuple[str, asyncio.Future[Any]]]) -> LostError | None:
    lost: LostError | None = None
    for topic, future in sent:
        if not future.done():
            continue
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if isinstance(error, TopicAuthorizationFailedError):
            error = missing("Write", error, topic)
        if error is not None:
            lost = lost or LostError(f"{topic}: {error!r}")
    return lost
