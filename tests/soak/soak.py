"""Kills services of a cluster, again and again, and looks whether anything is lost.

    python -m tests.soak.soak --kills 100 --seed 1 [--own-brokers]

Runs follow each other while victims are drawn from the seed.  From each kill the run's
progress is timed: until every simulated host has closed windows that it had not opened then.  In
the end of each run its digest is compared with that of the embedded run.  Exit code 1 if one
differs, or if a run stands still.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec

from pagewake.bus.kafka import KafkaBus, KafkaError, KafkaSettings
from pagewake.cluster import client
from pagewake.engine.run import run_scenario
from pagewake.errors import BrokerError, DataError
from pagewake.events.codec import FAULTS, decode_commit
from pagewake.participants.plan import RunPlan, topic_name
from pagewake.scenario.loading import load
from tests.support.processes import KAFKA, MQTT, Brokers, Cluster, new_run, set_options

SERVICES = ["host", "host-2", "guest", "guest-2", "guest-3", "nested"]
FREEZE = "SIGSTOP"
FROZEN_S = 12.0
"""Longer than a session lasts: others take over, and a zombie comes back."""
PAUSE_S = (0.2, 1.5)
PROGRESS_S = 180.0
RUN_S = 600.0
LOOK_S = 0.1


class Load(NamedTuple):
    """A scenario to run; `services` have a part in it."""

    scenario: str
    sets: list[str]
    shards: int


LOADS = [
    Load("overcommit", ["scenario.duration=500ms", "host.count=2"], 3),
    Load("nested", ["scenario.duration=400ms", "vm.0.count=2"], 2),
    Load("natapov-2010", ["scenario.duration=6s", "vm.0.count=3"], 3),
    Load("trace-sort", [], 1),
    Load("trace-sqlite", [], 1),
]


class Kill(NamedTuple):
    """What was done, when, and how long nothing followed."""

    number: int
    run: str
    what: str
    victim: str
    window: int
    recovery_s: float

    def row(self) -> str:
        """A line of the table."""
        return (
            f"{self.number:4}  {self.run:24}  {self.what:8}  {self.victim:9}  "
            f"{self.window:7}  {self.recovery_s:10.1f}"
        )


HEAD = f"{'n':>4}  {'run':24}  {'what':8}  {'victim':9}  {'window':>7}  {'recovery s':>10}"


class Soak:
    """One cluster, its brokers if they are its own, and what was done to it."""

    def __init__(self, cluster: Cluster, brokers: Brokers | None, seed: int) -> None:
        self.cluster = cluster
        self.brokers = brokers
        self.random = Random(seed)
        self.seeds = Random(seed)  # how often the other is drawn from depends on time
        self.kills: list[Kill] = []
        self.different: list[str] = []
        self.runs = 0

    def work(self, kills: int) -> None:
        """Runs until so many kills are done; the last run may end in peace."""
        self.cluster.start(*SERVICES)
        for work in itertools.cycle(LOADS):
            self._one_run(work, kills)
            if len(self.kills) >= kills:
                return

    def _one_run(self, work: Load, kills: int) -> None:
        seed = self.seeds.randrange(1, 1 << 16)
        name = new_run()
        label = f"{work.scenario} seed {seed}"
        scenario = load(work.scenario, work.sets, seed)
        plan = RunPlan.of(name, scenario, work.shards)
        options = [*set_options(work.sets), "--seed", str(seed), "--shards", str(work.shards)]
        submitted = self.cluster.submit(name, work.scenario, *options)
        began_s = time.monotonic()
        while submitted.poll() is None and len(self.kills) < kills:
            _check(time.monotonic() - began_s < RUN_S, f"{label} has not ended after {RUN_S:g} s")
            time.sleep(self.random.uniform(*PAUSE_S))
            self._kill(label, plan, submitted)
        out, err = submitted.communicate(timeout=RUN_S)
        _check(submitted.returncode == 0, f"{label}: {err}")
        self.runs += 1
        digest = msgspec.json.decode(out)["digest"]
        expected = run_scenario(scenario, shards=work.shards).digest
        word = "equal" if digest == expected else f"DIFFERENT from {expected}"
        if digest != expected:
            self.different.append(f"{label}: {digest} is not {expected}")
        say(f"      {label}: {word} {digest}")

    # ------------------------------------------------------------------ kills

    def _kill(self, label: str, plan: RunPlan, submitted: subprocess.Popen[str]) -> None:
        what, victims = self._draw(plan)
        if not self._progress(plan) or submitted.poll() is not None:
            return  # not begun yet, or over
        killed_s = time.monotonic()
        before = self._do(what, victims, plan)
        window = max(before.values(), default=-1)
        again_s = killed_s + FROZEN_S if what == FREEZE else None
        while submitted.poll() is None and not self._moved(plan, before):
            waited_s = time.monotonic() - killed_s
            _check(
                waited_s < PROGRESS_S,
                f"{label}: no progress for {PROGRESS_S:g} s after {what} of {victims}: "
                f"logs in {self.cluster.directory}",
            )
            if again_s is not None and time.monotonic() > again_s:
                self.cluster.kill(victims[0], signal.SIGCONT)
                again_s = None
            time.sleep(LOOK_S)
        recovery_s = time.monotonic() - killed_s
        if again_s is not None:
            time.sleep(max(0.0, again_s - time.monotonic()))
            self.cluster.kill(victims[0], signal.SIGCONT)
        victim = "all" if len(victims) > 1 else victims[0]
        self.kills.append(Kill(len(self.kills) + 1, label, what, victim, window, recovery_s))
        say(self.kills[-1].row())

    def _draw(self, plan: RunPlan) -> tuple[str, list[str]]:
        kinds = {"host", *(shard.source.partition("-")[0] for shard in plan.topology.shards)}
        victims = [name for name in SERVICES if name.partition("-")[0] in kinds]
        draw, victim = self.random.random(), self.random.choice(victims)
        if self.brokers is not None and draw < 0.10:
            return "SIGKILL", ["kafka" if draw < 0.06 else "mosquitto"]
        if draw < 0.18:
            return "SIGKILL", SERVICES
        if draw < 0.30:
            return "SIGTERM", [victim]
        return FREEZE if draw < 0.36 else "SIGKILL", [victim]

    def _do(self, what: str, victims: list[str], plan: RunPlan) -> dict[int, int]:
        """How far the run was once the deed was done."""
        if victims[0] in ("kafka", "mosquitto"):
            assert self.brokers is not None
            self.brokers.kill(victims[0])
            time.sleep(1.0)
            self.brokers.up()
            return self._progress(plan)
        if what == FREEZE:
            self.cluster.kill(victims[0], signal.SIGSTOP)
            return self._progress(plan)
        for victim in victims:
            self.cluster.kill(victim, signal.Signals[what])
        before = self._progress(plan)
        self.cluster.start(*victims)
        return before

    # ------------------------------------------------------------------ progress

    def _moved(self, plan: RunPlan, before: dict[int, int]) -> bool:
        """Every simulated host has closed windows that it had not even opened, or has ended."""
        now = self._progress(plan)
        return all(now.get(host, 1 << 60) > window + 1 for host, window in before.items())

    def _progress(self, plan: RunPlan) -> dict[int, int]:
        """The last window closed by each simulated host that has not ended."""
        began_s = time.monotonic()
        while True:
            try:
                return asyncio.run(_windows(self.cluster.kafka, plan))
            except (KafkaError, BrokerError, TimeoutError, OSError) as error:
                _check(time.monotonic() - began_s < PROGRESS_S, f"kafka does not answer: {error}")
                time.sleep(LOOK_S)


async def _windows(kafka: str, plan: RunPlan) -> dict[int, int]:
    found: dict[int, int] = {}
    async with asyncio.timeout(30), KafkaBus(KafkaSettings(bootstrap=kafka, wait_s=5)) as bus:
        entry = (await client.known_runs(bus)).entries.get(plan.run)
        if entry is None:
            return found
        for host in plan.topology.hosts:
            if host.index not in entry.ended:
                found[host.index] = await _last(bus, topic_name(plan.run, FAULTS), host.index)
    return found


async def _last(bus: KafkaBus, topic: str, partition: int) -> int:
    end = await bus.end_offset(topic, partition)
    last = -1
    async for stored in bus.read(topic, partition, max(0, end - 32)):
        with suppress(DataError):
            last = max(last, decode_commit(stored.value or b"").window)
    return last


def _check(true: bool, what: str) -> None:
    if not true:
        raise SystemExit(f"soak: {what}")


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def summary(soak: Soak) -> Iterator[str]:
    """What came of it."""
    yield f"kills {len(soak.kills)}, runs {soak.runs}, different {len(soak.different)}"
    if not soak.kills:
        return
    kinds: dict[str, list[float]] = {"of all": [kill.recovery_s for kill in soak.kills]}
    for kill in soak.kills:
        whom = kill.victim.partition("-")[0]
        kinds.setdefault(f"{kill.what} {whom}", []).append(kill.recovery_s)
    for what, took_s in sorted(kinds.items()):
        median_s, max_s = statistics.median(took_s), max(took_s)
        yield f"recovery {what:18} n {len(took_s):3}  median {median_s:5.1f} s  max {max_s:5.1f} s"
    yield from soak.different


def main() -> int:
    """0 if every digest was equal."""
    parser = argparse.ArgumentParser(prog="soak", description="Kill a cluster's services at random")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--own-brokers", action="store_true", help="start brokers, and kill them too"
    )
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="pagewake-soak-"))
    own = Brokers(directory / "brokers") if options.own_brokers else None
    try:
        code = _soak(directory, own, options.kills, options.seed)
    finally:
        if own is not None:
            own.down()
    shutil.rmtree(directory)  # what went wrong is kept
    return code


def _soak(directory: Path, own: Brokers | None, kills: int, seed: int) -> int:
    if own is not None:
        own.up()
    kafka, mqtt = (own.kafka, own.mqtt) if own is not None else (KAFKA, MQTT)
    say(f"soak: kills {kills}, seed {seed}, kafka {kafka}, mqtt {mqtt}")
    say(HEAD)
    cluster = Cluster(directory, kafka=kafka, mqtt=mqtt)
    soak = Soak(cluster, own, seed)
    try:
        soak.work(kills)
    finally:
        cluster.stop()
        for line in summary(soak):
            say(line)
    return 1 if soak.different else 0


if __name__ == "__main__":
    sys.exit(main())
