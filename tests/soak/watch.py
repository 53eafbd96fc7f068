"""Follows the log of the runs of a soak, and remembers when each window was closed."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from pagewake.bus.kafka import KafkaBus, KafkaError, KafkaSettings
from pagewake.bus.kafka_settings import fetch_options
from pagewake.bus.partitions import StoredRecord
from pagewake.cluster import client
from pagewake.cluster.clock import SystemClock
from pagewake.cluster.runs import Runs
from pagewake.errors import BrokerError, DataError
from pagewake.events.codec import FAULTS, decode_commit
from pagewake.participants.plan import RUNS_TOPIC, SNAPSHOTS, RunPlan, topic_name

FETCH_WAIT_MS = 100
AGAIN_S = 0.2
DELETE_S = 60.0
FAILURES = (KafkaError, BrokerError, OSError, AssertionError, TimeoutError)

Result = TypeVar("Result")


class Seen:
    """What the log says of one run; times by the monotonic clock of this process."""

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.announced = False
        self.ended_s: dict[int, float] = {}
        self.stopped = ""
        self.snapshots = 0
        self.last: dict[int, int] = {host.index: -1 for host in plan.topology.hosts}
        self._closed: list[tuple[float, int, int]] = []

    @property
    def ended(self) -> bool:
        """No window comes any more."""
        return len(self.ended_s) == len(self.last) or bool(self.stopped)

    @property
    def windows(self) -> int:
        """Of all simulated hosts."""
        return sum(self.last.values()) + len(self.last)

    def close(self, host: int, window: int) -> None:
        """A window's close was read."""
        if window > self.last[host]:
            self.last[host] = window
            self._closed.append((time.monotonic(), host, window))

    def standstill_s(self, from_s: float) -> float:
        """From then on, the longest that any simulated host closed no window before its end."""
        longest_s = 0.0
        for host in self.last:
            closed_s = [at_s for at_s, of, _ in self._closed if of == host and at_s > from_s]
            ended_s = max(from_s, self.ended_s.get(host, from_s))
            times_s = [from_s, *(at_s for at_s in closed_s if at_s < ended_s), ended_s]
            longest_s = max(longest_s, *(b - a for a, b in itertools.pairwise(times_s)))
        return longest_s


class Watch:
    """A thread with a loop of its own: what it reads is there while a soak does other things."""

    def __init__(self, kafka: str) -> None:
        self._settings = KafkaSettings(bootstrap=kafka, wait_s=30)
        self._seen: dict[str, Seen] = {}
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._begin())

    def follow(self, plan: RunPlan) -> Seen:
        """From its announcement on, which may come later."""
        self._seen[plan.run] = Seen(plan)
        return self._seen[plan.run]

    def forget(self, plan: RunPlan) -> None:
        """And delete the run, topics and all."""
        self._call(self._delete(plan))
        del self._seen[plan.run]

    def close(self) -> None:
        """Follow nothing any more."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DELETE_S)

    def _call(self, doing: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(DELETE_S)

    # ------------------------------------------------------------------ in the thread

    async def _begin(self) -> None:
        self._tasks[""] = asyncio.create_task(self._over_and_over(self._runs))

    async def _end(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _over_and_over(self, reading: Any, *arguments: Any) -> None:
        while True:
            with suppress(*FAILURES):
                await reading(*arguments)
            await asyncio.sleep(AGAIN_S)

    async def _runs(self) -> None:
        runs = Runs()
        async with KafkaBus(self._settings) as bus:
            await bus.create_topics({RUNS_TOPIC: (1, True)})
        async for record in self._records([TopicPartition(RUNS_TOPIC, 0)]):
            run = runs.feed(StoredRecord(record.offset, record.key, record.value)) or ""
            seen, entry = self._seen.get(run), runs.entries.get(run)
            if seen is None or entry is None:
                continue
            if not seen.announced:
                seen.announced = True
                self._tasks[run] = asyncio.create_task(self._over_and_over(self._run, seen))
            for host in entry.ended:
                seen.ended_s.setdefault(host, time.monotonic())
            if entry.state is not None:
                seen.stopped = f"{entry.state.state}: {entry.state.why}"

    async def _run(self, seen: Seen) -> None:
        plan = seen.plan
        faults, snapshots = topic_name(plan.run, FAULTS), topic_name(plan.run, SNAPSHOTS)
        hosts = [TopicPartition(faults, host.index) for host in plan.topology.hosts]
        parts = [TopicPartition(snapshots, number) for number in range(len(plan.sources()))]
        async for record in self._records([*hosts, *parts]):
            if record.topic == snapshots:
                seen.snapshots += 1
                continue
            with suppress(DataError):
                seen.close(record.partition, decode_commit(record.value or b"").window)

    async def _records(self, places: list[TopicPartition]) -> Any:
        consumer = AIOKafkaConsumer(**self._settings.options(), **fetch_options(FETCH_WAIT_MS))
        await consumer.start()
        try:
            consumer.assign(places)
            while True:
                batches: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
                    timeout_ms=FETCH_WAIT_MS
                )
                for records in batches.values():
                    for record in records:
                        yield record
        finally:
            await consumer.stop()

    async def _delete(self, plan: RunPlan) -> None:
        task = self._tasks.pop(plan.run, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with KafkaBus(self._settings) as bus:
            if plan.run in (await client.known_runs(bus)).entries:
                await client.delete(bus, plan.run, SystemClock())
