"""`/metrics`, `/healthz`, `/readyz` of a service, from its own event loop.

Metrics are counted from what participants did; the domain knows nothing of them.
"""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from pagewake.cluster.owner import Owner

REQUEST_BYTES_MAX = 8192
REQUEST_S = 5.0


class Health:
    """The small HTTP server and the metrics it serves; `port` is known once it is started."""

    def __init__(self, kind: str) -> None:
        self.ready = False
        self.port = 0
        self.registry = CollectorRegistry()
        run = ["run"]
        self._records = Counter(
            "pagewake_bus_records_total", "Records", ["topic", "direction"], registry=self.registry
        )
        self._windows = Gauge(
            "pagewake_window", "Last window", ["run", "source"], registry=self.registry
        )
        self._time = Gauge(
            "pagewake_sim_time_seconds", "Simulated", ["run", "source"], registry=self.registry
        )
        self._snapshots = Gauge(
            "pagewake_owner_snapshots", "Snapshots taken by this owner", run, registry=self.registry
        )
        self._rejected = Gauge(
            "pagewake_rejected_records", "Records never applied", ["why"], registry=self.registry
        )
        self._owned = Gauge(
            "pagewake_owned_partitions", "Partitions owned", ["service"], registry=self.registry
        ).labels(kind)
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen on `host:port`; port 0 takes any."""
        host, _, port = address.rpartition(":")
        self._server = await asyncio.start_server(self._serve, host or "127.0.0.1", int(port))
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def count(self, owner: Owner, records: int) -> None:
        """Records that an owner took in."""
        self._records.labels(owner.participant.topic, "in").inc(records)

    def observe(self, owners: list[Owner]) -> None:
        """Where every owned partition stands."""
        self._owned.set(len(owners))
        rejected: dict[str, int] = {}
        for owner in owners:
            run, source = owner.plan.run, owner.participant.source
            self._windows.labels(run, source).set(owner.participant.window)
            self._time.labels(run, source).set(owner.participant.at_ns / 1e9)
            self._snapshots.labels(run).set(owner.snapshots)
            for why, number in owner.rejected.items():
                rejected[why] = rejected.get(why, 0) + number
        for why, number in rejected.items():
            self._rejected.labels(why).set(number)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readline(), REQUEST_S)
            path = head[:REQUEST_BYTES_MAX].decode(errors="replace").split(" ")[1:2]
            status, body = self._answer(path[0] if path else "")
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str) -> tuple[str, bytes]:
        if path == "/metrics":
            return "200 OK", generate_latest(self.registry)
        if path == "/healthz":
            return "200 OK", b"ok\n"
        if path == "/readyz":
            return ("200 OK", b"ready\n") if self.ready else ("503 Service Unavailable", b"no\n")
        return "404 Not Found", b"try /metrics, /healthz or /readyz\n"
