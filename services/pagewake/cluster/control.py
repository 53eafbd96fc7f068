"""The control plane over MQTT: status with a Last Will, progress, commands and their replies.

MQTT is never event truth.  A command becomes a record of `faults` and is answered when its host
reads it back; with the broker down the run goes on (design, "Control plane").
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiomqtt
import msgspec
import structlog

from pagewake.cluster.commands import (
    Answer,
    BadCommandError,
    encode_command,
    host_of,
    id_of,
    parse_command,
    read_order,
)
from pagewake.cluster.owner import Owner
from pagewake.cluster.plan import RunPlan, topic_name
from pagewake.cluster.settings import ServiceKind, Settings
from pagewake.errors import ConfigError
from pagewake.events.codec import FAULTS

if TYPE_CHECKING:
    from pagewake.cluster.service import Service

PREFIX = "pagewake/v1"
RETRY_S = 2.0
MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}

log = structlog.get_logger()


class ControlPlane:
    """One service's connection; does nothing without `PAGEWAKE_MQTT`."""

    def __init__(self, kind: ServiceKind, settings: Settings, service: Service) -> None:
        self.kind = kind
        self.instance = settings.instance
        self.url = settings.mqtt
        self.service = service
        self.client: aiomqtt.Client | None = None
        self._status = f"{PREFIX}/all/{kind}/{settings.instance}/status"

    async def run(self) -> None:
        """Connect, and again whenever the connection is lost."""
        if not self.url:
            return
        while True:
            try:
                async with self._connection() as client:
                    self.client = client
                    await client.publish(self._status, "online", qos=1, retain=True)
                    if self.kind == "host":
                        await client.subscribe(f"{PREFIX}/+/command", qos=1)
                    async for message in client.messages:
                        run = message.topic.value.split("/")[2]
                        await self._command(run, bytes(message.payload))
            except aiomqtt.MqttError as error:
                self.client = None
                log.warning("mqtt is not answering, the runs go on", error=str(error))
                await asyncio.sleep(RETRY_S)

    def _connection(self) -> aiomqtt.Client:
        url = urlsplit(self.url)
        if url.scheme not in MQTT_PORTS or url.hostname is None:
            raise ConfigError(
                f"PAGEWAKE_MQTT={self.url}: give mqtt://host:port or mqtts://user:pass@host:port"
            )
        return aiomqtt.Client(
            url.hostname,
            url.port or MQTT_PORTS[url.scheme],
            username=url.username,
            password=url.password,
            tls_context=ssl.create_default_context() if url.scheme == "mqtts" else None,
            will=aiomqtt.Will(self._status, "lost", qos=1, retain=True),
            identifier=f"pagewake-{self.kind}-{self.instance}",
        )

    # ------------------------------------------------------------------ commands

    async def _command(self, run: str, payload: bytes) -> None:
        """Only the owner of host 0 takes it up, so that it is appended once per host it is for."""
        owned = {
            owner.participant.partition: owner
            for owner in self.service.owners.values()
            if owner.plan.run == run
        }
        if not owned:
            return
        plan = next(iter(owned.values())).plan
        try:
            order_id, command = parse_command(payload)
            host = host_of(plan.scenario, read_order(plan.scenario, order_id, command))
        except BadCommandError as error:
            if 0 in owned:
                await self.answer(plan, Answer(id_of(payload), ok=False, error=str(error)))
            return
        for partition in owned if host is None else [host]:
            if partition in owned:
                record = encode_command(run, order_id, command)
                await self.service.bus.send(topic_name(run, FAULTS), partition, record)

    async def answer(self, plan: RunPlan, answer: Answer) -> None:
        """Reply to a command."""
        await self._publish(f"{PREFIX}/{plan.run}/command/reply", msgspec.json.encode(answer))

    async def progress(self, owners: list[Owner]) -> None:
        """Where the runs of this service stand."""
        by_run: dict[str, list[Owner]] = {}
        for owner in owners:
            by_run.setdefault(owner.plan.run, []).append(owner)
        for run, mine in by_run.items():
            said = {
                "service": self.kind,
                "instance": self.instance,
                "window": min(owner.participant.window for owner in mine),
                "at_ns": min(owner.participant.at_ns for owner in mine),
                "duration_ns": mine[0].plan.scenario.duration_ns,
                "paused": any(owner.paused for owner in mine),
            }
            await self._publish(f"{PREFIX}/{run}/progress", msgspec.json.encode(said))
            status = f"{PREFIX}/{run}/{self.kind}/{self.instance}/status"
            await self._publish(status, b"running", retain=True)

    async def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        client = self.client
        if client is None:
            return
        try:
            await client.publish(topic, payload, qos=1, retain=retain)
        except aiomqtt.MqttError as error:
            log.warning("not published", topic=topic, error=str(error))
