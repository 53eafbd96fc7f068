"""`/metrics`, `/healthz`, `/readyz` of a service, from its own event loop.

Ready is a service that has joined its group and whose runs are not waiting for somebody else's
service; what it waits for stands in the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
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

from pagewake.cluster.metrics import Owned, RunMetrics
from pagewake.cluster.owner import Owner
from pagewake.errors import ConfigError

REQUEST_S = 5.0
STALLED_S = 10.0
LOOP_S = 30.0
WINDOW_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1, 2, 4, 16)
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Part: TypeAlias = tuple[str, str]
"""A run and a source in it."""


class Health:
    """The small HTTP server and the metrics it serves; `port` is known once it is started."""

    def __init__(self, owners: Callable[[], Sequence[Owner]]) -> None:
        self.ready = False
        self.port = 0
        self.kafka_silent = ""
        self._silent_s = 0.0
        # They are a series more for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.registry.register(RunMetrics(self._caught_up))
        ProcessCollector(registry=self.registry)  # process_cpu_seconds_total and the like
        self._owners = owners
        self._beat_s = time.monotonic()
        self._records = self._counter(
            "bus_records",
            "Records that owners read and wrote",
            ["topic", "direction"],
        )
        self._bytes = self._counter(
            "bus_bytes",
            "Bytes that owners read and wrote",
            ["topic", "direction"],
        )
        self._windows = Histogram(
            "pagewake_window_wall_seconds",
            "From a window's opening to its last close",
            ["run"],
            registry=self.registry,
            buckets=WINDOW_BUCKETS_S,
        )
        self._recoveries = self._counter("recoveries", "Partitions taken over", [])
        self._replaying = self._gauge(
            "replaying", "1 while a taken over partition is executed again", ["run", "source"]
        )
        self._speed = self._gauge(
            "sim_speed_ratio", "Simulated by wall time since the last second", ["run", "source"]
        )
        self._at: dict[Part, tuple[float, int]] = {}
        self._timed: set[str] = set()
        self._rejected = self._counter("bus_rejected_records", "Records never applied", ["why"])
        for why in ("malformed", "foreign"):
            self._rejected.labels(why)
        self._snapshots = self._counter("snapshots", "Snapshots written", [])
        self._lag = self._gauge("bus_lag_records", "Records not read yet", ["run", "topic"])
        self._waiting = self._gauge(
            "window_waits_for_seconds",
            "How long an open window waits for a shard",
            ["run", "source"],
        )
        self._silent = self._gauge("kafka_silent_seconds", "How long Kafka has not answered", [])
        self._owned = self._gauge("owned_partitions", "Partitions owned", [])
        self._server: asyncio.Server | None = None

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

    def kafka_is_silent(self, address: str) -> bool:
        """Noted until `kafka_answers`; whether it is news."""
        news = not self.kafka_silent
        if news:
            self._silent_s = time.monotonic()
        self.kafka_silent = address
        self._silent.set(time.monotonic() - self._silent_s)
        return news

    def kafka_answers(self) -> float:
        """How long it had been silent."""
        silent_s = time.monotonic() - self._silent_s if self.kafka_silent else 0.0
        self.kafka_silent = ""
        self._silent.set(0)
        return silent_s

    def beat(self) -> None:
        """The service's loop is alive, and how fast its runs are."""
        self._beat_s = time.monotonic()
        self._speed.clear()
        before, self._at = self._at, {}
        for owner in self._owners():
            self._pace(owner, before)
            self._note_windows(owner)

    def _pace(self, owner: Owner, before: Mapping[Part, tuple[float, int]]) -> None:
        run, source, at_ns = owner.plan.run, owner.participant.source, owner.participant.at_ns
        key, now = (run, source), self._beat_s
        self._at[key] = now, at_ns
        was = before.get(key)
        if was is not None and now > was[0] and owner.caught_up and not owner.participant.ended:
            self._speed.labels(run, source).set((at_ns - was[1]) / 1e9 / (now - was[0]))

    def _note_windows(self, owner: Owner) -> None:
        if owner.participant.opens_windows:
            windows = self._windows.labels(owner.plan.run)
            for took_s in owner.windows_s:
                windows.observe(took_s)
            owner.windows_s.clear()
            self._timed.add(owner.plan.run)

    def _refresh(self) -> None:
        """What owners say of themselves; and who waits for whom."""
        self._owned.set(len(self._owners()))
        for gauge in (self._waiting, self._lag, self._replaying):
            gauge.clear()
        runs = set[str]()
        for owner in self._owners():
            run, participant = owner.plan.run, owner.participant
            runs.add(run)
            place = f"{participant.topic}-{participant.partition}"
            self._lag.labels(run, place).set(owner.lag)
            self._replaying.labels(run, participant.source).set(not owner.caught_up)
            for source, waited_s in waiting_for(owner):
                self._waiting.labels(run, source).set(waited_s)
            self._note_windows(owner)
        for run in self._timed - runs:
            self._windows.remove(run)
        self._timed &= runs

    def snapshot_taken(self) -> None:
        """A snapshot was written."""
        self._snapshots.inc()

    # ------------------------------------------------------------------ serving

    async def start(self, address: str) -> None:
        """Listen on `host:port`; port 0 takes any.  ConfigError if that cannot be."""
        host, _, port = address.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._serve, host.strip("[]") or "127.0.0.1", int(port)
            )
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"PAGEWAKE_HTTP={address}: cannot listen there ({error}): give HOST:PORT, "
                f"port 0 for any"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readline(), REQUEST_S)
            words = head.decode(errors="replace").split()
            status, body = self._answer(words[1].partition("?")[0] if len(words) > 1 else "")
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {TEXT}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + (b"" if words[:1] == ["HEAD"] else body)
            )
            await asyncio.wait_for(writer.drain(), REQUEST_S)
        except (OSError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str) -> tuple[str, bytes]:
        match path:
            case "/metrics":
                self._refresh()
                return "200 OK", generate_latest(self.registry)
            case "/healthz":
                # Without Kafka the loop may wait for long: to be restarted would not help it.
                alive = not self.ready or self.kafka_silent or self._beat_age_s() < LOOP_S
                return _verdict([] if alive else [f"the loop has stood still for {LOOP_S:g} s"])
            case "/readyz":
                return _verdict(self.problems())
            case _:
                return "404 Not Found", b"try /metrics, /healthz or /readyz\n"

    def _beat_age_s(self) -> float:
        return time.monotonic() - self._beat_s

    def problems(self) -> list[str]:
        """What keeps this service from being ready."""
        if not self.ready:
            return ["not connected yet"]
        if self.kafka_silent:
            silent_s = time.monotonic() - self._silent_s
            return [f"kafka at {self.kafka_silent} has not answered for {silent_s:.0f} s"]
        return [
            f"run {owner.plan.run}: window {owner.participant.window} has waited "
            f"{waited_s:.0f} s for {source}: is its service running?"
            for owner in self._owners()
            for source, waited_s in waiting_for(owner)
        ]


def waiting_for(owner: Owner) -> list[tuple[str, float]]:
    """Shards that have had a window open for suspiciously long, and how long."""
    participant = owner.participant
    waited_s = time.monotonic() - owner.fed_s
    if waited_s < STALLED_S or participant.ended or participant.paused or owner.wait_s():
        return []
    return [(source, waited_s) for source in participant.awaited]


def _verdict(problems: Sequence[str]) -> tuple[str, bytes]:
    if not problems:
        return "200 OK", b"ok\n"
    return "503 Service Unavailable", "".join(f"{problem}\n" for problem in problems).encode()
