"""One service process: waits for runs, owns partitions of them, executes what it owns.

The consumer group decides only who owns what.  Position, state and numbering of output come from
the newest snapshot and the log behind it, so a process that joins, dies, or was thought dead
changes nothing in what a run says (design, "Time", Recovery).

The callbacks of the group only note what was assigned: a takeover may take longer than the group
has patience for, so it happens in the service's own loop.  The same loop takes a partition over
again when something that was sent did not reach the log.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Iterable, Sequence

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from pagewake.bus.kafka import KafkaBus, group_consumer
from pagewake.cluster.commander import Commander
from pagewake.cluster.commands import Answer
from pagewake.cluster.control import ControlPlane
from pagewake.cluster.health import Health
from pagewake.cluster.owner import Owner
from pagewake.cluster.participant import HostParticipant, Rejected
from pagewake.cluster.plan import RUNS_TOPIC, RunPlan, split_topic, topic_name
from pagewake.cluster.runs import HostEnded, Runs, StateChanged
from pagewake.cluster.settings import SERVICE_WAIT_S, ServiceKind, Settings
from pagewake.errors import BrokerError, PagewakeError
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS

INPUT_TOPIC: dict[ServiceKind, str] = {"host": FAULTS, "guest": APF_GUEST, "nested": APF_NESTED}
POLL_S = 0.2
PROGRESS_S = 1.0
LAST_SNAPSHOT_S = 5.0

log = structlog.get_logger()


def described(error: Exception) -> str:
    """A defect, and the place it came up."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error!r} ({last.filename}:{last.lineno}): a defect of pagewake"


class Service(ConsumerRebalanceListener):  # type: ignore[misc]
    """See the module."""

    def __init__(self, kind: ServiceKind, settings: Settings) -> None:
        self.kind = kind
        self.settings = settings
        self.topic = INPUT_TOPIC[kind]
        self.bus = KafkaBus(settings.kafka_settings(SERVICE_WAIT_S))
        self.runs = Runs()
        self.owners: dict[TopicPartition, Owner] = {}
        self.health = Health(kind, lambda: list(self.owners.values()))
        commander = Commander(self.bus, lambda: list(self.owners.values()), self._reply)
        self.control = ControlPlane(kind, settings.mqtt, settings.instance, commander.take)
        self.stopping = asyncio.Event()
        self._subscribed: set[str] = set()
        self._assigned: set[TopicPartition] = set()
        self._consumer: AIOKafkaConsumer | None = None
        self._changed = asyncio.Event()
        self._broken = ""
        self._given_up: set[TopicPartition] = set()
        self._complained: set[tuple[TopicPartition, str]] = set()
        self._told_s = 0.0

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Until `stopping` is set; BrokerError if no broker answers at start."""
        await self.health.start(self.settings.http)
        async with self.bus:
            await self.bus.create_topics({RUNS_TOPIC: (1, True)})
            watcher = asyncio.create_task(self._watch_runs())
            try:
                await self._serve()
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)
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
        log.info(
            "serving", service=self.kind, instance=self.settings.instance, http=self.health.port
        )
        while not self.stopping.is_set():
            self._subscribe(consumer)
            if self._subscribed:
                await self._turn(consumer)
            else:
                await self._idle()
            await self._tell()

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        """Take over what is new, read what there is, and look after what is owned."""
        try:
            await self._take_over_assigned(consumer)
            batches = await consumer.getmany(timeout_ms=self._patience_ms())
        except (KafkaError, IllegalStateError) as error:
            log.warning("kafka is not answering, waiting", error=str(error))
            await asyncio.sleep(1)
            return
        for place, records in batches.items():
            await self._feed(place, records)
        await self._look_after()
        if self._broken:
            await self._reconnect()

    def _patience_ms(self) -> int:
        """Until the next window that a pace holds back may open."""
        waits = [wait_s for owner in self.owners.values() if (wait_s := owner.wait_s()) is not None]
        return int(1000 * min([POLL_S, *waits]))

    async def _idle(self) -> None:
        """No run: wait for one, or for the end."""
        self._changed.clear()
        waits = [asyncio.create_task(each.wait()) for each in (self._changed, self.stopping)]
        await asyncio.wait(waits, timeout=PROGRESS_S, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()

    async def _leave(self) -> None:
        self.stopping.set()
        for owner in list(self.owners.values()):
            await self._last_snapshot(owner)
        await self.control.close()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
        log.info("left", service=self.kind, instance=self.settings.instance)

    async def _reconnect(self) -> None:
        """What was sent is not in the log: its senders are ahead of it and must start over."""
        log.error("output was lost, starting over from the snapshots", error=self._broken)
        self._broken = ""
        self.owners.clear()
        await self.bus.stop()
        while not self.stopping.is_set():
            try:
                await self.bus.start()
            except BrokerError as error:
                log.warning("kafka is not answering, waiting", error=str(error))
            else:
                return

    # ------------------------------------------------------------------ ownership

    def _subscribe(self, consumer: AIOKafkaConsumer) -> None:
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
            self._assigned.clear()
            self.owners.clear()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Others may own them next: leave them a fresh snapshot."""
        for place in revoked:
            owner = self.owners.get(place)
            if owner is not None:
                await self._last_snapshot(owner)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """What was owned before goes on where it is; the rest is taken over by the loop."""
        assert self._consumer is not None
        self._assigned = set(assigned)
        self.owners = {place: o for place, o in self.owners.items() if place in self._assigned}
        for place in self._assigned:
            if place in self.owners:
                self._consumer.seek(place, self.owners[place].offset)
            else:
                self._consumer.pause(place)

    async def _last_snapshot(self, owner: Owner) -> None:
        entry = self.runs.entries.get(owner.plan.run)
        if entry is None or not entry.active or owner.participant.ended:
            return
        try:
            await asyncio.wait_for(owner.snapshot(), LAST_SNAPSHOT_S)
        except (KafkaError, TimeoutError) as error:
            log.warning("no last snapshot", owner=owner.label, error=repr(error))

    async def _take_over_assigned(self, consumer: AIOKafkaConsumer) -> None:
        for place in sorted(self._assigned - self.owners.keys() - self._given_up):
            run, topic = split_topic(place.topic)
            entry = self.runs.entries.get(run)
            if entry is None or not entry.active or self.stopping.is_set():
                continue
            owner = await self._recovered(entry.plan, topic, place, consumer)
            if owner is not None and place in consumer.assignment():
                self.owners[place] = owner
                consumer.seek(place, owner.offset)
                consumer.resume(place)
                if owner.participant.ended:
                    await self._ended(owner)

    async def _recovered(
        self, plan: RunPlan, topic: str, place: TopicPartition, consumer: AIOKafkaConsumer
    ) -> Owner | None:
        """Newest snapshot, to go on with the log behind it."""
        try:
            owner = Owner(self.bus, plan, topic, place.partition, self.settings.snapshot_s)
            owner.log_end = (await consumer.end_offsets([place]))[place]
            await owner.recover()
        except KafkaError:
            raise
        except PagewakeError as error:
            self._given_up.add(place)
            await self._stop_run(plan.run, f"{place.topic}-{place.partition}: {error}")
            return None
        for refused in owner.refused:
            log.warning("snapshot passed over", owner=owner.label, why=refused)
        log.info(
            "owned", run=plan.run, source=owner.participant.source, offset=owner.offset,
            replay=owner.log_end - owner.offset, window=owner.participant.window,
            at_ns=owner.participant.at_ns,
        )  # fmt: skip
        return owner

    # ------------------------------------------------------------------ work

    async def _feed(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        owner = self.owners.get(place)
        if owner is None:
            return
        was_ended = owner.participant.ended
        for record in records:
            if self.owners.get(place) is not owner:
                return
            try:
                rejected = await owner.feed(record.offset, record.value, self._answered)
            except KafkaError as error:
                self._broken = f"{owner.label}: {error!r}"
                return
            except Exception as error:  # noqa: BLE001 - a poisoned record must not take others along
                where = f"{place.topic}-{place.partition} at offset {record.offset}"
                why = str(error) if isinstance(error, PagewakeError) else described(error)
                self.owners.pop(place, None)
                self._given_up.add(place)
                await self._stop_run(owner.plan.run, f"{where}: {why}")
                return
            if rejected is not None:
                self._reject(place, record.offset, rejected)
        self.health.count(self.topic, len(records))
        if owner.participant.ended and not was_ended:
            await self._ended(owner)

    def _reject(self, place: TopicPartition, offset: int, rejected: Rejected) -> None:
        """Counted each time, logged once per partition and kind."""
        self.health.rejected(rejected.why)
        if (place, rejected.why) not in self._complained:
            self._complained.add((place, rejected.why))
            log.warning(
                "record not applied", topic=place.topic, partition=place.partition, offset=offset,
                why=rejected.why, what=rejected.what[:500],
            )  # fmt: skip

    async def _ended(self, owner: Owner) -> None:
        """All that it sent is in the log; a simulated host then says so."""
        participant = owner.participant
        try:
            await owner.acknowledged()
            if isinstance(participant, HostParticipant):
                ended = HostEnded(participant.end_ns or 0, participant.window + 1)
                await self._say(f"{owner.plan.run}/host-{participant.index}", ended)
        except KafkaError as error:
            self._broken = f"{owner.label}: {error!r}"
            return
        log.info(
            "ended", run=owner.plan.run, source=participant.source, window=participant.window,
            at_ns=participant.at_ns,
        )  # fmt: skip

    async def _stop_run(self, run: str, why: str) -> None:
        """Loudly: the run's log is broken, or two versions of the code met in it."""
        log.error("run stopped", run=run, why=why)
        await self._say(f"{run}/state", StateChanged("stopped", why))

    async def _say(self, key: str, what: HostEnded | StateChanged) -> None:
        await (await self.bus.send(RUNS_TOPIC, 0, msgspec.json.encode(what), key.encode()))

    async def _answered(self, plan: RunPlan, answer: Answer) -> None:
        self._reply(plan.run, answer)

    def _reply(self, run: str, answer: Answer) -> None:
        self.control.answer(run, answer)

    async def _look_after(self) -> None:
        for owner in list(self.owners.values()):
            error = owner.failed()
            if error is not None:
                self._broken = f"{owner.label}: {error!r}"
                return
            taken = owner.snapshots
            try:
                await owner.release()
                await owner.snapshot_if_due()
            except KafkaError as lost:
                self._broken = f"{owner.label}: {lost!r}"
                return
            if owner.snapshots > taken:
                self.health.snapshot_taken()

    async def _tell(self) -> None:
        if time.monotonic() - self._told_s >= PROGRESS_S:
            self._told_s = time.monotonic()
            self.health.beat()
            finished = {name for name, entry in self.runs.entries.items() if entry.finished}
            await self.control.tell(self.owners.values(), finished)
