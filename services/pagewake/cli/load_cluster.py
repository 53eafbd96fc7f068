"""`pagewake load` on a cluster: size after size, and no run left behind.

A module of its own because the clients of Kafka and MQTT take more memory than a small size, and
`load --embedded` measures memory.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pagewake.bus.kafka import KafkaBus
from pagewake.cluster import client
from pagewake.cluster.clock import SystemClock
from pagewake.cluster.kafka_errors import told_to_a_person
from pagewake.cluster.listener import MQTT_DEFAULT
from pagewake.cluster.logs import log_to_person, tell_person
from pagewake.cluster.settings import COMMAND_WAIT_S, Settings
from pagewake.events.journal import JournalMode
from pagewake.load import cluster
from pagewake.load.embedded import Tell
from pagewake.load.measured import Measurement


async def on_cluster(
    settings: Settings,
    sizes: Sequence[int],
    warm_s: float,
    duration_s: float,
    journal: JournalMode,
    tell_of: Callable[[int], Tell],
) -> tuple[list[Measurement], bool]:
    """The sizes that were measured, and whether it was interrupted before the last of them."""
    clock = SystemClock()
    log_to_person(clock)
    found: list[Measurement] = []
    with _cancelled_once(), told_to_a_person(settings.kafka):
        try:
            kafka = settings.kafka_settings(COMMAND_WAIT_S)
            async with KafkaBus(kafka) as bus:
                await _complain_of_others(bus)
            address = settings.mqtt_address() or MQTT_DEFAULT
            mqtt = address if await cluster.reachable(address, clock) else None
            for vcpus in sizes:
                tell = tell_of(vcpus)
                async with KafkaBus(kafka) as bus:  # one that knows no topic that is deleted
                    found.append(
                        await cluster.measure(
                            bus, mqtt, vcpus, warm_s, duration_s, tell, clock, journal
                        )
                    )
        except asyncio.CancelledError:
            return found, True
    return found, False


async def _complain_of_others(bus: KafkaBus) -> None:
    """Other runs of the cluster take their share of it."""
    active = [
        name for name, entry in (await client.known_runs(bus)).entries.items() if entry.active
    ]
    if active:
        tell_person(f"not alone on this cluster: {', '.join(active)} is under way too")


@contextmanager
def _cancelled_once() -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel the task, once: what it then cleans up is not disturbed."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    handled = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in handled]

    def cancel() -> None:
        for number in handled:
            loop.add_signal_handler(number, _ignore)
        task.cancel()

    for number in handled:
        loop.add_signal_handler(number, cancel)
    try:
        yield
    finally:
        for number, handler in zip(handled, before, strict=True):
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _ignore() -> None:
    pass
