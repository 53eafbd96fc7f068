"""One size in this process, without brokers."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

from pagewake.cluster.resources import cpu_s, memory_bytes
from pagewake.engine.embedded import InterruptedRun, run_embedded
from pagewake.engine.run import without_collector
from pagewake.guest_kernel.shard import Shard
from pagewake.load.measured import Latencies, Measurement, cost_of
from pagewake.load.plan import WARM_LIMIT_S, WARM_WINDOWS, scenario_for
from pagewake.observe.result import ResultCounter
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.model import Scenario

LATENCY_SOURCE = "wall time of each window of a simulated host in the process"
TOLD_EVERY_S = 0.2  # twice as slow as a bar of one run: here it must not cost what it measures

Tell = Callable[[str, float], None]
"""What is being done, and what share of it is."""


class _Mark(NamedTuple):
    """How far a run is; `sim_ns` is the mean of its hosts."""

    wall_s: float
    cpu_s: float
    faults: int
    events: int
    sim_ns: float


class _Clock:
    """Takes marks once the run is warm, and says when it is over."""

    def __init__(
        self,
        counter: ResultCounter,
        shards: Sequence[Shard],
        warm_s: float,
        duration_s: float,
        tell: Tell,
    ) -> None:
        self.latencies = Latencies()
        self.windows = 0
        self._counter = counter
        self._shards = shards
        self._warm_s = warm_s
        self._duration_s = duration_s
        self._tell = tell
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
            what = "warming up" if self._from is None else "measuring"
            self._tell(what, (now_s - self._started_s) / (self._warm_s + self._duration_s))

    def _warm(self, for_s: float, windows: int) -> bool:
        """Hosts run in stretches, the one furthest behind first: their mean is close to each."""
        enough = windows >= WARM_WINDOWS * len(self._shards)
        return for_s >= self._warm_s and (enough or for_s >= self._warm_s + WARM_LIMIT_S)

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


def measure(vcpus: int, warm_s: float, duration_s: float, tell: Tell) -> Measurement:
    """Build, warm up, measure.  KeyboardInterrupt passes."""
    scenario = scenario_for(vcpus)
    counter = ResultCounter()
    tell("building", 0.0)
    plan = RunPlan.of("load", scenario, shards=1)
    parts = build(plan)
    shards = [shard for part in parts for shard in part.shards]
    clock = _Clock(counter, shards, warm_s, duration_s, tell)
    gc.collect()  # of the size before
    try:
        with without_collector():
            run_embedded(
                plan,
                parts,
                observer=counter.feed,
                on_progress=clock.window,
                should_stop=clock.stop,
            )
    except InterruptedRun:
        if clock.spent() is None:
            raise
    return _measured(scenario, vcpus, clock, memory_bytes())


def _measured(scenario: Scenario, vcpus: int, clock: _Clock, memory: int | None) -> Measurement:
    spent = clock.spent()
    assert spent is not None, "a load run ends only when its time is over"
    faults_per_s = spent.faults / spent.wall_s
    cost = cost_of("embedded", spent.cpu_s / spent.wall_s, faults_per_s, memory)
    return Measurement(
        vcpus=vcpus,
        vms=len(scenario.instances()),
        hosts=scenario.host.count,
        wall_s=spent.wall_s,
        windows=clock.windows,
        faults_per_s=faults_per_s,
        events_per_s=spent.events / spent.wall_s,
        faults_per_window=spent.faults / clock.windows,
        simulated_per_wall=spent.sim_ns / 1e9 / spent.wall_s,
        window=clock.latencies.summary(),
        cpu_s_per_million_faults=cost.cpu_s_per_million_faults,
        memory_bytes_per_vcpu=None if memory is None else memory / vcpus,
        kafka_bytes_per_fault=None,
        services=[cost],
    )
