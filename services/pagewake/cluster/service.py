"""One service process: waits for runs, owns partitions of them, executes what it owns.

The consumer group decides only who owns what.  Position, state and numbering of output come from
the newest snapshot and the log behind it, so a process that joins, dies, or was thought dead
changes nothing in what a run says (design, "Recovery").

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

from pagewake.bus.kafka import KafkaBus, dismiss_predecessor, group_consumer
from pagewake.cluster.commander import Commander
from pagewake.cluster.control import ControlPlane
from pagewake.cluster.health import Health
from pagewake.cluster.owner import Owner
from pagewake.cluster.runs import HostEnded, Runs, StateChanged
from pagewake.cluster.settings import SERVICE_WAIT_S, ServiceKind, Settings
from pagewake.errors import BrokerError, PagewakeError
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS
from pagewake.participants.commands import Answer
from pagewake.participants.participant import Rejected
from pagewake.participants.plan import RUNS_TOPIC, SNAPSHOTS, RunPlan, split_topic, topic_name

INPUT_TOPIC: dict[ServiceKind, str] = {"host": FAULTS, "guest": APF_GUEST, "nested": APF_NESTED}
POLL_S = 0.2
PROGRESS_S = 1.0
ASK_S = 2.0
SILENT_S = 3.0
AGAIN_S = 1.0
START_OVER_S = 3.0
LAST_SNAPSHOT_S = 5.0
STOP_S = 10.0
FAILURES_MAX = 3

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
        self.health = Health(lambda: list(self.owners.values()))
        commander = Commander(self.bus, lambda: list(self.owners.values()), self._reply)
        self.control = ControlPlane(kind, settings.mqtt, settings.instance, commander.take)
        self.stopping = asyncio.Event()
        self._subscribed: set[str] = set()
        self._news = True
        self._asked_s = 0.0
        self._assigned: set[TopicPartition] = set()
        self._consumer: AIOKafkaConsumer | None = None
        self._changed = asyncio.Event()
        self._broken = ""
        self._given_up: set[TopicPartition] = set()
        self._not_before_s: dict[TopicPartition, float] = {}
        self._complained: set[tuple[TopicPartition, str]] = set()
        self._told_s = 0.0
        self._failures = 0
        self._group = f"pagewake-{kind}"

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Until `stopping` is set; BrokerError if no broker answers at start."""
        await self.health.start(self.settings.http)
        async with self.bus:
            await self.bus.create_topics({RUNS_TOPIC: (1, True)})
            watching = (self._watch_runs(), self._watch_kafka())
            watchers = [asyncio.create_task(watch) for watch in watching]
            try:
                await self._serve()
            finally:
                for watcher in watchers:
                    watcher.cancel()
                await asyncio.gather(*watchers, return_exceptions=True)
                await self._leave()
                await self.health.stop()

    async def _watch_runs(self) -> None:
        while True:
            try:
                async for stored in self.bus.read(RUNS_TOPIC, 0, follow=True):
                    run = self.runs.feed(stored)
                    if run is not None:
                        self._news = True
                        self._changed.set()
                        if run not in self.runs.entries:
                            self.bus.forget_topics(topic_name(run, ""))
                    if self.runs.refused:
                        rejected = Rejected("malformed", self.runs.refused)
                        self._reject(TopicPartition(RUNS_TOPIC, 0), stored.offset, rejected)
            except KafkaError as error:
                log.warning("runs cannot be read, trying again", error=str(error))
                await asyncio.sleep(1)

    async def _watch_kafka(self) -> None:
        """Its clients wait for it in silence, so somebody has to ask."""
        address = self.bus.settings.bootstrap
        while True:
            await asyncio.sleep(ASK_S)
            answers = await self.bus.answers(RUNS_TOPIC, SILENT_S)
            if answers is None:
                continue
            if answers:
                silent_s = self.health.kafka_answers()
                if silent_s:
                    log.info("kafka answers again", kafka=address, after_s=round(silent_s, 1))
            elif self.health.kafka_is_silent(address):
                log.warning("kafka is not answering, waiting", kafka=address)

    async def _joining(self, group: str) -> AIOKafkaConsumer:
        """A member of the group, in place of the one that had its name."""
        instance = self.settings.instance
        try:
            dismissed = await dismiss_predecessor(self.bus.settings, group, instance)
        except KafkaError as error:
            log.info("a predecessor may hold its partitions for a while", why=repr(error))
        else:
            if dismissed:
                log.info("predecessor dismissed", group=group, instance=instance)
        consumer = group_consumer(self.bus.settings, group, instance)
        await consumer.start()
        return consumer

    async def _serve(self) -> None:
        consumer = await self._joining(self._group)
        self._consumer = consumer
        self.health.ready = True
        log.info(
            "serving", service=self.kind, instance=self.settings.instance, http=self.health.port
        )
        while not self.stopping.is_set():
            if self._failures >= FAILURES_MAX:
                consumer = await self._rejoined(consumer)
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
        except (KafkaError, IllegalStateError) as error:
            log.warning("nothing can be taken over, trying again", error=repr(error))
            await asyncio.sleep(AGAIN_S)
            return
        try:
            batches = await consumer.getmany(
                timeout_ms=self._patience_ms(), max_records=self._records_max()
            )
        except (KafkaError, IllegalStateError) as error:
            log.warning("nothing can be read, trying again", error=repr(error))
            self._failures += 1
            await asyncio.sleep(AGAIN_S)
            return
        self._failures = 0
        for place, records in batches.items():
            await self._feed(place, records)
        await self._look_after()
        if self._broken:
            await self._reconnect(consumer)

    async def _rejoined(self, consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
        """A member in place of one that is broken for good: what reads nothing over and over.

        A client whose group routine has failed (it may when the broker comes back in the middle of
        a rebalance) says so at each call and never joins again.  It also never hears what it lost
        meanwhile, so everything is taken over anew.
        """
        log.error("reading fails over and over, joining the group anew", group=self._group)
        for owner in self.owners.values():
            owner.forget()
        self.owners.clear()
        self._assigned.clear()
        self._subscribed = set()
        self._news = True
        self._consumer = None
        try:
            await asyncio.wait_for(consumer.stop(), STOP_S)
        except Exception as error:  # noqa: BLE001 - it is broken; nothing of it is needed any more
            log.warning("the broken member could not be stopped in order", error=repr(error))
        while not self.stopping.is_set():
            try:
                self._consumer = consumer = await self._joining(self._group)
            except (KafkaError, OSError) as error:
                log.warning("kafka is not answering, waiting", error=repr(error))
                await asyncio.sleep(AGAIN_S)
            else:
                break
        self._failures = 0
        return consumer

    def _records_max(self) -> int | None:
        """One by one once caught up: a client that has handed out all it has fetches at once.

        That would stand before the output, which others wait for.
        """
        return 1 if all(owner.caught_up for owner in self.owners.values()) else None

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

    def _lose(self, owner: Owner, error: Exception) -> None:
        owner.lost = True
        self._broken = f"{owner.label}: {error!r}"

    async def _reconnect(self, consumer: AIOKafkaConsumer) -> None:
        """What was sent is not in the log: its senders are ahead of it and must start over.

        With a producer of its own time, because the old one's numbering has a gap.  Those whose
        output is all there go on; the others wait a little, so that they do not disturb them much.
        """
        log.error("output was lost, starting over from the snapshots", error=self._broken)
        self._broken = ""
        await self.bus.stop()
        for place in [place for place, owner in self.owners.items() if not owner.settled]:
            self.owners.pop(place).forget()
            self._not_before_s[place] = time.monotonic() + START_OVER_S
            if place in consumer.assignment():
                consumer.pause(place)
        while not self.stopping.is_set():
            try:
                await self.bus.start()
            except BrokerError as error:
                log.warning("kafka is not answering, waiting", error=str(error))
            else:
                return

    # ------------------------------------------------------------------ ownership

    def _subscribe(self, consumer: AIOKafkaConsumer) -> None:
        now_s = time.time()
        if not self._news and abs(now_s - self._asked_s) < PROGRESS_S:
            return
        self._news, self._asked_s = False, now_s
        wanted = {
            topic_name(name, self.topic)
            for name, entry in self.runs.entries.items()
            if entry.owned(now_s) and self.topic in entry.plan.topology.partitions()
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
        now_s = time.monotonic()
        early = {place for place, due_s in self._not_before_s.items() if due_s > now_s}
        missing = self._assigned - self.owners.keys() - self._given_up - early
        if not missing:
            return
        active = {place for place in self._assigned if self._is_active(place)}
        behind = {place for place in active if not self._caught_up(place)}
        if behind:
            self._put_off(consumer, active)
            missing &= active
        else:
            missing = set(sorted(missing)[:1])  # has ended, and is wanted for its metrics only
        for place in sorted(missing):
            run, topic = split_topic(place.topic)
            entry = self.runs.entries.get(run)
            if place not in self._assigned or self.stopping.is_set():
                continue  # another's by now, or soon
            if entry is None or not entry.owned(time.time()):
                continue
            owner = await self._recovered(entry.plan, topic, place, consumer)
            if owner is not None and place in consumer.assignment():
                self.owners[place] = owner
                consumer.seek(place, owner.offset)
                consumer.resume(place)
                if owner.participant.ended:
                    await self._ended(owner)

    def _is_active(self, place: TopicPartition) -> bool:
        entry = self.runs.entries.get(split_topic(place.topic)[0])
        return entry is not None and entry.active

    def _caught_up(self, place: TopicPartition) -> bool:
        owner = self.owners.get(place)
        return owner is not None and owner.caught_up

    def _put_off(self, consumer: AIOKafkaConsumer, active: set[TopicPartition]) -> None:
        """What has ended is executed again for its metrics alone: what goes on comes first."""
        for place, owner in list(self.owners.items()):
            if place not in active and not owner.caught_up:
                self.owners.pop(place).forget()
                if place in consumer.assignment():
                    consumer.pause(place)

    async def _recovered(
        self, plan: RunPlan, topic: str, place: TopicPartition, consumer: AIOKafkaConsumer
    ) -> Owner | None:
        """Newest snapshot, to go on with the log behind it."""
        try:
            owner = Owner(
                self.bus, plan, topic, place.partition, self.settings.snapshot_s, self.health.sent,
                self.settings.instance,
            )  # fmt: skip
            owner.over = self.runs.entries[plan.run].finished
            owner.log_end = (await consumer.end_offsets([place]))[place]
            await owner.recover()
        except KafkaError:
            raise
        except PagewakeError as error:
            self._given_up.add(place)
            await self._stop_run(plan.run, f"{place.topic}-{place.partition}: {error}")
            return None
        self._pass_over(owner, plan.snapshot_partition(topic, place.partition))
        self.health.recovered()
        log.info(
            "owned", run=plan.run, source=owner.participant.source, offset=owner.offset,
            replay=owner.log_end - owner.offset, window=owner.participant.window,
            at_ns=owner.participant.at_ns,
        )  # fmt: skip
        return owner

    def _pass_over(self, owner: Owner, partition: int) -> None:
        """Snapshots and parts of them that could not be used."""
        place = TopicPartition(topic_name(owner.plan.run, SNAPSHOTS), partition)
        for refused in owner.refused:
            self._reject(place, None, Rejected("malformed", f"{owner.label}: {refused}"))

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
                self._lose(owner, error)
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
        if self._consumer is not None:
            owner.highwater = self._consumer.highwater(place) or 0
        self.health.received(
            self.topic, len(records), sum(len(record.value or b"") for record in records)
        )
        if owner.participant.ended and not was_ended:
            await self._ended(owner)

    def _reject(self, place: TopicPartition, offset: int | None, rejected: Rejected) -> None:
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
            entry = self.runs.entries.get(owner.plan.run)
            said = entry is not None and entry.finished
            if participant.end_ns is not None and not said:
                ended = HostEnded(participant.end_ns, participant.window + 1, time.time())
                await self._say(f"{owner.plan.run}/{participant.source}", ended)
        except KafkaError as error:
            self._lose(owner, error)
            return
        log.info(
            "ended", run=owner.plan.run, source=participant.source, window=participant.window,
            at_ns=participant.at_ns,
        )  # fmt: skip

    async def _stop_run(self, run: str, why: str) -> None:
        """Loudly: the run's log is broken, or two versions of the code met in it."""
        entry = self.runs.entries.get(run)
        if entry is not None and entry.finished:
            log.error("finished run cannot be kept", run=run, why=why)
            return
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
                self._lose(owner, error)
                return
            taken = owner.snapshots
            try:
                await owner.release()
                await owner.snapshot_if_due()
            except KafkaError as lost:
                self._lose(owner, lost)
                return
            if owner.snapshots > taken:
                self.health.snapshot_taken()

    async def _tell(self) -> None:
        if time.monotonic() - self._told_s >= PROGRESS_S:
            self._told_s = time.monotonic()
            self.health.beat()
            entries = self.runs.entries
            finished = {name for name, entry in entries.items() if entry.finished}
            told = [own for own in self.owners.values() if own.plan.run not in finished]
            silent = bool(self.health.kafka_silent)
            await self.control.tell(told, finished, waiting=silent)
