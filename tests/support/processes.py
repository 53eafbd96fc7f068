"""A cluster of real processes on real brokers, for tests that kill them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import SystemRandom
from socket import create_connection, socket
from typing import IO, Any

import msgspec
import pytest

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.engine.run import run_scenario
from pagewake.participants.plan import RUNS_TOPIC, topic_name
from pagewake.scenario.loading import load

KAFKA = os.environ.get("PAGEWAKE_KAFKA", "127.0.0.1:9092")
MQTT = os.environ.get("PAGEWAKE_MQTT", "mqtt://127.0.0.1:1883")
START = "start one with: make brokers"
END_S = 180.0
UNDER_WAY_S = 60.0
BROKERS_S = 300.0
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/local/brokers"
LIBRARIES = Path(os.environ.get("LOCAL_DIR", ROOT / ".local")) / "kafka/libs"


def answers(addresses: str) -> bool:
    """Whether somebody listens at host:port, at one of several with commas between them."""
    return any(_answers(address) for address in addresses.split(","))


def _answers(address: str) -> bool:
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        with create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


needs_kafka = pytest.mark.skipif(not answers(KAFKA), reason=f"no Kafka at {KAFKA}: {START}")
needs_mqtt = pytest.mark.skipif(not answers(MQTT), reason=f"no MQTT broker at {MQTT}: {START}")


def _own_brokers_lack() -> str:
    """What is missing for brokers of a test's own; empty if nothing is."""
    if not shutil.which("java"):
        return "no java: install a Java 17 runtime"
    if not (LIBRARIES / ".complete").exists() and not shutil.which("mvn"):
        return f"no Kafka libraries in {LIBRARIES} and no mvn to fetch them: make brokers"
    return ""


needs_own_brokers = pytest.mark.skipif(bool(_own_brokers_lack()), reason=_own_brokers_lack())
needs_own_mosquitto = pytest.mark.skipif(
    not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()),
    reason="no mosquitto: install it from the distribution",
)


class Brokers:
    """Kafka and Mosquitto on ports of their own, to be killed and started again."""

    def __init__(self, directory: Path, **beside: str) -> None:
        """`beside`: variables of `deploy/local/brokers`, such as BROKERS and ADDRESS."""
        self.directory = directory
        self._beside = beside
        count = int(beside.get("BROKERS", "1"))
        address = beside.get("ADDRESS", "127.0.0.1")
        ports = free_ports(2 * count + 1)
        self.kafkas = ["kafka"] if count == 1 else [f"kafka-{n}" for n in range(1, count + 1)]
        self.ports = dict(zip((*self.kafkas, "mosquitto"), ports[::2], strict=True))
        self.kafka = ",".join(f"{address}:{self.ports[name]}" for name in self.kafkas)
        self.mqtt = f"mqtt://{address}:{self.ports['mosquitto']}"
        libraries = directory / "kafka/libs"
        libraries.parent.mkdir(parents=True, exist_ok=True)
        if (LIBRARIES / ".complete").exists() and not libraries.exists():
            libraries.symlink_to(LIBRARIES.resolve())

    def up(self) -> None:
        """Start what does not run, with the data that it had."""
        self._script("up")

    def down(self) -> None:
        """Stop both."""
        self._script("down")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a broker, and wait until it is gone."""
        os.kill(self.pid(name), number)
        address = self._beside.get("ADDRESS", "127.0.0.1")
        until(lambda: not answers(f"{address}:{self.ports[name]}"), f"{name} is gone")
        (self.directory / f"{name}.pid").unlink()

    def replace(self, name: str) -> None:
        """Kill one of several brokers for good; another with an empty disk comes in its place."""
        self._script("replace", name.rpartition("-")[2])

    def pid(self, name: str) -> int:
        """Of a broker's process."""
        return int((self.directory / f"{name}.pid").read_text())

    def _script(self, *words: str) -> None:
        ports = {
            "KAFKA_PORT": str(self.ports[self.kafkas[0]]),
            "MQTT_PORT": str(self.ports["mosquitto"]),
            "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1",  # it is to start soon, not to live long
        }
        log = (self.directory / "brokers.log").open("ab")
        with log:  # a pipe would stay open as long as the brokers live
            done = subprocess.run(
                [str(SCRIPT), *words],
                env=os.environ | ports | {"LOCAL_DIR": str(self.directory)} | self._beside,
                stdout=log,
                stderr=log,
                check=False,
                timeout=BROKERS_S,
            )
        assert done.returncode == 0, (self.directory / "brokers.log").read_text()


def free_ports(count: int) -> range:
    """Side by side: Kafka takes the one after its own, too.

    Below those that a system hands out to clients: one that tries to reach a dead broker may be
    given the broker's own port, and then it cannot be started again.
    """
    for _ in range(100):
        port = SystemRandom().randrange(15_000, 32_000)
        with ExitStack() as held, suppress(OSError):
            for number in range(port, port + count):
                held.enter_context(socket()).bind(("127.0.0.1", number))
            return range(port, port + count)
    raise AssertionError(f"no {count} free ports side by side")


def until(true: Callable[[], bool], what: str, within_s: float = 30.0) -> float:
    """Wait until something holds; how long that took."""
    started_s = time.monotonic()
    while not true():
        waited_s = time.monotonic() - started_s
        assert waited_s < within_s, f"waited {within_s:g} s in vain until {what}"
        time.sleep(0.1)
    return time.monotonic() - started_s


class Cluster:
    """Services by name; each has a log in `directory`."""

    def __init__(
        self, directory: Path, *, kafka: str = KAFKA, mqtt: str = "", snapshot_s: float = 0.3
    ) -> None:
        self.directory = directory
        self.kafka = kafka
        self.env = os.environ | {
            "PAGEWAKE_KAFKA": kafka,
            "PAGEWAKE_MQTT": mqtt,
            "PAGEWAKE_HTTP": "127.0.0.1:0",
            "PAGEWAKE_SNAPSHOT_S": str(snapshot_s),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: list[subprocess.Popen[str]] = []
        self.submitted: dict[str, subprocess.Popen[str]] = {}
        self.logs: list[IO[bytes]] = []
        self.newest: dict[str, Path] = {}

    def start(self, *names: str) -> None:
        """`host`, `guest-2`, `nested-b`: the kind is what stands before the hyphen."""
        for name in names:
            self.newest[name] = self.log_directory(name) / f"{name}-{uuid.uuid4().hex[:8]}.log"
            log = self.newest[name].open("wb")
            self.logs.append(log)
            self.processes[name] = self.spawn(name, log)

    def log_directory(self, name: str) -> Path:
        """Where a service's log goes."""
        assert name
        return self.directory

    def spawn(self, name: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """A service's process."""
        return subprocess.Popen(self.serve(name), env=self.env, stderr=log)

    def serve(self, name: str) -> list[str]:
        """The command of a service."""
        kind = name.partition("-")[0]
        return [sys.executable, "-m", "pagewake", "serve", kind, "--instance", name]

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; SIGKILL and SIGTERM are waited for."""
        process = self.processes[name]
        process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            process.wait(30)

    def said(self, name: str) -> list[dict[str, Any]]:
        """The log lines of a service since its last start."""
        lines = self.newest[name].read_bytes().splitlines()
        return [msgspec.json.decode(line) for line in lines if line.endswith(b"}")]

    def until_said(self, name: str, event: str, within_s: float = 30.0) -> dict[str, Any]:
        """Wait until a service says something that has these words; its last such line."""

        def lines() -> list[dict[str, Any]]:
            return [line for line in self.said(name) if event in str(line["event"])]

        until(lambda: bool(lines()), f"{name} says {event!r}", within_s)
        return lines()[-1]

    def get(self, name: str, path: str) -> tuple[int, str]:
        """Status and text of a service's `/readyz`, `/healthz` or `/metrics`; 0 if it is silent."""
        port = self.until_said(name, "serving")["http"]
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()

    def metric(self, name: str, series: str) -> float:
        """The sum of a service's samples whose name and labels begin so."""
        lines = self.get(name, "/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))

    def stop(self) -> None:
        """End everything that was started; what did not finish is nobody's any more."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(30)
        unfinished = [run for run, process in self.submitted.items() if process.returncode != 0]
        for command in self.commands:
            command.kill()
            command.communicate()
        for run in unfinished:
            self.run("runs", "delete", run)
        for log in self.logs:
            log.close()

    def command(
        self, *arguments: str, stderr: IO[bytes] | int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """A pagewake command, started."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pagewake", *arguments],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=stderr,
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

    def submit(
        self, run: str, scenario: str, *arguments: str, stderr: IO[bytes] | int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """`pagewake submit --wait --json`, started."""
        options = ["--name", run, "--wait", "--json", *arguments]
        self.submitted[run] = self.command("submit", scenario, *options, stderr=stderr)
        return self.submitted[run]


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


def until_under_way(run: str, topic: str = "faults", records: int = 30, kafka: str = KAFKA) -> None:
    """Wait until a run has written so much, so that what comes next happens in its middle."""
    asyncio.run(asyncio.wait_for(_records(run, topic, records, kafka), UNDER_WAY_S))


async def _records(run: str, topic: str, records: int, kafka: str) -> None:
    async with KafkaBus(KafkaSettings(bootstrap=kafka)) as bus:
        await bus.create_topics({RUNS_TOPIC: (1, True)})
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
