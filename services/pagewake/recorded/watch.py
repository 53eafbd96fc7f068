"""A service that follows a recording, and serves what it comes to as metrics.

It reads when there is something to read, and looks for more a few times a second.  What a person
should know at once (a rule that is broken, lines that are lost, which kernel it is) is a log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import structlog
from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from pagewake.cluster.clock import Clock
from pagewake.cluster.health import LOOP_S, verdict
from pagewake.cluster.http_server import HttpServer, Reply
from pagewake.recorded.check import Breach
from pagewake.recorded.era import Era
from pagewake.recorded.following import Follower
from pagewake.recorded.live import LiveRecording
from pagewake.recorded.live_metrics import RecordingMetrics
from pagewake.recorded.placed import Span

POLL_S: Final = 0.2  # a scrape comes every few seconds; trace_pipe's buffers last for longer
TOLD_MAX: Final = 20
"""Violations and spans in a row; the next ones are counted, until `QUIET_S` have passed."""
QUIET_S: Final = 10.0

log = structlog.get_logger()


class WatchSettings(NamedTuple):
    """What to follow, and as what."""

    file: str
    run: str
    http: str
    profile: str | None = None
    groups: Sequence[Sequence[int]] = ()
    until_end: bool = False


class Watch:
    """See the module; set `stopping` to end it."""

    def __init__(self, settings: WatchSettings, clock: Clock) -> None:
        """OSError if the file cannot be opened."""
        self.stopping = asyncio.Event()
        self._settings = settings
        self._clock = clock
        self._beat_s = clock.monotonic_s()
        self._told = 0
        self._told_s = self._beat_s
        self._follower = Follower(settings.file)
        self.live = LiveRecording(
            self._follower.name, settings.profile, settings.groups, self._tell
        )
        # They are a series more for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.registry.register(RecordingMetrics(self.live, settings.run))
        ProcessCollector(registry=self.registry)
        self.http = HttpServer(
            {
                "/metrics": lambda: Reply("200 OK", generate_latest(self.registry)),
                "/healthz": lambda: verdict(self._stuck()),
                "/readyz": lambda: verdict(self._problems(), self._notes()),
            }
        )

    async def run(self) -> None:
        """Until `stopping` is set, or there can be no more; DataError if it is no recording."""
        await self.http.start(self._settings.http)
        name = self._follower.name
        log.info("following", file=name, run=self._settings.run, http=self.http.port)
        try:
            while not self.stopping.is_set():
                self._beat_s = self._clock.monotonic_s()
                if not self._turn():
                    if self._follower.ended or (self._settings.until_end and self._follower.at_end):
                        self.live.must_be_one()
                        break
                    await self._idle()
                await asyncio.sleep(0)  # scrapes are answered between two blocks
        finally:
            self.live.finish()
            self._follower.close()
            await self.http.stop()
        log.info(
            "left", file=name, lines=self.live.lines, violations=self.live.breaches.total(),
            lost_events=self.live.lost_events,
        )  # fmt: skip

    def _turn(self) -> bool:
        more = self._follower.read()
        if more is None:
            return False
        self.live.take(more)
        return True

    async def _idle(self) -> None:
        """Until it is time to look again."""
        with suppress(TimeoutError):
            await self._clock.wait_for(self.stopping.wait(), POLL_S)

    # ------------------------------------------------------------------ what it says

    def _tell(self, what: Breach | Span | Era) -> None:
        if isinstance(what, Era):
            log.info("kernel", profile=what.profile, why=what.why)
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._told_s >= QUIET_S:
            self._told, self._told_s = 0, now_s
        self._told += 1
        if self._told > TOLD_MAX:
            return
        where = f"{what.file}:{what.line}"
        if isinstance(what, Breach):
            log.error("violation", where=where, rule=what.rule, what=what.what, lead=what.lead)
        else:
            log.warning("unknown", where=where, why=what.why, what=what.what)

    def _stuck(self) -> list[str]:
        still = self._clock.monotonic_s() - self._beat_s >= LOOP_S
        return [f"the loop has stood still for {LOOP_S:g} s"] if still else []

    def _problems(self) -> list[str]:
        if self.live.recognized:
            return []
        return [f"{self._follower.name}: no line of a recording has come yet"]

    def _notes(self) -> list[str]:
        """What a person should know."""
        return [
            f"{count} lines break {rule}" for rule, count in sorted(self.live.breaches.items())
        ] + [f"{count} stretches are unknown: {why}" for why, count in self.live.spans.items()]
