"""`/metrics`, `/healthz`, `/readyz` of a service, from its own event loop.

Ready is a service that has joined its group and whose runs are not waiting for somebody else's
service; what it waits for stands in the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from pagewake.cluster.metrics import Owned, RunMetrics
from pagewake.cluster.owner import Owner
from pagewake.cluster.participant import HostParticipant
from pagewake.errors import ConfigError

REQUEST_S = 5.0
STALLED_S = 10.0
LOOP_S = 30.0
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """The small HTTP server and the metrics it serves; `port` is known once it is started."""

    def __init__(self, kind: str, owners: Callable[[], Sequence[Owner]]) -> None:
        self.ready = False
        self.port = 0
        self.registry = CollectorRegistry()
        self.registry.register(RunMetrics(self._caught_up))
        self._owners = owners
        self._beat_s = time.monotonic()
        self._records = self._counter("bus_records", "Records", ["topic", "direction"])
        self._rejected = self._counter("bus_rejected_records", "Records never applied", ["why"])
        self._snapshots = self._counter("snapshots", "Snapshots written", [])
        self._lag = self._gauge("bus_lag_records", "Records not read yet", ["run", "topic"])
        self._waiting = self._gauge(
            "window_waits_for_seconds",
            "How long an open window waits for a shard",
            ["run", "source"],
        )
        self._owned = self._gauge("owned_partitions", "Partitions owned", ["service"]).labels(kind)
        self._server: asyncio.Server | None = None

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"pagewake_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(f"pagewake_{name}", text, labels, registry=self.registry)

    def _caught_up(self) -> list[Owned]:
        return [Owned(own.participant, own.tally) for own in self._owners() if own.caught_up]

    # ------------------------------------------------------------------ counting

    def count(self, topic: str, records: int) -> None:
        """Records that an owner took in."""
        self._records.labels(topic, "in").inc(records)

    def rejected(self, why: str) -> None:
        """A record that was not applied."""
        self._rejected.labels(why).inc()

    def beat(self) -> None:
        """The service's loop is alive; and who waits for whom."""
        self._beat_s = time.monotonic()
        self._owned.set(len(self._owners()))
        self._waiting.clear()
        self._lag.clear()
        for owner in self._owners():
            run = owner.plan.run
            lag = max(0, owner.log_end - owner.offset)
            self._lag.labels(run, f"{owner.participant.topic}-{owner.participant.partition}").set(
                lag
            )
            for source, waited_s in waiting_for(owner):
                self._waiting.labels(run, source).set(waited_s)

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
                return "200 OK", generate_latest(self.registry)
            case "/healthz":
                alive = not self.ready or time.monotonic() - self._beat_s < LOOP_S
                return _verdict([] if alive else [f"the loop has stood still for {LOOP_S:g} s"])
            case "/readyz":
                return _verdict(self.problems())
            case _:
                return "404 Not Found", b"try /metrics, /healthz or /readyz\n"

    def problems(self) -> list[str]:
        """What keeps this service from being ready."""
        if not self.ready:
            return ["not connected yet"]
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
    if not isinstance(participant, HostParticipant) or waited_s < STALLED_S or participant.ended:
        return []
    if participant.paused or owner.wait_s():
        return []
    return [(source, waited_s) for source in participant.awaited]


def _verdict(problems: Sequence[str]) -> tuple[str, bytes]:
    if not problems:
        return "200 OK", b"ok\n"
    return "503 Service Unavailable", "".join(f"{problem}\n" for problem in problems).encode()
