"""What a stretch of a run's log says of it: counted between two sets of offsets, after the fact.

Timestamps are the broker's, one clock for all records, in whole milliseconds.  Of every simulated
host the windows are taken whose opening and closing lie inside the stretch; its rates are over the
time from the close before the first of them to the close of the last, so that a window cut off at
an end falsifies none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from pagewake.bus.kafka import FOLLOW_WAIT_MS, KafkaSettings, stop_consumer
from pagewake.bus.kafka_settings import fetch_options
from pagewake.events.codec import FAULTS, JOURNAL_TOPIC, UNDECODABLE
from pagewake.load.measured import Latencies
from pagewake.participants.plan import RunPlan, topic_name
from pagewake.participants.topology import HostPlace

Offsets = Mapping[TopicPartition, int]


class _CountedEvent(msgspec.Struct, gc=False):
    """The fields of an event that are counted by; decoding skips the others."""

    event: str
    first_touch: bool = False
    until_ns: int | None = None


class _Commit(msgspec.Struct):
    """The fields of a commit that are counted by; decoding skips the others."""

    source: str
    seq: int
    window: int
    part: int
    events: list[_CountedEvent]


_decode = msgspec.json.Decoder(_Commit).decode
_NO_DOMAIN_EVENTS = ("WindowOpened", "WindowClosed", "ShardEnded")


class _Window(msgspec.Struct):
    """One window of a simulated host: when it opened and closed, and what happened in it."""

    opened_ms: int = 0
    closed_ms: int = 0
    closes: int = 0
    until_ns: int = 0
    faults: int = 0
    events: int = 0
    size: int = 0


class HostStretch(NamedTuple):
    """What one simulated host did in `windows` whole windows."""

    wall_s: float
    windows: int
    simulated_s: float
    faults: int
    events: int
    size: int


class _HostWindows:
    """Collects the windows of one simulated host."""

    def __init__(self, place: HostPlace) -> None:
        self._shards = len(place.shards)
        self._windows: dict[int, _Window] = {}
        self._last: dict[tuple[str, str], tuple[int, int]] = {}

    def take(self, topic: str, value: bytes, at_ms: int) -> None:
        """Take the next record of one of its partitions; what is no commit is passed over."""
        try:
            commit = _decode(value)
        except UNDECODABLE:
            return
        number = (commit.seq, commit.part)
        if number <= self._last.get((topic, commit.source), (-1, -1)):
            return  # it came again
        self._last[topic, commit.source] = number
        window = self._windows.setdefault(commit.window, _Window())
        window.size += len(value)
        for seen in commit.events:
            if seen.event not in _NO_DOMAIN_EVENTS:
                window.events += 1
                window.faults += seen.event == "PageNotPresent" and not seen.first_touch
            elif seen.event == "WindowClosed":
                window.closes += 1
                window.closed_ms = max(window.closed_ms, at_ms)
                window.until_ns = window.until_ns if seen.until_ns is None else seen.until_ns
            elif seen.event == "WindowOpened":
                window.opened_ms = max(window.opened_ms, at_ms)
                window.until_ns = window.until_ns or seen.until_ns or 0

    def stretch(self, latencies: Latencies) -> HostStretch | None:
        """The whole windows; None if there are not enough of them to tell a rate."""
        whole = [
            number
            for number, window in sorted(self._windows.items())
            if window.closes == self._shards and window.opened_ms
        ][:-1]  # of the last one the journal may lie behind the end
        if len(whole) < 2:
            return None
        before, *counted = [self._windows[number] for number in whole]
        for window in counted:
            latencies.add((window.closed_ms - window.opened_ms) / 1000)
        return HostStretch(
            max(1, counted[-1].closed_ms - before.closed_ms) / 1000,
            len(counted),
            (counted[-1].until_ns - before.until_ns) / 1e9,
            sum(window.faults for window in counted),
            sum(window.events for window in counted),
            sum(window.size for window in counted),
        )


class RunLog:
    """The partitions of a run: their ends, and what lies between two of them."""

    def __init__(self, settings: KafkaSettings, plan: RunPlan) -> None:
        fetching = fetch_options(FOLLOW_WAIT_MS, settings.rack)
        self._consumer = AIOKafkaConsumer(**settings.options(), **fetching)
        self._hosts = [_HostWindows(place) for place in plan.topology.hosts]
        self._place: dict[TopicPartition, tuple[str, int]] = {}
        for host in plan.topology.hosts:
            self._known(plan, FAULTS, host.index, host.index)
            for shard in host.shards:
                self._known(plan, shard.topic, shard.partition, host.index)
                self._known(plan, JOURNAL_TOPIC, shard.journal, host.index)
        self._faults = [place for place, (topic, _) in self._place.items() if topic == FAULTS]

    def _known(self, plan: RunPlan, topic: str, partition: int, host: int) -> None:
        self._place[TopicPartition(topic_name(plan.run, topic), partition)] = (topic, host)

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_consumer(self._consumer)

    async def ends(self) -> Offsets:
        """The offset behind the last record of every partition."""
        ends: Offsets = await self._consumer.end_offsets(list(self._place))
        return ends

    async def closes(self, since: Offsets | None = None) -> int:
        """How many windows the host with the fewest has had closed, in commits of its shards."""
        ends: Offsets = await self._consumer.end_offsets(self._faults)
        return min(ends[place] - (since or {}).get(place, 0) for place in self._faults)

    async def read(
        self, since: Offsets, until: Offsets, latencies: Latencies
    ) -> list[HostStretch | None]:
        """What each simulated host did between two sets of offsets; None where too little."""
        wanted = [place for place in self._place if since[place] < until[place]]
        self._consumer.assign(wanted)
        for place in wanted:
            self._consumer.seek(place, since[place])
        reading = set(wanted)
        while reading:
            batches = await self._consumer.getmany(timeout_ms=FOLLOW_WAIT_MS)
            for place, records in batches.items():
                topic, host = self._place[place]
                for record in records:
                    if record.offset < until[place] and record.value is not None:
                        self._hosts[host].take(topic, record.value, record.timestamp)
            reading = {
                place for place in reading if await self._consumer.position(place) < until[place]
            }
            self._consumer.pause(*(set(wanted) - reading))
        return [host.stretch(latencies) for host in self._hosts]


def faults_per_s(stretches: Iterable[HostStretch]) -> float:
    """Faults per wall second of all hosts together."""
    return sum(stretch.faults / stretch.wall_s for stretch in stretches)


def events_per_s(stretches: Iterable[HostStretch]) -> float:
    """Domain events per wall second of all hosts together."""
    return sum(stretch.events / stretch.wall_s for stretch in stretches)
