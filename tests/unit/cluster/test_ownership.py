"""What a process does with the partitions that were assigned to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from aiokafka import TopicPartition

from pagewake.bus.port import Outbox
from pagewake.cluster.log_watch import LogWatch
from pagewake.cluster.lost_logs import SHORT_S
from pagewake.cluster.owner import Owner
from pagewake.cluster.ownership import LOOK_AFTER_S, LOOK_AGAIN_S, START_OVER_S, Ownership
from pagewake.cluster.process_metrics import ProcessMetrics
from pagewake.cluster.rejections import Rejections
from pagewake.cluster.runs import Announced, HostEnded, StateChanged
from pagewake.cluster.runs_topic import RunsTopic
from pagewake.events.codec import APF_GUEST, FAULTS
from pagewake.participants.plan import RUNS_TOPIC, SNAPSHOTS, RunPlan, topic_name
from pagewake.scenario.loading import load
from tests.support.fake_bus import FakeBus
from tests.support.fake_mqtt import turns
from tests.support.owners import Owners

PLAN = RunPlan.of("r", load("natapov-2010", ["scenario.duration=400ms"]), 1)
HOST = TopicPartition(topic_name("r", FAULTS), 0)
SHARD = TopicPartition(topic_name("r", APF_GUEST), 0)


class Record(NamedTuple):
    """As the consumer hands it out."""

    offset: int
    value: bytes | None


class FakeMember:
    """A membership whose assignment is what the test says."""

    def __init__(self, owners: Owners) -> None:
        self.assigned: set[TopicPartition] = set()
        self.reading: dict[TopicPartition, int] = {}
        self._bus = owners.bus

    async def end_offset(self, place: TopicPartition) -> int:
        return await self._bus.end_offset(place.topic, place.partition)

    def go_on(self, place: TopicPartition, offset: int) -> bool:
        if place in self.assigned:
            self.reading[place] = offset
        return place in self.assigned

    def hold_back(self, place: TopicPartition) -> None:
        self.reading.pop(place, None)

    def highwater(self, place: TopicPartition) -> int:
        return len(self._bus.values(place.topic, place.partition))


class Process:
    """An ownership and what it deals with, after a run was announced."""

    def __init__(self) -> None:
        self.made = Owners(PLAN)
        self.bus, self.clock = self.made.bus, self.made.clock
        self.member: Any = FakeMember(self.made)
        self.stopping = asyncio.Event()
        self.metrics = ProcessMetrics(self._owners, float, self._broken, self.clock)
        rejections = Rejections(self.metrics.rejected)
        self.runs = RunsTopic(self.bus, rejections, lambda _: None, self.clock)
        self.logs = LogWatch(self.bus, self.runs, self.clock)
        self.let_go = 0
        self.ownership = Ownership(
            self.made.new,
            self.runs,
            self.metrics,
            rejections,
            self.stopping,
            self.clock,
            self.logs,
            self._count_let_go,
        )
        self.say("r", Announced.of(PLAN, self.clock.wall_s()))

    def _broken(self) -> dict[str, str]:
        return self.runs.broken()

    def _count_let_go(self) -> None:
        self.let_go += 1

    def _owners(self) -> list[Owner]:
        return self.ownership.owners()

    def say(self, key: str, what: msgspec.Struct) -> None:
        self.bus.append(RUNS_TOPIC, 0, msgspec.json.encode(what), key.encode())

    async def hear(self) -> None:
        """What stands in the topic of runs by now."""
        following = asyncio.create_task(self.runs.follow())
        await turns()
        following.cancel()

    async def take_over(self, *places: TopicPartition) -> None:
        self.member.assigned = set(places)
        await self.ownership.take_over(self.member)

    async def feed(self, place: TopicPartition, *values: bytes | None) -> None:
        records: list[Any] = [Record(offset, value) for offset, value in enumerate(values)]
        await self.ownership.feed(place, records, self.member)

    def series(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)

    def state(self) -> StateChanged | None:
        """Whether a run was said to be stopped."""
        found = [each for each in self.bus.logs[RUNS_TOPIC, 0] if each.key == b"r/state"]
        return msgspec.json.decode(found[-1].value or b"", type=StateChanged) if found else None


@pytest.fixture
async def process() -> Process:
    process = Process()
    await process.hear()
    return process


async def test_what_is_assigned_is_taken_over_and_read(process: Process) -> None:
    await process.take_over(HOST, SHARD)
    assert [owner.label for owner in process.ownership.owners()] == ["r/guest-0", "r/host-0"]
    assert process.member.reading == {HOST: 0, SHARD: 0}
    assert process.series("pagewake_recoveries_total") == 2


async def test_a_run_that_nobody_announced_is_left_alone(process: Process) -> None:
    await process.take_over(TopicPartition("pagewake.other.faults", 0))
    assert process.ownership.owners() == []


async def test_nothing_is_taken_over_by_who_is_to_stop(process: Process) -> None:
    process.stopping.set()
    await process.take_over(HOST)
    assert process.ownership.owners() == []


async def test_what_is_another_s_by_now_is_not_kept(process: Process) -> None:
    await process.take_over(HOST, SHARD)
    assert process.ownership.keep({SHARD, TopicPartition("x", 0)}) == {SHARD: 0}
    assert [owner.label for owner in process.ownership.owners()] == ["r/guest-0"]


async def test_what_is_handed_over_is_left_with_a_snapshot(process: Process) -> None:
    await process.take_over(HOST, SHARD)
    first = process.bus.values(SHARD.topic)[0]
    (shard, _) = process.ownership.owners()
    shard.participant.lap = lambda _: process.clock.advance(1.0)
    await process.feed(SHARD, first)
    await process.ownership.hand_over([HOST, SHARD])
    keys = [stored.key for stored in process.bus.logs[topic_name("r", SNAPSHOTS), 1]]
    assert keys[-1] == b"a/manifest"
    assert process.bus.values(topic_name("r", SNAPSHOTS), 0) == []  # nothing of it is new


async def test_a_record_of_nobody_is_counted_and_passed_over(process: Process) -> None:
    await process.take_over(HOST)
    await process.feed(HOST, b"nonsense", None)
    assert process.metrics.registry.get_sample_value(
        "pagewake_bus_rejected_records_total", {"why": "malformed"}
    ) == 2  # fmt: skip
    assert [owner.offset for owner in process.ownership.owners()] == [2]


async def test_a_log_that_contradicts_itself_stops_the_run_and_is_given_up(
    process: Process,
) -> None:
    await process.take_over(HOST, SHARD)
    outbox = Outbox("r", "host-0", APF_GUEST, 0, PLAN.code)
    outbox.seq = 5
    await process.feed(SHARD, outbox.encode(0, [])[0].record)
    assert [owner.label for owner in process.ownership.owners()] == ["r/host-0"]
    state = process.state()
    assert state is not None
    assert state.state == "stopped"
    assert "pagewake.r.apf.guest-0 at offset 0" in state.why
    await process.take_over(HOST, SHARD)
    assert len(process.ownership.owners()) == 1


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda bus: bus.topics.update({HOST.topic: "another"}), "created again"),
        (lambda bus: bus.begins.update({(RUNS_TOPIC, 0): 0, (HOST.topic, 0): 4}), "begins at"),
    ],
)
async def test_a_log_that_is_not_what_it_was_is_not_taken_over(
    process: Process, harm: Callable[[FakeBus], None], said: str
) -> None:
    await process.take_over(SHARD)
    process.bus.append(HOST.topic, 0, b"x")
    await process.logs.look()
    harm(process.bus)
    await process.take_over(HOST, SHARD)
    assert [owner.label for owner in process.ownership.owners()] == ["r/guest-0"]
    state = process.state()
    assert state is not None
    assert said in state.why
    await process.hear()
    assert said in process.runs.broken()["r"]
    assert 'pagewake_run_broken_off{run="r"} 1.0' in process.metrics.page().body.decode()


async def test_a_snapshot_of_more_than_the_log_has_stops_the_run(process: Process) -> None:
    await process.take_over(SHARD, HOST)
    shard = process.ownership.owners()[0]
    shard.participant.lap = lambda _: process.clock.advance(1.0)
    await process.made.read(shard)
    assert await shard.snapshot()
    process.ownership.keep(set())
    process.bus.logs[SHARD.topic, 0].clear()
    await process.take_over(SHARD)
    state = process.state()
    assert state is not None
    assert f"{SHARD.topic}-0: the last snapshot was taken at offset" in state.why


async def test_a_log_that_has_no_record_at_an_offset_is_looked_at_in_a_while(
    process: Process,
) -> None:
    await process.take_over(SHARD, HOST)
    await process.made.read(process.ownership.owners()[0])
    process.bus.logs[SHARD.topic, 0].clear()
    process.ownership.cut_off([SHARD], process.member)
    assert [owner.label for owner in process.ownership.owners()] == ["r/host-0"]
    assert process.let_go == 1
    await process.logs.look()
    assert process.state() is None, "a new leader may need a moment"
    process.clock.advance(SHORT_S)
    await process.logs.look()
    state = process.state()
    assert state is not None
    assert "its end was lost" in state.why


async def test_what_cannot_be_sent_for_want_of_a_topic_puts_off_its_sender_alone(
    process: Process,
) -> None:
    await process.take_over(SHARD, HOST)
    process.bus.missing.add(topic_name("r", FAULTS))
    await process.feed(SHARD, *process.bus.values(SHARD.topic))
    assert process.ownership.loss == ""
    assert [owner.label for owner in process.ownership.owners()] == ["r/host-0"]
    process.bus.missing.clear()
    process.clock.advance(START_OVER_S)
    await process.take_over(SHARD, HOST)
    assert len(process.ownership.owners()) == 2


async def test_a_run_announced_again_under_its_name_is_another(process: Process) -> None:
    await process.take_over(SHARD, HOST)
    outbox = Outbox("r", "host-0", APF_GUEST, 0, PLAN.code)
    outbox.seq = 5
    await process.feed(SHARD, outbox.encode(0, [])[0].record)
    process.bus.logs.clear()
    process.clock.advance(1.0)
    process.say("r", Announced.of(PLAN, process.clock.wall_s()))
    await process.hear()
    await process.ownership.look_after((), process.member)
    assert process.ownership.owners() == [], "these were of the run before"
    process.clock.advance(LOOK_AGAIN_S)
    await process.take_over(SHARD, HOST)
    assert len(process.ownership.owners()) == 2


async def test_a_defect_stops_the_run_and_names_its_place(process: Process) -> None:
    await process.take_over(SHARD, HOST)
    (shard, _) = process.ownership.owners()
    shard.participant.inbox = None  # type: ignore[assignment]
    await process.feed(SHARD, process.bus.values(SHARD.topic)[0])
    state = process.state()
    assert state is not None
    assert "a defect of pagewake" in state.why
    assert "participant.py" in state.why


async def test_a_process_without_memory_ends_and_the_run_does_not(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is what was half done kept for the last snapshot."""
    await process.take_over(SHARD, HOST)
    (shard, _) = process.ownership.owners()

    def too_much(_: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(shard.participant, "accept", too_much)
    with pytest.raises(MemoryError):
        await process.feed(SHARD, process.bus.values(SHARD.topic)[0])
    assert process.state() is None
    assert [owner.label for owner in process.ownership.owners()] == ["r/host-0"]


async def test_what_was_lost_starts_over_after_a_while(process: Process) -> None:
    process.bus.losing = True
    await process.take_over(HOST, SHARD)
    await process.ownership.look_after((), process.member)
    assert process.ownership.loss.startswith("r/host-0: ")
    process.ownership.start_over(process.member)
    assert process.ownership.loss == ""
    assert [owner.label for owner in process.ownership.owners()] == ["r/guest-0"]
    assert process.member.reading == {SHARD: 0}
    process.bus.losing = False
    process.clock.advance(START_OVER_S - 0.1)
    await process.take_over(HOST, SHARD)
    assert len(process.ownership.owners()) == 1
    process.clock.advance(0.1)
    await process.take_over(HOST, SHARD)
    assert len(process.ownership.owners()) == 2


async def test_a_run_that_has_ended_is_executed_again_only_when_none_goes_on(
    process: Process,
) -> None:
    """Each window of the one under way would wait for it."""
    ended = RunPlan.of("ended", PLAN.scenario, 1)
    places = [TopicPartition(topic_name("ended", topic), 0) for topic in (FAULTS, APF_GUEST)]
    process.say("ended", Announced.of(ended, process.clock.wall_s()))
    process.say("ended/host-0", HostEnded(1, 1, process.clock.wall_s()))
    await process.hear()
    for _ in range(3):
        await process.take_over(HOST, SHARD, *places)
        process.clock.advance(LOOK_AGAIN_S)
    assert [owner.plan.run for owner in process.ownership.owners()] == ["r", "r"]
    process.say("r/state", StateChanged("stopped"))
    await process.hear()
    await process.take_over(HOST, SHARD, *places)
    assert [owner.plan.run for owner in process.ownership.owners()] == ["r", "r", "ended"]


async def test_who_was_not_fed_is_looked_after_now_and_then(process: Process) -> None:
    await process.take_over(HOST, SHARD)
    looked: list[str] = []
    for owner in process.ownership.owners():
        owner.failed = lambda label=owner.label: looked.append(label)  # type: ignore[method-assign, misc]
    await process.ownership.look_after((SHARD,), process.member)
    assert looked == ["r/guest-0", "r/host-0"]
    await process.ownership.look_after((SHARD,), process.member)
    assert looked[2:] == ["r/guest-0"]
    process.clock.advance(2 * LOOK_AFTER_S)
    await process.ownership.look_after((SHARD,), process.member)
    assert looked[3:] == ["r/guest-0", "r/host-0"]
    await process.ownership.look_after((), process.member)
    assert looked[5:] == ["r/guest-0", "r/host-0"]


async def executed(process: Process) -> None:
    """Both partitions to their ends."""
    while not all(owner.participant.ended for owner in process.ownership.owners()):
        for owner in process.ownership.owners():
            place = TopicPartition(
                topic_name("r", owner.participant.topic), owner.participant.partition
            )
            values = process.bus.values(place.topic)
            records: list[Any] = [
                Record(offset, values[offset]) for offset in range(owner.offset, len(values))
            ]
            await process.ownership.feed(place, records, process.member)


async def test_the_end_of_a_simulated_host_is_said_once(process: Process) -> None:
    await process.take_over(HOST, SHARD)
    await executed(process)
    await process.hear()
    assert process.runs.finished("r")
    said = [stored.key for stored in process.bus.logs[RUNS_TOPIC, 0]]
    assert said.count(b"r/host-0") == 1
    again = Process()
    again.bus.logs.update(process.bus.logs)
    await again.hear()
    await again.take_over(HOST)
    await executed(again)
    assert [stored.key for stored in again.bus.logs[RUNS_TOPIC, 0]].count(b"r/host-0") == 1


async def test_a_shard_that_has_ended_is_read_no_more(process: Process) -> None:
    await process.take_over(HOST, SHARD)
    assert process.member.reading.keys() == {HOST, SHARD}
    await executed(process)
    assert process.member.reading.keys() == {HOST}  # which answers commands
    assert process.ownership.keep({HOST, SHARD}).keys() == {HOST}
    await process.hear()
    await process.take_over(HOST, SHARD)
    assert process.member.reading.keys() == {HOST}
    assert len(process.ownership.owners()) == 2


async def test_how_long_to_wait_is_the_least_of_all(process: Process) -> None:
    assert process.ownership.wait_s() is None
    assert process.ownership.caught_up
    await process.take_over(HOST, SHARD)
    process.made.command(FAULTS, "pace", speed=0.001)
    await executed_until_held(process)
    assert (process.ownership.wait_s() or 0) > 0


async def executed_until_held(process: Process) -> None:
    """Some windows, so that one is held back by the pace."""
    for _ in range(3):
        for owner in process.ownership.owners():
            await process.made.read(owner)
