"""Who keeps a run waiting, read from its log: the windows that were opened and those closed."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from pagewake.bus.partitions import Bus
from pagewake.cluster.clock import Clock
from pagewake.errors import DataError
from pagewake.events.codec import FAULTS, decode_commit
from pagewake.participants.plan import RunPlan, topic_name
from pagewake.participants.topology import HostPlace

LOOK_S = 5.0  # between two looks at the log's ends; who waits for it wants to know soon
AGAIN_S = 30.0  # until the same words are said again, so that a screen is not filled with them
TAIL_RECORDS = 64  # the last window's records and some that came twice, or are no commits
NAMED_MAX = 8  # fits a line

Told = Callable[[str], None]


async def tell_if_stalled(bus: Bus, plan: RunPlan, told: Told, clock: Clock) -> None:
    """Say who is waited for whenever a run stands still, until cancelled."""
    moved_s, told_s, before = clock.monotonic_s(), 0.0, -1
    said = ""
    while True:
        try:
            ends = await bus.end_offsets(topic_name(plan.run, FAULTS), len(plan.topology.hosts))
            now_s = clock.monotonic_s()
            if sum(ends) != before:
                if said:
                    told(f"run {plan.run} goes on")
                moved_s, before, said = now_s, sum(ends), ""
            else:
                words = f"waiting for {await awaited(bus, plan)}"
                if words != said or now_s - told_s >= AGAIN_S:
                    told(f"run {plan.run} has stood still for {now_s - moved_s:.0f} s: {words}")
                    said, told_s = words, now_s
        except UnknownTopicOrPartitionError as error:
            told(f"a topic of run {plan.run} is gone, and nobody can go on with it: {error}")
        except KafkaError as error:
            told(f"kafka at {bus.address} is not answering, waiting: {error!r}")
        await clock.sleep(LOOK_S)


async def awaited(bus: Bus, plan: RunPlan) -> str:
    """Participants that owe the next record, by kind of service."""
    owing: dict[str, list[str]] = {}
    for host in plan.topology.hosts:
        for source in await _behind(bus, plan.run, host):
            owing.setdefault(source.partition("-")[0], []).append(source)
    asked = " and ".join(f"a {kind} service" for kind in owing)
    named = [source for sources in owing.values() for source in sources]
    more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
    return f"{', '.join(named[:NAMED_MAX])}{more}: is {asked} running, or the run paused?"


async def _behind(bus: Bus, run: str, host: HostPlace) -> list[str]:
    """The shards that have a window open; the host itself if none has."""
    shards = [shard.source for shard in host.shards]
    tail = 4 * len(shards) + TAIL_RECORDS
    closed = await _windows(bus, topic_name(run, FAULTS), host.index, tail)
    last = max((closed.get(source, -1) for source in shards), default=-1)
    behind = [source for source in shards if closed.get(source, -1) < last]
    if behind:
        return behind
    first = host.shards[0]
    opened = await _windows(bus, topic_name(run, first.topic), first.partition, TAIL_RECORDS)
    return shards if opened.get(host.source, -1) > last else [host.source]


async def _windows(bus: Bus, topic: str, partition: int, tail: int) -> dict[str, int]:
    """The last window that each source wrote of, among the last records of a partition."""
    end = await bus.end_offset(topic, partition)
    found: dict[str, int] = {}
    async for stored in bus.read(topic, partition, max(0, end - tail)):
        try:
            commit = decode_commit(stored.value or b"")
        except DataError:
            continue
        found[commit.source] = max(commit.window, found.get(commit.source, -1))
    return found
