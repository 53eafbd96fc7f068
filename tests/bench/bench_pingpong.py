"""What a window cannot be faster than: a round trip between two bare clients of Kafka.

Two processes with a producer and a consumer each, set as the services set theirs, send one record
back and forth: append, fetch, append, fetch.  Nothing of pagewake is in between.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pagewake.bus.kafka import KafkaBus, KafkaSettings, TopicSpec
from pagewake.bus.kafka_group import OWNER_WAIT_MS
from pagewake.bus.kafka_settings import fetch_options, producer_options
from tests.bench.common import quick, table
from tests.support.processes import KAFKA, START, answers

WARM_UP = 100
SIZES_BYTES = (200, 20_000)
ECHO = "echo"


class Peer(NamedTuple):
    """One side: reads one topic, writes the other."""

    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    to: str

    async def send(self, record: bytes) -> None:
        """Not waiting for the acknowledgement, as the services do not."""
        await self.producer.send(self.to, record, partition=0)

    async def receive(self) -> bytes:
        """The next record."""
        value: bytes = (await self.consumer.getone()).value
        return value


@asynccontextmanager
async def peer(settings: KafkaSettings, reads: str, writes: str) -> AsyncIterator[Peer]:
    """Connected, and reading from the beginning."""
    producer = AIOKafkaProducer(**settings.options(), **producer_options())
    consumer = AIOKafkaConsumer(**settings.options(), **fetch_options(OWNER_WAIT_MS))
    await producer.start()
    await consumer.start()
    place = TopicPartition(reads, 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    try:
        yield Peer(producer, consumer, writes)
    finally:
        await producer.stop()
        await consumer.stop()


async def echo(reads: str, writes: str) -> None:
    """Send back what comes, until killed."""
    async with peer(KafkaSettings(bootstrap=KAFKA), reads, writes) as side:
        while True:
            await side.send(await side.receive())


@asynccontextmanager
async def echoing(reads: str, writes: str) -> AsyncIterator[None]:
    """The other side, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.bench_pingpong", ECHO, reads, writes,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def round_trips_ms(size: int, rounds: int) -> list[float]:
    """One after the other, sorted."""
    settings = KafkaSettings(bootstrap=KAFKA)
    there, back = (f"pagewake.bench-{uuid4().hex[:12]}.{way}" for way in ("there", "back"))
    async with KafkaBus(settings) as bus:
        await bus.create_topics({there: TopicSpec(1), back: TopicSpec(1)})
        async with echoing(there, back), peer(settings, back, there) as ping:
            took: list[float] = []
            for _ in range(WARM_UP + rounds):
                started = time.perf_counter()
                await ping.send(b"x" * size)
                await ping.receive()
                took.append((time.perf_counter() - started) * 1000)
        await bus.delete_topics([there, back])
    return sorted(took[WARM_UP:])


def main() -> None:
    """Print the table."""
    if not answers(KAFKA):
        print(f"skipped, no Kafka at {KAFKA}: {START}", file=sys.stderr)
        return
    rounds = 200 if quick() else 3000
    heads: list[object] = ["record bytes", "rounds", "mean ms", "median ms", "p90 ms", "p99 ms"]
    rows = [heads]
    for size in SIZES_BYTES:
        took = asyncio.run(round_trips_ms(size, rounds))
        figures = [sum(took) / rounds, *(took[int(rounds * share)] for share in (0.5, 0.9, 0.99))]
        rows.append([size, rounds, *(f"{figure:.2f}" for figure in figures)])
    table(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == [ECHO]:
        asyncio.run(echo(*sys.argv[2:4]))
    else:
        main()
