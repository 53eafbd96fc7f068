"""A cluster with brokers of its own, in namespaces of its own where the machine has them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from tests.soak.watch import Watch
from tests.soak.wire import ADDRESS, Fault, Wires
from tests.support.processes import Brokers, Cluster, until

SERVICES = ("host", "host-2", "guest", "guest-2", "nested")
KINDS = ("host", "guest", "nested")
KAFKA, MOSQUITTO = BROKERS = ("kafka", "mosquitto")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
LOG_DISK = "16m"
KAFKA_DISK = "512m"
FULL_CHUNK = bytes(1 << 16)
SNAPSHOT_S = 0.05
"""Several in a run, so that its replays begin at one."""
STOPPED_S = 60.0
KAFKA_WAIT = "120s"
"""A JVM on a busy machine takes a while."""


class Services(Cluster):
    """Each with a wire, a disk for its log and a clock, as far as the machine has these."""

    def __init__(
        self, directory: Path, brokers: Brokers, wires: Wires | None, clocks: bool
    ) -> None:
        super().__init__(directory, kafka=brokers.kafka, mqtt=brokers.mqtt, snapshot_s=SNAPSHOT_S)
        self.env["PAGEWAKE_KAFKA_WAIT"] = KAFKA_WAIT
        self._wires = wires
        self._clocks = clocks
        for name in SERVICES:
            self.set_clock(name, 0)

    def log_directory(self, name: str) -> Path:
        return self.directory / name

    def spawn(self, name: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        inside = self._wires.inside(name) if self._wires else []
        command = [*inside, *self.serve(name)]
        return subprocess.Popen(command, env=self.env | self._clock(name), stderr=log)

    def _clock(self, name: str) -> dict[str, str]:
        if not self._clocks:
            return {}
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock_file(name)),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # nor does a real one jump
        }

    def _clock_file(self, name: str) -> Path:
        return self.directory / f"{name}.clock"

    def set_clock(self, name: str, ahead_s: int) -> None:
        """The wall clock of a service; it looks once a second."""
        self._clock_file(name).write_text(f"{ahead_s:+d}\n")

    def stop(self) -> None:
        """Nobody deletes runs of brokers that go as well."""
        self.submitted.clear()
        super().stop()

    def dead(self) -> list[str]:
        """Those that run no more, or never did."""
        return [
            name
            for name in SERVICES
            if name not in self.processes or self.processes[name].poll() is not None
        ]


class Lane(ExitStack):
    """One of those that work side by side; `close` leaves nothing behind but the logs."""

    def __init__(
        self, directory: Path, kafkas: int, *, wires: bool, disks: bool, clocks: bool
    ) -> None:
        super().__init__()
        self.directory = directory
        self._wires: Wires | None = None
        if wires:
            self._wires = Wires(SERVICES)
            self.callback(self._wires.close)
        place = directory / "brokers"
        place.mkdir()
        if disks:
            self.enter_context(disk(place, KAFKA_DISK))
        address = ADDRESS if wires else "127.0.0.1"
        self.brokers = Brokers(place, ADDRESS=address, BROKERS=str(kafkas))
        self.callback(self.brokers.down)
        self.brokers.up()
        self.services = Services(directory, self.brokers, self._wires, clocks)
        for name in SERVICES:
            self.services.log_directory(name).mkdir()
            if disks:
                self.enter_context(disk(self.services.log_directory(name), LOG_DISK))
        self.callback(self.services.stop)
        self.watch = Watch(self.brokers.kafka)
        self.callback(self.watch.close)
        self.revive()

    # ------------------------------------------------------------------ victims

    def revive(self) -> None:
        """Start what is not there."""
        dead = [name for name in self.brokers.ports if not self.alive(name)]
        if dead:
            self._start_brokers(dead)
        self.services.start(*self.services.dead())

    def instances(self, victim: str, run: str) -> list[str]:
        """Brokers of Kafka, or Mosquitto; services that own a part of a run, else all of a kind."""
        if victim in BROKERS:
            return self.brokers.kafkas if victim == KAFKA else [victim]
        all_of_them = [name for name in SERVICES if name.partition("-")[0] == victim]
        owning = [name for name in all_of_them if self.takeovers(name, run)]
        return owning or all_of_them

    def takeovers(self, service: str, run: str) -> list[dict[str, Any]]:
        """What it said of each, since its last start."""
        with suppress(msgspec.DecodeError):  # the disk was full in the middle of a line
            said = self.services.said(service)
            return [line for line in said if line["event"] == "owned" and line["run"] == run]
        return []

    def is_broker(self, victim: str) -> bool:
        """Or a service."""
        return victim in self.brokers.ports

    def pid(self, victim: str) -> int:
        """Of a service or a broker."""
        if self.is_broker(victim):
            return self.brokers.pid(victim)
        return self.services.processes[victim].pid

    def end(self, victim: str, number: signal.Signals) -> None:
        """Send a signal that ends it, and wait until it has."""
        if self.is_broker(victim):
            self.brokers.kill(victim, number)
        else:
            self.services.processes[victim].send_signal(number)
            self.services.processes[victim].wait(STOPPED_S)

    def start(self, victim: str) -> None:
        """Again."""
        if self.is_broker(victim):
            self._start_brokers([victim])
        else:
            self.services.start(victim)

    def _start_brokers(self, dead: Sequence[str]) -> None:
        """One that died by itself is there until the system has buried it."""
        for name in dead:
            until(lambda: not self.there(name), f"{name} is gone")  # noqa: B023
        self.brokers.up()

    def place(self, victim: str) -> Path:
        """Where it writes."""
        return (
            self.brokers.directory
            if self.is_broker(victim)
            else self.services.log_directory(victim)
        )

    def alive(self, victim: str) -> bool:
        """Whether its process is there."""
        if not self.is_broker(victim):
            return self.services.processes[victim].poll() is None
        try:
            stat = Path(f"/proc/{self.brokers.pid(victim)}/stat").read_text()
        except (OSError, ValueError):
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def there(self, broker: str) -> bool:
        """Alive or not."""
        try:
            return Path(f"/proc/{self.brokers.pid(broker)}").exists()
        except (OSError, ValueError):
            return False

    @contextmanager
    def faulty_wire(self, victim: str, fault: Fault) -> Iterator[None]:
        """Of a service to all brokers, or of all services to one broker."""
        assert self._wires is not None
        broker = self.is_broker(victim)
        services: Sequence[str] = SERVICES if broker else [victim]
        ports = [self.brokers.ports[victim]] if broker else list(self.brokers.ports.values())
        with ExitStack() as faults:
            for name in services:
                faults.enter_context(self._wires.faulty(name, fault, ports))
            yield


@contextmanager
def disk(directory: Path, size: str) -> Iterator[None]:
    """One of that size, in memory; logs on it are kept."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "pagewake-soak", str(directory)]
    subprocess.run(words, check=True, capture_output=True)
    yield
    for log in directory.glob("*.log"):
        shutil.copy(log, directory.with_name(f"{directory.name}-{log.name}"))
    subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """No byte is free on the disk."""
    filler = directory / "filler"
    disk = os.statvfs(directory)
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize)  # at once, nearly all
        file.seek(0, os.SEEK_END)
        while True:
            file.write(FULL_CHUNK)
    try:
        yield
    finally:
        filler.unlink()
