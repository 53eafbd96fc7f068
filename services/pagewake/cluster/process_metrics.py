"""The metrics of one process, and the registry that has them and those of its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from pagewake.cluster.clock import Clock
from pagewake.cluster.http_server import Reply
from pagewake.cluster.metrics import Owned, RunMetrics
from pagewake.cluster.owner import Owner

# A window takes a few milliseconds with everything on one machine, seconds with brokers far away.
WINDOW_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1, 2, 4, 16)

Source: TypeAlias = tuple[str, str]
"""A run and a source in it."""


class ProcessMetrics:
    """`owners` are asked at each beat and scrape, `silent_s` for how long Kafka has been silent.

    `broken` names the runs that were broken off and not deleted since.
    """

    def __init__(
        self,
        owners: Callable[[], Sequence[Owner]],
        silent_s: Callable[[], float],
        broken: Callable[[], Iterable[str]],
        clock: Clock,
    ) -> None:
        # They are a series more for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.registry.register(RunMetrics(self._caught_up))
        ProcessCollector(registry=self.registry)  # process_cpu_seconds_total and the like
        self._owners = owners
        self._silent_s = silent_s
        self._broken_runs = broken
        self._clock = clock
        self._at: dict[Source, tuple[float, int]] = {}
        self._timed: set[str] = set()
        self._make_counters()
        self._make_gauges()

    def _make_counters(self) -> None:
        self._records = self._counter(
            "bus_records", "Records that owners read and wrote", ["topic", "direction"]
        )
        self._bytes = self._counter(
            "bus_bytes", "Bytes that owners read and wrote", ["topic", "direction"]
        )
        self._recoveries = self._counter("recoveries", "Partitions taken over", [])
        self._snapshots = self._counter("snapshots", "Snapshots written", [])
        self._rejected = self._counter("bus_rejected_records", "Records never applied", ["why"])
        for why in ("malformed", "foreign"):
            self._rejected.labels(why)
        self._windows = Histogram(
            "pagewake_window_wall_seconds",
            "From a window's opening to its last close",
            ["run"],
            registry=self.registry,
            buckets=WINDOW_BUCKETS_S,
        )

    def _make_gauges(self) -> None:
        self._replaying = self._gauge(
            "replaying", "1 while a taken over partition is executed again", ["run", "source"]
        )
        self._speed = self._gauge(
            "sim_speed_ratio", "Simulated by wall time since the last second", ["run", "source"]
        )
        self._lag = self._gauge("bus_lag_records", "Records not read yet", ["run", "topic"])
        self._waiting = self._gauge(
            "window_waits_for_seconds",
            "How long an open window waits for a shard",
            ["run", "source"],
        )
        self._silent = self._gauge("kafka_silent_seconds", "How long Kafka has not answered", [])
        self._broken = self._gauge(
            "run_broken_off", "1 for a run that was broken off, until it is deleted", ["run"]
        )
        self._owned = self._gauge("owned_partitions", "Partitions owned", [])

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"pagewake_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(f"pagewake_{name}", text, labels, registry=self.registry)

    def _caught_up(self) -> list[Owned]:
        return [
            Owned(own.participant, own.tally, own.replayed_ns)
            for own in self._owners()
            if own.caught_up
        ]

    # ------------------------------------------------------------------ counting

    def received(self, topic: str, records: int, size: int) -> None:
        """Records that an owner took in, and their bytes."""
        self._records.labels(topic, "in").inc(records)
        self._bytes.labels(topic, "in").inc(size)

    def sent(self, topic: str, size: int) -> None:
        """A record that an owner handed to Kafka."""
        self._records.labels(topic, "out").inc()
        self._bytes.labels(topic, "out").inc(size)

    def recovered(self) -> None:
        """A partition was taken over."""
        self._recoveries.inc()

    def rejected(self, why: str) -> None:
        """A record that was not applied."""
        self._rejected.labels(why).inc()

    def snapshot_taken(self) -> None:
        """A snapshot was written."""
        self._snapshots.inc()

    # ------------------------------------------------------------------ looking

    def beat(self) -> None:
        """About once a second: how fast runs are since the last time."""
        now_s = self._clock.monotonic_s()
        self._speed.clear()
        before, self._at = self._at, {}
        for owner in self._owners():
            self._note_speed(owner, now_s, before)
            self._note_windows(owner)

    def _note_speed(
        self, owner: Owner, now_s: float, before: Mapping[Source, tuple[float, int]]
    ) -> None:
        run, source, at_ns = owner.plan.run, owner.participant.source, owner.participant.at_ns
        self._at[run, source] = now_s, at_ns
        was = before.get((run, source))
        if was is not None and now_s > was[0] and owner.caught_up and not owner.participant.ended:
            self._speed.labels(run, source).set((at_ns - was[1]) / 1e9 / (now_s - was[0]))

    def _note_windows(self, owner: Owner) -> None:
        if owner.participant.opens_windows:
            windows = self._windows.labels(owner.plan.run)
            for took_s in owner.take_windows_s():
                windows.observe(took_s)
            self._timed.add(owner.plan.run)

    def page(self) -> Reply:
        """All series as Prometheus reads them."""
        self._refresh()
        return Reply("200 OK", generate_latest(self.registry))

    def _refresh(self) -> None:
        """What owners say of themselves; and who waits for whom."""
        self._owned.set(len(self._owners()))
        self._silent.set(self._silent_s())
        self._broken.clear()
        for run in self._broken_runs():
            self._broken.labels(run).set(1)
        for gauge in (self._waiting, self._lag, self._replaying):
            gauge.clear()
        runs = set[str]()
        for owner in self._owners():
            run, participant = owner.plan.run, owner.participant
            runs.add(run)
            place = f"{participant.topic}-{participant.partition}"
            self._lag.labels(run, place).set(owner.lag)
            self._replaying.labels(run, participant.source).set(not owner.caught_up)
            for source, waited_s in owner.waiting_for():
                self._waiting.labels(run, source).set(waited_s)
            self._note_windows(owner)
        for run in self._timed - runs:
            self._windows.remove(run)
        self._timed &= runs
