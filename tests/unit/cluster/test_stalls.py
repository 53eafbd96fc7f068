"""Who keeps a run waiting, read from its log, and how often a person is told."""

from __future__ import annotations

import asyncio

import pytest

from pagewake.cluster.stalls import AGAIN_S, LOOK_S, awaited, tell_if_stalled
from pagewake.events.codec import APF_GUEST, FAULTS
from pagewake.participants.plan import RunPlan, topic_name
from pagewake.scenario.loading import load
from tests.support.clock import FakeClock
from tests.support.cluster import FakeCluster
from tests.support.fake_bus import FakeBus

PLAN = RunPlan.of("r", load("overcommit", ["scenario.duration=5ms"]), 2)


@pytest.fixture
def bus() -> FakeBus:
    """With the log of a finished run."""
    cluster = FakeCluster(PLAN, 1)
    cluster.run()
    bus = FakeBus()
    for (topic, partition), records in cluster.log.items():
        for record in records:
            bus.append(topic_name(PLAN.run, topic), partition, record)
    return bus


def closes_lost(bus: FakeBus, source: str) -> None:
    """As if a shard had not closed the last window."""
    log = bus.logs[topic_name(PLAN.run, FAULTS), 0]
    last = max(i for i, stored in enumerate(log) if source.encode() in (stored.value or b""))
    del log[last]


class TestAwaited:
    async def test_a_shard_that_has_not_closed_what_another_has(self, bus: FakeBus) -> None:
        closes_lost(bus, "guest-1")
        assert (await awaited(bus, PLAN)).startswith("guest-1: is a guest service running")

    async def test_all_shards_if_none_has_closed_what_the_host_opened(self, bus: FakeBus) -> None:
        for source in ("guest-0", "guest-1"):
            closes_lost(bus, source)
        assert (await awaited(bus, PLAN)).startswith("guest-0, guest-1: is a guest")

    async def test_the_host_if_nothing_is_open(self, bus: FakeBus) -> None:
        assert (await awaited(bus, PLAN)).startswith("host-0: is a host service running")

    async def test_records_of_nobody_do_not_matter(self, bus: FakeBus) -> None:
        closes_lost(bus, "guest-1")
        bus.append(topic_name(PLAN.run, FAULTS), 0, b"nonsense")
        bus.append(topic_name(PLAN.run, APF_GUEST), 0, None)
        assert (await awaited(bus, PLAN)).startswith("guest-1:")


class TestTelling:
    """A person is told while time passes."""

    async def told(self, bus: FakeBus, for_s: float, *changes: tuple[float, str]) -> list[str]:
        """What is said within so many seconds; at some of them something happens to the bus."""
        clock, words = FakeClock(), list[str]()
        watcher = asyncio.create_task(tell_if_stalled(bus, PLAN, words.append, clock))
        since_s = clock.monotonic_s()
        for at_s, what in changes:
            await clock.sleep(since_s + at_s - clock.monotonic_s())
            if what == "moves":
                bus.append(topic_name(PLAN.run, FAULTS), 0, b"{}")
            else:
                bus.silent = what == "silent"
        await clock.sleep(since_s + for_s - clock.monotonic_s())
        watcher.cancel()
        return words

    async def test_the_first_word_comes_with_the_second_look(self, bus: FakeBus) -> None:
        assert await self.told(bus, LOOK_S - 0.1) == []
        (word,) = await self.told(bus, LOOK_S + 0.1)
        assert word.startswith(f"run r has stood still for {LOOK_S:.0f} s: waiting for host-0")

    async def test_the_same_is_said_again_only_now_and_then(self, bus: FakeBus) -> None:
        assert len(await self.told(bus, LOOK_S + AGAIN_S - 0.1)) == 1
        assert len(await self.told(bus, LOOK_S + 2 * AGAIN_S + 0.1)) == 3

    async def test_that_it_goes_on_is_said_if_it_had_stopped(self, bus: FakeBus) -> None:
        words = await self.told(bus, 2.5 * LOOK_S, (1.5 * LOOK_S, "moves"))
        assert words[1:] == ["run r goes on"]
        assert await self.told(bus, 1.5 * LOOK_S, (0.5 * LOOK_S, "moves")) == []

    async def test_a_broker_that_is_away_is_named_and_waited_for(self, bus: FakeBus) -> None:
        words = await self.told(bus, 2.5 * LOOK_S, (0.5 * LOOK_S, "silent"), (1.5 * LOOK_S, "back"))
        assert words[0].startswith("kafka at nowhere:9092 is not answering, waiting")
        assert words[1].startswith("run r has stood still for 10 s")
