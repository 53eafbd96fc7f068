"""`pagewake serve`: one service of a cluster, until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import Annotated

import typer

from pagewake.cli.cluster import settings_of
from pagewake.cli.options import InstanceOption, KafkaOption, MqttOption
from pagewake.cluster.clock import Clock, SystemClock
from pagewake.cluster.kafka_errors import told_to_a_person
from pagewake.cluster.logs import log_as_json
from pagewake.cluster.service import Service
from pagewake.cluster.settings import ServiceKind, Settings
from pagewake.errors import ConfigError

NEW_OBJECTS = 200_000
"""State and events form no cycles: who looks for some seldom saves a third of a large run."""
KINDS: tuple[ServiceKind, ...] = ("host", "guest", "nested")


def serve(
    service: Annotated[str, typer.Argument(metavar="host|guest|nested", help="Which service.")],
    kafka: KafkaOption = None,
    mqtt: MqttOption = None,
    http: Annotated[
        str | None,
        typer.Option("--http", metavar="HOST:PORT", help="Metrics and health; PAGEWAKE_HTTP."),
    ] = None,
    instance: InstanceOption = None,
) -> None:
    """Run one service of a cluster; it waits for runs and executes what it owns of them."""
    kind = next((known for known in KINDS if known == service), None)
    if kind is None:
        raise ConfigError(f"there is no service {service!r}: host, guest or nested")
    settings = settings_of(kafka=kafka, mqtt=mqtt, http=http, instance=instance)
    clock = SystemClock()
    log_as_json(clock)
    gc.set_threshold(NEW_OBJECTS, 20, 20)
    with told_to_a_person(settings.kafka):
        asyncio.run(_serve(kind, settings, clock))


async def _serve(kind: ServiceKind, settings: Settings, clock: Clock) -> None:
    service = Service(kind, settings, clock)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stopping.set)
    await service.run()
