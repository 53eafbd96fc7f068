"""A group member of the client library that broke for good is replaced, and the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.cluster import client
from pagewake.cluster.clock import SystemClock
from pagewake.cluster.service import Service
from pagewake.cluster.settings import ServiceKind, Settings
from pagewake.engine.run import run_scenario
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from tests.support.processes import KAFKA, needs_kafka, new_run

pytestmark = [pytest.mark.broker, needs_kafka]
END_S = 120.0
KINDS: tuple[ServiceKind, ...] = ("host", "guest")


def break_for_good(consumer: AIOKafkaConsumer) -> None:
    """What is left of the library's group routine when it has failed."""
    coordinator = consumer._coordinator
    coordinator._coordination_task.cancel()
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(KafkaError("Unexpected error during coordination AssertionError()"))
    coordinator._coordination_task = failed


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - nothing of it is an event
        await asyncio.sleep(0.05)


def has_come(service: Service, run: str, window: int) -> bool:
    """Whether the service owns a part of the run, and that has come so far."""
    return any(
        owner.plan.run == run and owner.participant.window >= window for owner in service.owners()
    )


async def test_a_member_that_broke_for_good_is_replaced() -> None:
    scenario = load("overcommit", ["scenario.duration=250ms"])
    plan, clock = RunPlan.of(new_run(), scenario, 1), SystemClock()
    services = {
        kind: Service(
            kind, Settings(kafka=KAFKA, instance=f"{plan.run}-{kind}", snapshot_s=0.3), clock
        )
        for kind in KINDS
    }
    running = [asyncio.create_task(service.run()) for service in services.values()]
    try:
        async with asyncio.timeout(END_S), KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
            await client.announce(bus, plan, clock.wall_s())
            for number, service in enumerate(services.values()):
                await until(lambda: has_come(service, plan.run, 20 + 100 * number))  # noqa: B023
                broken = service.membership.consumer
                assert broken is not None
                break_for_good(broken)
                await until(lambda: service.membership.consumer not in (None, broken))  # noqa: B023
            entry = await client.wait_until_ended(bus, plan.run, clock)
            result = await client.read_result(bus, entry, 0.0)
    finally:
        for service in services.values():
            service.stopping.set()
        await asyncio.gather(*running)
    assert result.digest == run_scenario(scenario).digest
