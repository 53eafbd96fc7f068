"""One size on this machine's cores, without brokers.

Several processes have the simulated hosts of a size between them: all measure at the same time,
from when the last of them is warm.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import fmean
from typing import Literal, NamedTuple, TypeAlias

from pagewake.cluster.resources import cpu_s, memory_bytes
from pagewake.engine.crew import Crew, Ended
from pagewake.engine.crew import Tell as TellParent
from pagewake.engine.embedded import InterruptedRun, run_embedded
from pagewake.engine.run import without_collector
from pagewake.engine.split import cores, deal
from pagewake.errors import PagewakeError
from pagewake.guest_kernel.shard import Shard
from pagewake.load.measured import Latencies, Measurement, cost_of, total
from pagewake.load.plan import WARM_LIMIT_S, WARM_WINDOWS, scenario_for
from pagewake.observe.counter import ResultCounter
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.model import Scenario

TOLD_EVERY_S = 0.2  # twice as slow as a bar of one run: here it must not cost what it measures

Tell = Callable[[str, float], None]
"""What is being done, and what share of it is."""


Stage: TypeAlias = Literal["warming up", "warm", "measuring"]


class _Order(NamedTuple):
    """The hosts of a size that one process has; it measures once the other end of `go` is shut."""

    scenario: Scenario
    hosts: list[int]
    warm_s: float
    duration_s: float
    go: Connection | None


class _Mark(NamedTuple):
    """How far a run is; `sim_ns` is the mean of its hosts."""

    wall_s: float
    cpu_s: float
    faults: int
    events: int
    sim_ns: float


class _Found(NamedTuple):
    """What one process measured between its two marks."""

    spent: _Mark
    hosts: int
    windows: int
    latencies: Latencies
    memory: int | None


class _Clock:
    """Takes marks once all is warm, and says when it is over."""

    def __init__(
        self,
        counter: ResultCounter,
        shards: Sequence[Shard],
        order: _Order,
        tell: TellParent[tuple[Stage, float]],
    ) -> None:
        self.latencies = Latencies()
        self.windows = 0
        self._counter = counter
        self._shards = shards
        self._warm_s = order.warm_s
        self._duration_s = order.duration_s
        self._go = order.go
        self._tell = tell
        self._is_warm = False
        self._told_s = 0.0
        self._started_s = self._last_s = 0.0
        self._from: _Mark | None = None
        self._to: _Mark | None = None

    def window(self, _sim_ns: int, windows: int) -> None:
        """Called after every window: takes marks, and tells how far the measurement is."""
        now_s = time.perf_counter()
        if not self._started_s:
            self._started_s = now_s
        elif self._from is None:
            if self._warm(now_s - self._started_s, windows):
                self._from = self._mark(now_s)
        else:
            self.windows += 1
            self.latencies.add(now_s - self._last_s)
        self._last_s = now_s
        if now_s - self._told_s >= TOLD_EVERY_S:
            self._told_s = now_s
            waits: Stage = "warm" if self._is_warm else "warming up"
            stage: Stage = waits if self._from is None else "measuring"
            self._tell((stage, (now_s - self._started_s) / (self._warm_s + self._duration_s)))

    def _warm(self, for_s: float, windows: int) -> bool:
        """Hosts run in stretches, the one furthest behind first: their mean is close to each.

        A process that is warm goes on until the others are.
        """
        if not self._is_warm:
            enough = windows >= WARM_WINDOWS * len(self._shards)
            self._is_warm = for_s >= self._warm_s and (
                enough or for_s >= self._warm_s + WARM_LIMIT_S
            )
        return self._is_warm and (self._go is None or self._go.poll())

    def stop(self) -> bool:
        """Whether the time is over; never before there was a window to measure."""
        if self._from is None or not self.windows:
            return False
        if self._last_s - self._from.wall_s < self._duration_s:
            return False
        if self._to is None:
            self._to = self._mark(self._last_s)
        return True

    def _mark(self, now_s: float) -> _Mark:
        reached_ns = fmean(shard.until_ns for shard in self._shards)
        return _Mark(now_s, cpu_s(), self._counter.faults, self._counter.events, reached_ns)

    def spent(self) -> _Mark | None:
        """What was spent between the two marks; None before the second is taken."""
        if self._from is None or self._to is None:
            return None
        since, to = self._from, self._to
        return _Mark(
            to.wall_s - since.wall_s,
            to.cpu_s - since.cpu_s,
            to.faults - since.faults,
            to.events - since.events,
            to.sim_ns - since.sim_ns,
        )


def processes_for(vcpus: int, jobs: int | None) -> int:
    """How many processes measure a size: one per core at most, and per simulated host."""
    return min(jobs or cores(), scenario_for(vcpus).host.count)


def measure(
    vcpus: int, warm_s: float, duration_s: float, tell: Tell, jobs: int | None = None
) -> Measurement:
    """Build, warm up, measure.  KeyboardInterrupt passes."""
    scenario = scenario_for(vcpus)
    tell("building", 0.0)
    deals = deal(scenario, processes_for(vcpus, jobs))
    if len(deals) == 1:
        order = _Order(scenario, deals[0], warm_s, duration_s, None)
        found = [_measure(order, lambda told: tell(*told))]
    else:
        go, shut = get_context("spawn").Pipe(duplex=False)
        with go, shut:
            orders = [_Order(scenario, hosts, warm_s, duration_s, go) for hosts in deals]
            found = _together(orders, shut.close, tell)
    return _measured(scenario, vcpus, found)


def _together(orders: Sequence[_Order], go: Callable[[], None], tell: Tell) -> list[_Found]:
    """Have a process for each order, and all of them begin to measure at once."""
    crew: Crew[int, _Order, tuple[Stage, float], _Found] = Crew(_measure)
    warm: set[int] = set()
    found: dict[int, _Found] = {}
    try:
        for number, order in enumerate(orders):
            crew.start(number, order)
        while len(crew):
            for number, news in crew.news():
                if not isinstance(news, Ended):
                    stage, share = news
                    if stage == "warm":
                        warm.add(number)
                    tell("warming up" if stage == "warm" else stage, share)
                elif isinstance(news.outcome, PagewakeError):
                    raise news.outcome
                else:
                    found[number] = news.outcome
            if len(warm) == len(orders):
                go()  # once or again
    finally:
        crew.dismiss()
    return [one for _, one in sorted(found.items())]


def _measure(order: _Order, tell: TellParent[tuple[Stage, float]]) -> _Found:
    """Measure some hosts of a size in this process."""
    counter = ResultCounter()
    plan = RunPlan.of("load", order.scenario, shards=1)
    parts = build(plan, order.hosts)
    shards = [shard for part in parts for shard in part.shards]
    clock = _Clock(counter, shards, order, tell)
    gc.collect()  # of the size before
    try:
        with without_collector():
            run_embedded(
                plan,
                parts,
                order.hosts,
                observer=counter.feed,
                on_progress=clock.window,
                should_stop=clock.stop,
            )
    except InterruptedRun:
        if clock.spent() is None:
            raise
    spent = clock.spent()
    assert spent is not None, "a load run ends only when its time is over"
    return _Found(spent, len(order.hosts), clock.windows, clock.latencies, memory_bytes())


def _measured(scenario: Scenario, vcpus: int, found: Sequence[_Found]) -> Measurement:
    """Rates of all processes together; simulated time is the mean of the hosts."""
    latencies, windows = Latencies(), sum(each.windows for each in found)
    for each in found:
        latencies.merge(each.latencies)

    def per_s(of: Callable[[_Found], float]) -> float:
        return sum(of(each) / each.spent.wall_s for each in found)

    faults_per_s = per_s(lambda each: each.spent.faults)
    parent = [memory_bytes()] if len(found) > 1 else []
    memory = total([*(each.memory for each in found), *parent])
    cost = cost_of("embedded", per_s(lambda each: each.spent.cpu_s), faults_per_s, memory)
    return Measurement(
        vcpus=vcpus,
        vms=len(scenario.instances()),
        hosts=scenario.host.count,
        wall_s=max(each.spent.wall_s for each in found),
        windows=windows,
        faults_per_s=faults_per_s,
        events_per_s=per_s(lambda each: each.spent.events),
        faults_per_window=sum(each.spent.faults for each in found) / windows,
        simulated_per_wall=per_s(lambda each: each.spent.sim_ns * each.hosts)
        / (1e9 * scenario.host.count),
        window=latencies.summary(),
        cpu_s_per_million_faults=cost.cpu_s_per_million_faults,
        memory_bytes_per_vcpu=None if memory is None else memory / vcpus,
        kafka_bytes_per_fault=None,
        services=[cost],
        jobs=len(found),
    )
