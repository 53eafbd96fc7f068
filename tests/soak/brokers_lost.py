"""Loses each of three brokers for good, one after the other, while runs go on.

    python -m tests.soak.brokers_lost

A long run is held back by its pace until all is over, and a short one is submitted while each
broker is away.  The broker is killed, and another with an empty disk takes its place once the long
run goes on without it; the next is lost when every copy is in sync again.  Exit code 1 if a run
does not go on or does not end, if a digest is not that of the embedded run, or if a copy is
missing.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path

import msgspec

from pagewake.bus.kafka import KafkaBus, KafkaError, KafkaSettings
from pagewake.errors import BrokerError
from pagewake.events.codec import FAULTS
from pagewake.participants.plan import RunPlan, topic_name
from pagewake.scenario.loading import load
from pagewake.verify.verify import verify_log
from tests.support.control import ask, until_status
from tests.support.processes import (
    Brokers,
    Cluster,
    digest_of,
    embedded_digest,
    new_run,
    set_options,
    until,
    until_under_way,
)

SERVICES = ["host", "guest", "guest-2", "nested"]
LONG = ["scenario.duration=600ms"]
SHORT = ["scenario.duration=50ms"]
SHARDS = 2
SLOWLY = 0.0005
"""Simulated seconds a second: the long run would last for 20 minutes, if it were not let go."""
UNDER_WAY = 30
MOVED_S = 120.0
"""For a run to go on without a broker: 9 s until it is missed, then elections and a takeover."""
IN_SYNC_S = 300.0
"""For an empty broker to start and copy everything, on a machine that has other things to do."""


class Lost:
    """A cluster on three brokers, and how long it took to do without each."""

    def __init__(self, directory: Path) -> None:
        self.brokers = Brokers(directory / "brokers", BROKERS="3")
        self.cluster = Cluster(directory, kafka=self.brokers.kafka, mqtt=self.brokers.mqtt)
        self.settings = KafkaSettings(bootstrap=self.brokers.kafka)
        self.runs: list[str] = []

    def work(self, directory: Path) -> None:
        """See the module."""
        self.brokers.up()
        self.cluster.start(*SERVICES)
        long = new_run()
        submitted = self._submit(long, LONG)
        until_status(long, "host/host", "running", mqtt=self.brokers.mqtt)
        self._pace(long, SLOWLY)
        until_under_way(long, records=UNDER_WAY, kafka=self.brokers.kafka)
        say(f"{'lost':>8}  {'goes on after s':>15}  {'short run s':>11}  {'in sync again s':>15}")
        for broker in self.brokers.kafkas:
            say(self._lose(broker, long))
        self._pace(long, 0.0)
        _equal(digest_of(submitted), LONG)
        self._look_at_copies()
        log = directory / "log"
        exported = self.cluster.run("export", long, "-o", str(log))
        _check(exported.returncode == 0, exported.stderr)
        _check(verify_log(log).problems == [], "the exported log is not whole")
        say(f"{len(self.runs)} runs, all digests equal, all topics with three copies in sync")

    def _submit(self, run: str, sets: list[str]) -> subprocess.Popen[str]:
        self.runs.append(run)
        options = [*set_options(sets), "--shards", str(SHARDS)]
        return self.cluster.submit(run, "overcommit", *options)

    def _pace(self, run: str, speed: float) -> None:
        replies = ask(run, {"id": f"pace-{speed}", "do": "pace", "speed": speed},
                      mqtt=self.brokers.mqtt)  # fmt: skip
        _check(all(reply["ok"] for reply in replies), str(replies))

    def _lose(self, broker: str, long: str) -> str:
        self.brokers.kill(broker)
        moved_s = self._until_moved(long)
        began_s = time.monotonic()
        short = new_run()
        _equal(digest_of(self._submit(short, SHORT)), SHORT)
        short_s = time.monotonic() - began_s
        began_s = time.monotonic()
        self.brokers.replace(broker)
        until(self._in_sync, f"all copies are in sync after {broker} was lost", IN_SYNC_S)
        in_sync_s = time.monotonic() - began_s
        return f"{broker:>8}  {moved_s:15.1f}  {short_s:11.1f}  {in_sync_s:15.1f}"

    # ------------------------------------------------------------------ looking

    def _until_moved(self, run: str) -> float:
        """Twice as far as at the first look: what was under way may still arrive after a kill."""
        began_s = time.monotonic()
        first = self._ask(self._ends(run))
        until(lambda: self._ask(self._ends(run)) > first + 2 * SHARDS, f"{run} goes on", MOVED_S)
        return time.monotonic() - began_s

    async def _ends(self, run: str) -> int:
        async with KafkaBus(self.settings, writes=False) as bus:
            return await bus.end_offset(topic_name(run, FAULTS), 0)

    def _in_sync(self) -> bool:
        return self._ask(self._lowest()) == len(self.brokers.kafkas)

    async def _lowest(self) -> int:
        plan = RunPlan.of(self.runs[0], load("overcommit"), SHARDS)
        names = [topic_name(run, topic.rpartition(f"{plan.run}.")[2])
                 for run in self.runs for topic in plan.topics()]  # fmt: skip
        async with KafkaBus(self.settings, writes=False) as bus:
            return min(copies.in_sync for copies in (await bus.copies(names)).values())

    def _ask(self, question: Coroutine[None, None, int]) -> int:
        try:
            return asyncio.run(question)
        except (KafkaError, BrokerError, OSError) as error:
            say(f"          (asked in vain: {error!r})")
            return -1

    def _look_at_copies(self) -> None:
        listed = self.cluster.run("runs", "list", "--json")
        _check(listed.returncode == 0, listed.stderr)
        for row in msgspec.json.decode(listed.stdout):
            kept = (row["copies"], row["in_sync"])
            _check(row["status"] == "finished" and kept == (3, 3), f"{row['run']}: {row}")


def _equal(digest: str, sets: list[str]) -> None:
    expected = embedded_digest("overcommit", *sets)
    _check(digest == expected, f"{digest} is not {expected}")


def _check(true: bool, what: str) -> None:
    if not true:
        raise SystemExit(f"brokers lost: {what}")


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """SystemExit says what went wrong; logs are kept then."""
    directory = Path(tempfile.mkdtemp(prefix="pagewake-brokers-lost-"))
    lost = Lost(directory)
    try:
        lost.work(directory)
    except BaseException:
        say(f"logs in {directory}")
        raise
    finally:
        lost.cluster.stop()
        lost.brokers.down()
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
