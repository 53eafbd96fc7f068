"""One service process: waits for runs, owns partitions of them, executes what it owns.

The loop of a service.  Which partitions are its own the group decides (`membership`); what it does
with them stands in `ownership`, and what runs there are in `runs_topic`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import structlog
from aiokafka.errors import KafkaError

from pagewake.bus.kafka import KafkaBus
from pagewake.cluster.clock import Clock
from pagewake.cluster.commander import Commander
from pagewake.cluster.control import ControlPlane
from pagewake.cluster.copies import CopiesWatch
from pagewake.cluster.garbage import Garbage
from pagewake.cluster.health import Health, verdict
from pagewake.cluster.http_server import HttpServer
from pagewake.cluster.log_watch import LogWatch
from pagewake.cluster.membership import UNREADABLE, LogCutError, Membership, connected
from pagewake.cluster.owner import Owner
from pagewake.cluster.ownership import Ownership
from pagewake.cluster.process_metrics import ProcessMetrics
from pagewake.cluster.rejections import Rejections
from pagewake.cluster.runs_topic import RunsTopic
from pagewake.cluster.settings import SERVICE_WAIT_S, ServiceKind, Settings
from pagewake.cluster.twins import Twins
from pagewake.errors import BrokerError
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS
from pagewake.participants.commands import Answer
from pagewake.participants.plan import RUNS_TOPIC, RunPlan, topic_name

INPUT_TOPIC: dict[ServiceKind, str] = {"host": FAULTS, "guest": APF_GUEST, "nested": APF_NESTED}
# A read without a record lasts so long: snapshots, news and the end of the service wait for it.
POLL_S = 0.2
# Figures over MQTT, and whether what ended is kept any longer.
PROGRESS_S = 1.0
# Kafka is asked so often whether it is there, and missed if it says nothing for SILENT_S.
ASK_S = 2.0
SILENT_S = 3.0
# After a failure, so that a broker that is away is not asked in a tight loop.
AGAIN_S = 1.0

log = structlog.get_logger()


class Service:
    """See the module; set `stopping` to end it."""

    def __init__(self, kind: ServiceKind, settings: Settings, clock: Clock) -> None:
        self.kind = kind
        self.settings = settings
        self.topic = INPUT_TOPIC[kind]
        self.clock = clock
        self.stopping = asyncio.Event()
        self.bus = KafkaBus(settings.kafka_settings(SERVICE_WAIT_S))
        self.copies = CopiesWatch()
        self.health = Health(self.owners, self._broken, clock)
        self.metrics = ProcessMetrics(
            self.owners, lambda: self.health.silent_s, self._broken, clock
        )
        self.http = HttpServer(
            {
                "/metrics": self.metrics.page,
                "/healthz": lambda: verdict(self.health.stuck()),
                "/readyz": lambda: verdict(
                    self.health.problems(),
                    [*self.health.notes(), *self.twins.lines(), *self.copies.lines()],
                ),
            }
        )
        self.rejections = rejections = Rejections(self.metrics.rejected)
        self.runs = RunsTopic(self.bus, rejections, self._heard, clock)
        self.logs = LogWatch(self.bus, self.runs, clock)
        self.garbage = Garbage(clock)
        self.ownership = Ownership(
            self._new_owner,
            self.runs,
            self.metrics,
            rejections,
            self.stopping,
            clock,
            self.logs,
            self.garbage.left,
        )
        group = f"pagewake-{kind}"
        self.twins = Twins(self.bus, group, settings.instance, clock)
        connect = partial(connected, self.bus.settings, group, settings.instance)
        self.membership = Membership(connect, self.ownership, clock)
        commander = Commander(self.bus, self.owners, self._answer)
        self.control = ControlPlane(
            kind, settings.mqtt_address(), settings.instance, commander.take, clock
        )
        self._news = asyncio.Event()
        self._news.set()
        self._subscribed_s = 0.0
        self._told_s = 0.0

    def owners(self) -> list[Owner]:
        """Of all partitions that it owns now."""
        return self.ownership.owners()

    def _broken(self) -> dict[str, str]:
        return self.runs.broken()

    def _new_owner(self, plan: RunPlan, topic: str, partition: int) -> Owner:
        return Owner(
            self.bus,
            plan,
            topic,
            partition,
            clock=self.clock,
            snapshot_s=self.settings.snapshot_s,
            instance=self.settings.instance,
            sent=self.metrics.sent,
            answered=self._answer,
        )

    def _answer(self, run: str, answer: Answer) -> None:
        self.control.answer(run, answer)

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Until `stopping` is set; BrokerError if no broker answers at start.

        MissingRightError where Kafka does not allow what a service cannot do without.
        """
        await self.http.start(self.settings.http)
        async with self.bus:
            await self.bus.create_topics({RUNS_TOPIC: (1, True)})
            watching = (
                self.runs.follow(),
                self.logs.follow(),
                self.twins.follow(),
                self._watch_kafka(),
            )
            watchers = [asyncio.create_task(watch) for watch in watching]
            following = watchers[0]
            following.add_done_callback(lambda _: self.stopping.set())
            try:
                await self._serve()
                if following.done():
                    following.result()
            finally:
                for watcher in watchers:
                    watcher.cancel()
                await asyncio.gather(*watchers, return_exceptions=True)
                await self._leave()
                await self.http.stop()

    def _heard(self, run: str) -> None:
        self._news.set()
        if run not in self.runs.entries:
            self.bus.forget_topics(topic_name(run, ""))
            self.rejections.forget(topic_name(run, ""))

    async def _watch_kafka(self) -> None:
        """Its clients wait for it in silence, so somebody has to ask."""
        while True:
            await self.clock.sleep(ASK_S)
            answers = await self.bus.answers(RUNS_TOPIC, SILENT_S)
            if answers is None:
                continue
            if answers:
                await self._look_at_copies()
                silent_s = self.health.kafka_answers()
                if silent_s:
                    log.info(
                        "kafka answers again", kafka=self.bus.address, after_s=round(silent_s, 1)
                    )
            elif self.health.kafka_is_silent(self.bus.address):
                log.warning("kafka is not answering, waiting", kafka=self.bus.address)

    async def _look_at_copies(self) -> None:
        plans = {owner.plan.run: owner.plan for owner in self.owners()}
        with suppress(KafkaError, OSError):  # a timeout among them; asked again in a moment
            async with asyncio.timeout(SILENT_S):
                await self.copies.look(self.bus, plans.values())

    async def _leave(self) -> None:
        self.stopping.set()
        await self.ownership.hand_over()
        await self.control.close()
        await self.membership.leave()
        log.info("left", service=self.kind, instance=self.settings.instance)

    # ------------------------------------------------------------------ the loop

    async def _serve(self) -> None:
        await self.membership.join(self.stopping)
        self.health.ready = True
        log.info("serving", service=self.kind, instance=self.settings.instance, http=self.http.port)
        while not self.stopping.is_set():
            if self.membership.broken:
                log.error("reading fails over and over, joining the group anew", service=self.kind)
                await self.membership.rejoin(self.stopping)
                self._news.set()
            elif self._subscribe():
                await self._turn()
            else:
                await self._idle()
            await self._tell()

    def _subscribe(self) -> bool:
        """Whether there are runs to own a part of; looked at when one is news, and now and then."""
        asked_s = self.clock.monotonic_s()
        if not self._news.is_set() and asked_s - self._subscribed_s < PROGRESS_S:
            return self.membership.subscribed
        self._news.clear()
        self._subscribed_s = asked_s
        now_s = self.clock.wall_s()
        return self.membership.subscribe(
            {
                topic_name(name, self.topic)
                for name, entry in self.runs.entries.items()
                if entry.owned(now_s) and self.topic in entry.plan.topology.partitions()
            }
        )

    async def _idle(self) -> None:
        """No run: wait for one, or for the end."""
        waits = [asyncio.create_task(each.wait()) for each in (self._news, self.stopping)]
        first = asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        with suppress(TimeoutError):
            await self.clock.wait_for(first, PROGRESS_S)
        for task in waits:
            task.cancel()

    async def _turn(self) -> None:
        """Take over what is new, read what there is, and look after what is owned."""
        try:
            await self.ownership.take_over(self.membership)
            batches = await self.membership.read(self._patience_s(), self._records_max())
        except LogCutError as error:
            self.ownership.cut_off(error.places, self.membership)
            return
        except UNREADABLE as error:
            log.warning("nothing can be read, trying again", error=repr(error))
            await self.clock.sleep(AGAIN_S)
            return
        for place, records in batches.items():
            await self.ownership.feed(place, records, self.membership)
        await self.ownership.look_after(batches, self.membership)
        if self.ownership.loss:
            await self._reconnect()

    def _records_max(self) -> int | None:
        """One by one once caught up: a client that has handed out all it has fetches at once.

        That would stand before the output, which others wait for.
        """
        return 1 if self.ownership.caught_up else None

    def _patience_s(self) -> float:
        """Until the next window that a pace holds back may open."""
        wait_s = self.ownership.wait_s()
        return POLL_S if wait_s is None else min(POLL_S, wait_s)

    async def _reconnect(self) -> None:
        """What was sent is not in the log: its senders are ahead of it and must start over.

        With a producer of its own time, because the old one's numbering has a gap.
        """
        log.error("output was lost, starting over from the snapshots", error=self.ownership.loss)
        await self.bus.stop()
        self.ownership.start_over(self.membership)
        while not self.stopping.is_set():
            try:
                await self.bus.start()
            except BrokerError as error:
                log.warning("kafka is not answering, waiting", error=str(error))
                await self.clock.sleep(AGAIN_S)
            else:
                return

    async def _tell(self) -> None:
        now_s = self.clock.monotonic_s()
        if now_s - self._told_s < PROGRESS_S:
            return
        self._told_s = now_s
        self.health.beat()
        self.metrics.beat()
        self.garbage.collect_if_due()
        entries = self.runs.entries
        finished = {name for name, entry in entries.items() if entry.finished}
        told = [owner for owner in self.owners() if owner.plan.run not in finished]
        await self.control.tell(told, finished, waiting=bool(self.health.kafka_silent))
