"""A cluster of real processes on real brokers, for tests that kill them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection
from typing import IO

import msgspec
import pytest

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.cluster.plan import RUNS_TOPIC, topic_name
from pagewake.engine.run import run_scenario
from pagewake.scenario.loading import load

KAFKA = os.environ.get("PAGEWAKE_KAFKA", "127.0.0.1:9092")
MQTT = os.environ.get("PAGEWAKE_MQTT", "mqtt://127.0.0.1:1883")
START = "start one with: make brokers"
END_S = 180.0
UNDER_WAY_S = 60.0


def answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        with create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


needs_kafka = pytest.mark.skipif(not answers(KAFKA), reason=f"no Kafka at {KAFKA}: {START}")
needs_mqtt = pytest.mark.skipif(not answers(MQTT), reason=f"no MQTT broker at {MQTT}: {START}")


class Cluster:
    """Services by name; each has a log in `directory`."""

    def __init__(self, directory: Path, *, mqtt: str = "", snapshot_s: float = 0.3) -> None:
        self.directory = directory
        self.env = os.environ | {
            "PAGEWAKE_KAFKA": KAFKA,
            "PAGEWAKE_MQTT": mqtt,
            "PAGEWAKE_HTTP": "127.0.0.1:0",
            "PAGEWAKE_SNAPSHOT_S": str(snapshot_s),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: list[subprocess.Popen[str]] = []
        self.logs: list[IO[bytes]] = []

    def start(self, *names: str) -> None:
        """`host`, `guest-2`, `nested-b`: the kind is what stands before the hyphen."""
        for name in names:
            log = (self.directory / f"{name}-{uuid.uuid4().hex[:4]}.log").open("wb")
            self.logs.append(log)
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "pagewake", "serve", name.split("-")[0], "--instance", name],
                env=self.env,
                stderr=log,
            )

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; SIGKILL and SIGTERM are waited for."""
        process = self.processes[name]
        process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            process.wait(30)

    def stop(self) -> None:
        """End everything that was started."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(30)
        for command in self.commands:
            command.kill()
            command.communicate()
        for log in self.logs:
            log.close()

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """A pagewake command, started."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pagewake", *arguments],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.commands.append(process)
        return process

    def run(self, *arguments: str, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        """A pagewake command, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "pagewake", *arguments],
            env=self.env,
            capture_output=True,
            check=False,
            text=True,
            timeout=within_s,
        )

    def submit(self, run: str, scenario: str, *arguments: str) -> subprocess.Popen[str]:
        """`pagewake submit --wait --json`, started."""
        return self.command(
            "submit", scenario, "--name", run, "--wait", "--json", *arguments
        )  # fmt: skip


def digest_of(process: subprocess.Popen[str]) -> str:
    """Of a submitted run, once it has ended."""
    out, err = process.communicate(timeout=END_S)
    assert process.returncode == 0, err
    digest = msgspec.json.decode(out)["digest"]
    assert isinstance(digest, str)
    return digest


def embedded_digest(scenario: str, *sets: str) -> str:
    """The same scenario in this process."""
    return run_scenario(load(scenario, sets)).digest


def new_run() -> str:
    """A name that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


def set_options(sets: list[str]) -> list[str]:
    """`--set` for each."""
    return [word for value in sets for word in ("--set", value)]


def after(seconds: float) -> None:
    """Let a cluster run for a while."""
    time.sleep(seconds)


def until_under_way(run: str, topic: str = "faults", records: int = 30) -> None:
    """Wait until a run has written so much, so that what comes next happens in its middle."""
    asyncio.run(asyncio.wait_for(_records(run, topic, records), UNDER_WAY_S))


async def _records(run: str, topic: str, records: int) -> None:
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        async for stored in bus.read(RUNS_TOPIC, 0, follow=True):
            if stored.key == run.encode():
                break
        async for stored in bus.read(topic_name(run, topic), 0, follow=True):
            if stored.offset >= records:
                return


def running(directory: Path, **options: object) -> Iterator[Cluster]:
    """For fixtures: a cluster that is stopped in the end."""
    cluster = Cluster(directory, **options)  # type: ignore[arg-type]
    try:
        yield cluster
    finally:
        cluster.stop()
