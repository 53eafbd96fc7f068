"""The control plane over MQTT: status with a Last Will, progress, commands and their replies.

Each run that a service has a part in gets a connection of its own, because a Last Will is one
topic per connection.  MQTT is never event truth: what is published waits in a bounded queue, and
with the broker down the run goes on.  A command becomes a record of `faults` and is answered when
its host reads it back (design, "Control plane").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable
from contextlib import suppress
from typing import NamedTuple

import aiomqtt
import msgspec
import structlog

from pagewake.cluster.clock import Clock
from pagewake.cluster.messages import (
    COMMAND_TOPIC,
    LOST,
    PROGRESS_TOPIC,
    REPLY_TOPIC,
    STATUS_TOPIC,
    Progress,
    Status,
    encode_status,
)
from pagewake.cluster.mqtt_address import MqttAddress
from pagewake.cluster.owner import Owner
from pagewake.cluster.resources import Speed, cpu_s, memory_bytes
from pagewake.cluster.settings import ServiceKind
from pagewake.cluster.standing import standing
from pagewake.participants.commands import Answer

RETRY_S = 2.0  # one or two progress messages are missed by a broker that was started anew
LEAVE_S = 2.0  # for a last word, of the ten seconds that Docker gives a service to end
QUEUED_MAX = 256  # minutes of progress, as MQTT is no place to catch up with what is old

Commanded = Callable[[str, bytes], Awaitable[None]]

log = structlog.get_logger()


class _Message(NamedTuple):
    topic: str
    payload: bytes
    retain: bool


class RunLink:
    """One run's connection; it is kept up until `close`."""

    def __init__(
        self,
        address: MqttAddress,
        kind: ServiceKind,
        instance: str,
        run: str,
        commanded: Commanded,
        clock: Clock,
    ) -> None:
        self.address = address
        self.run = run
        self.is_host = kind == "host"
        self.dropped = 0
        self._kind = kind
        self._instance = instance
        self._identifier = f"pagewake-{kind}-{instance}-{run}"
        self._status_topic = STATUS_TOPIC.format(run=run, service=kind, instance=instance)
        self._status: Status = "joined"
        self._commanded = commanded
        self._clock = clock
        self._queue: asyncio.Queue[_Message] = asyncio.Queue(QUEUED_MAX)
        self._connected = False
        self._task = asyncio.create_task(self._keep_up())

    def put(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish when there is a connection; dropped while there is none."""
        if not self._connected or self._queue.full():
            self.dropped += 1
            return
        self._queue.put_nowait(_Message(topic, payload, retain))

    def status(self, word: Status) -> None:
        """Say how this part of the run stands, if that is news."""
        if word != self._status:
            self._status = word
            self.put(self._status_topic, encode_status(word), retain=True)

    async def close(self, word: Status) -> None:
        """Say a last word and disconnect in order, so that the Last Will is not sent."""
        self.status(word)
        with suppress(TimeoutError):
            await self._clock.wait_for(self._queue.join(), LEAVE_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_up(self) -> None:
        while True:
            try:
                async with self._client() as client:
                    await self._talk(client)
            except aiomqtt.MqttError as error:
                log.warning(
                    "mqtt is not answering, the run goes on", run=self.run, error=str(error),
                    **self._hint(),
                )  # fmt: skip
            finally:
                self._connected = False
            await self._clock.sleep(RETRY_S)

    def _hint(self) -> dict[str, str]:
        """A connection that was up is taken away by who comes with the same identifier, too."""
        if not self._connected:
            return {}
        return {"hint": f"is another {self._kind} instance called {self._instance} running?"}

    def _client(self) -> aiomqtt.Client:
        return self.address.client(
            will=aiomqtt.Will(self._status_topic, encode_status(LOST), qos=1, retain=True),
            identifier=self._identifier,
            max_queued_incoming_messages=QUEUED_MAX,
        )

    async def _talk(self, client: aiomqtt.Client) -> None:
        self._connected = True
        self.put(self._status_topic, encode_status(self._status), retain=True)
        sender = asyncio.create_task(self._send(client))
        try:
            if self.is_host:
                await client.subscribe(COMMAND_TOPIC.format(run=self.run), qos=1)
            async for message in client.messages:
                payload = message.payload
                await self._commanded(self.run, bytes(payload))
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            message = await self._queue.get()
            try:
                await client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            except aiomqtt.MqttError as error:
                log.warning("not published", topic=message.topic, error=str(error))
            finally:
                self._queue.task_done()


class ControlPlane:
    """All of a service's links; does nothing without `PAGEWAKE_MQTT`."""

    def __init__(
        self,
        kind: ServiceKind,
        address: MqttAddress | None,
        instance: str,
        commanded: Commanded,
        clock: Clock,
    ) -> None:
        self.kind = kind
        self.instance = instance
        self._address = address
        self._commanded = commanded
        self._links: dict[str, RunLink] = {}
        self._clock = clock
        self._speed = Speed(clock)

    async def tell(
        self, owners: Iterable[Owner], finished: Container[str] = (), *, waiting: bool = False
    ) -> None:
        """Once a second: status and progress of every run that is owned in part.

        `waiting`: for Kafka, all of them.
        """
        if self._address is None:
            return
        by_run: dict[str, list[Owner]] = {}
        for owner in owners:
            by_run.setdefault(owner.plan.run, []).append(owner)
        for run in [run for run in self._links if run not in by_run]:
            await self._links.pop(run).close("ended" if run in finished else "left")
            self._speed.forget(run)
        for run, mine in by_run.items():
            link = self._links.get(run)
            if link is None:
                link = self._links[run] = RunLink(
                    self._address, self.kind, self.instance, run, self._commanded, self._clock
                )
            state = "waiting" if waiting else state_of(mine)
            link.status(state)
            progress = self._progress(mine, state)
            link.put(PROGRESS_TOPIC.format(run=run), msgspec.json.encode(progress))

    def answer(self, run: str, answer: Answer) -> None:
        """Reply to a command."""
        link = self._links.get(run)
        if link is not None:
            link.put(REPLY_TOPIC.format(run=run), msgspec.json.encode(answer))

    async def close(self) -> None:
        """Leave all runs in order."""
        links, self._links = self._links, {}
        for link in links.values():
            await link.close("left")

    def _progress(self, mine: list[Owner], state: Status) -> Progress:
        at_ns = min(owner.participant.at_ns for owner in mine)
        vms = standing(owner.participant for owner in mine)
        return Progress(
            service=self.kind,
            instance=self.instance,
            state=state,
            window=min(owner.participant.window for owner in mine),
            at_ns=at_ns,
            duration_ns=mine[0].plan.scenario.duration_ns,
            paused=any(owner.participant.paused for owner in mine),
            events=sum(owner.tally.events for owner in mine),
            sources=[owner.participant.source for owner in mine],
            waits_for=[source for owner in mine for source, _ in owner.waiting_for()],
            lag=sum(owner.lag for owner in mine),
            speed=self._speed.of(mine[0].plan.run, at_ns),
            cpu_s=cpu_s(),
            memory_bytes=memory_bytes(),
            sleepers=vms.sleepers,
            halted=vms.halted,
            vms_owned=vms.owned,
            vms=vms.most,
        )


def state_of(mine: list[Owner]) -> Status:
    """One word for how a service's part of a run stands."""
    if all(owner.participant.ended for owner in mine):
        return "ended"
    if not all(owner.caught_up for owner in mine):
        return "replaying"
    if any(owner.waiting_for() for owner in mine):
        return "waiting"
    return "paused" if any(owner.participant.paused for owner in mine) else "running"
