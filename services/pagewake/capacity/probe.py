"""The beginning of a run as the services of a cluster would execute it, counted and timed.

The participants are those of the cluster, and so is what they do, but for Kafka: every record is
encoded, hashed, decoded and applied, journals are made, windows tallied.  How far the beginning
reaches is counted in work, not in time, so counts are the same on every machine; the CPU times are
this one's.

Simulated hosts do not interact, and those with the same VMs do about the same: one of each kind is
simulated, its share of what is to be done.  A run that is short enough is simulated to its end with
all of its hosts: then nothing is scaled, and what is counted is what the run will say of itself.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import reduce
from math import inf
from typing import NamedTuple, TypeAlias

from pagewake.cluster.tally import Tally
from pagewake.events.codec import FAULTS
from pagewake.participants import snapshots
from pagewake.participants.build import HostPart, build
from pagewake.participants.participant import HostParticipant, Out, ShardParticipant
from pagewake.participants.plan import RunPlan

EFFORT = 150_000.0
"""What a beginning may take, counted in events: one to two seconds of CPU."""
WINDOW_EFFORT = 16
"""A window costs as much CPU as so many events (`tests/bench/bench_model.py`)."""
KINDS_MAX = 8
"""Of simulated hosts; of more kinds, the one that is nearest in vcpus stands for another."""
MARKS = 64
"""In a beginning: enough that halves and quarters of its simulated time are found among them."""
DRIFTING = ("windows", "faults", "events")
NOT_PRESENT = "page_not_present"

Amounts: TypeAlias = defaultdict[str, float]
"""How much of what: `windows`, `faults`, `events`; `records` and `bytes` of a topic, as in `bytes
faults`; seconds of CPU of a service, as in `cpu host`, and of `cpu path`, which a window waits for.
"""


class Mark(NamedTuple):
    """How far a simulated host was, and all that was counted by then."""

    at_ns: int
    amounts: Amounts


class HostProbe(NamedTuple):
    """One simulated host, which stands for `alike` of them.

    `seen` was counted, `total` is of its whole run; `drift` is by how much the third and the last
    quarter of what was simulated differ, as a share; `packed_bytes` are of a snapshot of it and of
    its shards.
    """

    host: int
    alike: int
    whole: bool
    seen: Amounts
    total: Amounts
    drift: float
    packed_bytes: int


class Probe(NamedTuple):
    """All that was simulated; `whole` if that is the run itself."""

    hosts: Sequence[HostProbe]
    whole: bool

    @property
    def total(self) -> Amounts:
        """Of the whole run."""
        return reduce(_plus, (_times(host.total, host.alike) for host in self.hosts))

    @property
    def seen(self) -> Amounts:
        """Of what was simulated."""
        return reduce(_plus, (host.seen for host in self.hosts))

    @property
    def within(self) -> float:
        """The share by which amounts may be off: the largest drift, or the scatter of counts."""
        scatter = max(1.0, self.seen["faults"]) ** -0.5
        return 0.0 if self.whole else max(scatter, *(host.drift for host in self.hosts))

    @property
    def packed_bytes(self) -> int:
        """One snapshot of every participant."""
        return sum(host.packed_bytes * host.alike for host in self.hosts)


def probe(plan: RunPlan, effort: float = EFFORT) -> Probe:
    """Simulate the beginning; all of a run that takes no more, or if `effort` is infinite."""
    indexes = range(len(plan.topology.hosts))
    kinds = dict.fromkeys(indexes, 1) if effort == inf else kinds_of(plan)
    each = effort / len(kinds)
    found = [_of_host(plan, host, alike, each) for host, alike in kinds.items()]
    whole = all(host.whole for host in found)
    if whole and sum(_effort(host.seen) * host.alike for host in found) <= effort:
        found = [host._replace(alike=1) for host in found]
        found += [_of_host(plan, host, 1, inf) for host in indexes if host not in kinds]
    return Probe(found, whole and len(found) == len(indexes))


def kinds_of(plan: RunPlan) -> dict[int, int]:
    """Simulated hosts that stand for all, and for how many each."""
    mixes: dict[int, Counter[str]] = {host.index: Counter() for host in plan.topology.hosts}
    vcpus = Counter[int]()
    for instance in plan.scenario.instances():
        mixes[instance.host][instance.spec.name] += 1
        vcpus[instance.host] += instance.spec.vcpus_in_all
    first: dict[frozenset[tuple[str, int]], int] = {}
    same = {index: first.setdefault(frozenset(mix.items()), index) for index, mix in mixes.items()}
    chosen = list(first.values())[:: -(-len(first) // KINDS_MAX)]
    alike = dict.fromkeys(chosen, 0)
    for index in mixes:
        apart = {host: abs(vcpus[host] - vcpus[index]) for host in chosen}
        alike[same[index] if same[index] in alike else min(chosen, key=apart.__getitem__)] += 1
    return alike


def scaled(marks: Sequence[Mark], duration_ns: int) -> Amounts:
    """What a whole run has, if it goes on as in the second half of these marks."""
    last = marks[-1]
    rate = _rate(_near(marks, last.at_ns / 2), last)
    return _plus(last.amounts, _times(rate, duration_ns - last.at_ns))


def drift_of(marks: Sequence[Mark]) -> float:
    """By how much the last quarter of the simulated time differs from the one before."""
    last = marks[-1]
    half, three = (_near(marks, last.at_ns * share) for share in (1 / 2, 3 / 4))
    before, after = _rate(half, three), _rate(three, last)
    return max(abs(after[what] / before[what] - 1) if before[what] else 0 for what in DRIFTING)


def _near(marks: Sequence[Mark], at_ns: float) -> Mark:
    return min(marks[:-1], key=lambda mark: abs(mark.at_ns - at_ns))


def _rate(since: Mark, until: Mark) -> Amounts:
    """Per nanosecond; of no time, nothing."""
    ns = until.at_ns - since.at_ns
    return _times(_plus(until.amounts, _times(since.amounts, -1)), 1 / ns if ns else 0)


def _plus(one: Amounts, other: Amounts) -> Amounts:
    return defaultdict(float, {what: one[what] + other[what] for what in {**one, **other}})


def _times(amounts: Amounts, factor: float) -> Amounts:
    return defaultdict(float, {what: factor * amount for what, amount in amounts.items()})


def _effort(amounts: Amounts) -> float:
    return WINDOW_EFFORT * amounts["windows"] + amounts["events"]


def _of_host(plan: RunPlan, index: int, alike: int, effort: float) -> HostProbe:
    (part,) = build(plan, [index])
    host = _Host(plan, index, part)
    marks = host.run(effort)
    packed_bytes, seen = host.packed_bytes(), marks[-1].amounts
    if host.ended:
        return HostProbe(index, alike, True, seen, seen, 0.0, packed_bytes)
    total = _plus(scaled(marks, plan.scenario.duration_ns), host.close())
    return HostProbe(index, alike, False, seen, total, drift_of(marks), packed_bytes)


class _Host:
    """One simulated host with its shards, between which records go as over Kafka."""

    def __init__(self, plan: RunPlan, index: int, part: HostPart) -> None:
        self._host = HostParticipant(plan, index, part.host)
        self._shards = {
            (place.topic, place.partition): ShardParticipant(
                plan, plan.shard_number(place.topic, place.partition), shard
            )
            for place, shard in zip(plan.topology.hosts[index].shards, part.shards, strict=True)
        }
        self._amounts: Amounts = defaultdict(float)
        self._tally = Tally()
        self._opened: list[Out] = []
        self._send(self._host.start())

    @property
    def ended(self) -> bool:
        """Its last window is closed."""
        return self._host.ended

    def run(self, effort: float) -> list[Mark]:
        """To its end, or until so much is done; marks on the way, the last one where it is."""
        marks = [Mark(0, defaultdict(float))]
        while not self.ended and (done := self._effort()) < effort:
            if done * MARKS >= effort * len(marks):
                marks.append(self._mark())
            self._window()
        return [*marks, self._mark()]

    def close(self) -> Amounts:
        """End it as `runs stop` does; what came on top."""
        before = self._mark().amounts
        self._host.sequencer.stop()
        while not self.ended:
            self._window()
        return _plus(self._mark().amounts, _times(before, -1))

    def packed_bytes(self) -> int:
        """Of a snapshot of each participant."""
        participants = (self._host, *self._shards.values())
        return sum(len(snapshots.pack(participant.state())) for participant in participants)

    def _effort(self) -> float:
        return WINDOW_EFFORT * self._amounts["windows"] + self._tally.events

    def _mark(self) -> Mark:
        amounts = self._amounts.copy()
        amounts["events"] = self._tally.events
        counts = self._tally.counts.items()
        amounts["faults"] = sum(count for (name, _), count in counts if name == NOT_PRESENT)
        return Mark(self._host.end_ns or self._host.at_ns, amounts)

    def _window(self) -> None:
        opened, self._opened = self._opened, []
        closes: list[Out] = []
        slowest_s = 0.0
        for out in opened:
            outs, took_s = self._close_of(self._shards[out.topic, out.partition], out)
            closes += outs
            slowest_s = max(slowest_s, took_s)
        began_s = time.thread_time()
        steps = [self._host.accept(out.record) for out in closes]
        took_s = time.thread_time() - began_s
        for step in steps:
            self._send(step.outs)
        self._amounts["cpu host"] += took_s
        self._amounts["cpu path"] += took_s + slowest_s
        self._amounts["windows"] += 1

    def _close_of(self, shard: ShardParticipant, out: Out) -> tuple[list[Out], float]:
        """How a shard closes its window, and the time to that: its journal is made afterwards."""
        began_s = time.thread_time()
        step = shard.accept(out.record)
        closed_s = time.thread_time()
        self._tally.feed(step.events)
        journal = shard.journal()
        self._amounts[f"cpu {shard.source.partition('-')[0]}"] += time.thread_time() - began_s
        self._send([*step.outs, *journal])
        return [each for each in step.outs if each.topic == FAULTS], closed_s - began_s

    def _send(self, outs: Iterable[Out]) -> None:
        for out in outs:
            self._amounts[f"records {out.topic}"] += 1
            self._amounts[f"bytes {out.topic}"] += len(out.record)
            if (out.topic, out.partition) in self._shards:
                self._opened.append(out)
