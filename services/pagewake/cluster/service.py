"""One service process: waits for runs, owns partitions of them, executes what it owns.

The consumer group decides only who owns what.  Position, state and numbering of output come from
the newest snapshot and the log behind it, so a process that joins, dies, or was thought dead
changes nothing in what a run says (design, "Time", Recovery).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from pagewake.bus.kafka import KafkaBus, group_consumer
from pagewake.bus.port import BrokenLogError
from pagewake.cluster.commands import Answer
from pagewake.cluster.control import ControlPlane
from pagewake.cluster.health import Health
from pagewake.cluster.owner import Owner
from pagewake.cluster.participant import HostParticipant
from pagewake.cluster.plan import RUNS_TOPIC, RunPlan, split_topic, topic_name
from pagewake.cluster.runs import HostEnded, Runs, StateChanged
from pagewake.cluster.settings import SERVICE_WAIT_S, ServiceKind, Settings
from pagewake.errors import PagewakeError
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS

INPUT_TOPIC: dict[ServiceKind, str] = {"host": FAULTS, "guest": APF_GUEST, "nested": APF_NESTED}
POLL_MS = 200
PROGRESS_S = 1.0

log = structlog.get_logger()


class Service(ConsumerRebalanceListener):  # type: ignore[misc]
    """See the module."""

    def __init__(self, kind: ServiceKind, settings: Settings) -> None:
        self.kind = kind
        self.settings = settings
        self.topic = INPUT_TOPIC[kind]
        self.bus = KafkaBus(settings.kafka_settings(SERVICE_WAIT_S))
        self.runs = Runs()
        self.owners: dict[TopicPartition, Owner] = {}
        self.health = Health(kind)
        self.control = ControlPlane(kind, settings, self)
        self.stopping = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._subscribed: set[str] = set()
        self._changed = asyncio.Event()
        self._reported_s = 0.0

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Until `stopping` is set; BrokerError if no broker answers at start."""
        async with self.bus:
            await self.bus.create_topics({RUNS_TOPIC: (1, True)})
            await self.health.start(self.settings.http)
            watcher = asyncio.create_task(self._watch_runs())
            control = asyncio.create_task(self.control.run())
            try:
                await self._serve()
            finally:
                for task in (watcher, control):
                    task.cancel()
                await asyncio.gather(watcher, control, return_exceptions=True)
                await self._leave()
                await self.health.stop()

    async def _watch_runs(self) -> None:
        while True:
            try:
                async for stored in self.bus.read(RUNS_TOPIC, 0, follow=True):
                    if self.runs.feed(stored) is not None:
                        self._changed.set()
            except KafkaError as error:
                log.warning("runs cannot be read, trying again", error=str(error))
                await asyncio.sleep(1)

    async def _serve(self) -> None:
        consumer = group_consumer(self.bus.settings, f"pagewake-{self.kind}")
        await consumer.start()
        self._consumer = consumer
        self.health.ready = True
        log.info("serving", service=self.kind, instance=self.settings.instance)
        while not self.stopping.is_set():
            await self._subscribe(consumer)
            if not self._subscribed:
                await self._idle()
                continue
            try:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
            except (KafkaError, IllegalStateError) as error:
                log.warning("kafka is not answering, waiting", error=str(error))
                await asyncio.sleep(1)
                continue
            for place, messages in batches.items():
                await self._feed(place, [(m.offset, m.value) for m in messages])
            await self._housekeeping()

    async def _idle(self) -> None:
        """No run: wait for one, or for the end."""
        self._changed.clear()
        waits = [asyncio.create_task(e.wait()) for e in (self._changed, self.stopping)]
        await asyncio.wait(waits, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()

    async def _leave(self) -> None:
        for owner in list(self.owners.values()):
            await self._last_snapshot(owner)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    # ------------------------------------------------------------------ ownership

    async def _subscribe(self, consumer: AIOKafkaConsumer) -> None:
        wanted = {
            topic_name(name, self.topic)
            for name, entry in self.runs.entries.items()
            if entry.active and self.topic in entry.plan.topology.partitions()
        }
        if wanted == self._subscribed:
            return
        self._subscribed = wanted
        if wanted:
            consumer.subscribe(topics=sorted(wanted), listener=self)
        else:
            consumer.unsubscribe()
            self.owners.clear()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Others may own them next: leave them a fresh snapshot."""
        for place in revoked:
            owner = self.owners.get(place)
            if owner is not None:
                await self._last_snapshot(owner)

    async def _last_snapshot(self, owner: Owner) -> None:
        if owner.plan.run in self.runs.entries and self.runs.entries[owner.plan.run].active:
            try:
                await asyncio.wait_for(owner.snapshot(), timeout=5)
            except (KafkaError, TimeoutError) as error:
                log.warning("no last snapshot", owner=owner.label, error=str(error))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Take over: newest snapshot, then the log behind it."""
        assert self._consumer is not None
        places = set(assigned)
        self.owners = {place: o for place, o in self.owners.items() if place in places}
        for place in sorted(places):
            if place not in self.owners:
                await self._take_over(place)
            if place in self.owners:
                self._consumer.seek(place, self.owners[place].offset)

    async def _take_over(self, place: TopicPartition) -> None:
        run, topic = split_topic(place.topic)
        entry = self.runs.entries.get(run)
        if entry is None:
            return
        owner = Owner(self.bus, entry.plan, topic, place.partition, self.settings.snapshot_s)
        try:
            await owner.recover()
        except PagewakeError as error:
            await self._stop_run(run, f"{owner.label}: {error}")
            return
        self.owners[place] = owner
        log.info(
            "owned", run=run, source=owner.participant.source, offset=owner.offset,
            window=owner.participant.window, at_ns=owner.participant.at_ns,
        )  # fmt: skip

    # ------------------------------------------------------------------ work

    async def _feed(self, place: TopicPartition, records: list[tuple[int, bytes | None]]) -> None:
        owner = self.owners.get(place)
        if owner is None:
            return
        was_ended = owner.participant.ended
        try:
            for offset, record in records:
                if self.owners.get(place) is not owner:
                    return
                await owner.feed(offset, record, self._answered)
        except BrokenLogError as error:
            await self._stop_run(owner.plan.run, f"{owner.label}: {error}")
            del self.owners[place]
            return
        self.health.count(owner, len(records))
        if owner.participant.ended and not was_ended:
            await self._ended(owner)

    async def _ended(self, owner: Owner) -> None:
        await owner.acknowledged()
        participant = owner.participant
        log.info(
            "ended", run=owner.plan.run, source=participant.source, window=participant.window,
            at_ns=participant.at_ns,
        )  # fmt: skip
        if isinstance(participant, HostParticipant):
            ended = HostEnded(participant.end_ns or 0, participant.window + 1)
            key = f"{owner.plan.run}/host-{participant.index}"
            await self._say(key, ended)

    async def _stop_run(self, run: str, why: str) -> None:
        """Loudly: the run's log is broken, or two versions of the code met in it."""
        log.error("run stopped", run=run, why=why)
        await self._say(f"{run}/state", StateChanged("stopped", why))

    async def _say(self, key: str, what: HostEnded | StateChanged) -> None:
        await (await self.bus.send(RUNS_TOPIC, 0, msgspec.json.encode(what), key.encode()))

    async def _answered(self, plan: RunPlan, answer: Answer) -> None:
        await self.control.answer(plan, answer)

    async def _housekeeping(self) -> None:
        for owner in list(self.owners.values()):
            if owner.held and not owner.paused:
                await owner.release()
            await owner.snapshot_if_due()
        if time.monotonic() - self._reported_s >= PROGRESS_S:
            self._reported_s = time.monotonic()
            self.health.observe(list(self.owners.values()))
            await self.control.progress(list(self.owners.values()))
