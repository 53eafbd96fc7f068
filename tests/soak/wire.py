"""Network namespaces: each service in one of its own, and a wire to the brokers with faults on it.

A healthy wire is a pair of virtual cards.  A fault leads a service's packets through a process
instead: it holds each back for a while, and loses some of them, by a seed.  That is done here and
not by the kernel's `netem`, which many machines lack; a tun device is everywhere.

    python -m tests.soak.wire NAMESPACE 10.88.1.1

waits on its standard input for `0.01 0.01 9092` (delay in seconds, loss, ports) and for an empty
line, which ends the fault.  It is there beforehand: a fault comes at its moment.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import NamedTuple

ADDRESS = "10.88.0.1"
"""Of brokers and commands, on the loopback of a lane's own namespace."""
NAMES = Path("/run/netns")
HEALTHY, FAULTY = "100", "1"
"""Metrics of the two routes: the lower is taken as long as it is there."""

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET_BYTES_MAX = 65_536
TCP = 6


class Fault(NamedTuple):
    """What happens to each packet, in either direction."""

    delay_s: float
    loss: float


class Wires:
    """Namespaces by name of service; the process that makes them has one of its own already."""

    def __init__(self, names: Sequence[str]) -> None:
        self._spaces = {name: f"pagewake-{os.getpid()}-{name}" for name in names}
        self._addresses = {name: f"10.88.1.{number}" for number, name in enumerate(names, 1)}
        ip("link", "set", "lo", "up")
        ip("address", "add", f"{ADDRESS}/32", "dev", "lo")
        self._faults = {}
        for name in names:
            self._connect(name)
            self._faults[name] = self._process(name)

    def _process(self, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.soak.wire"]
        return subprocess.Popen(
            [*command, self._spaces[name], self._addresses[name]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _connect(self, name: str) -> None:
        space, address = self._spaces[name], self._addresses[name]
        near = f"to-{name}"
        ip("netns", "add", space)
        ip("link", "add", near, "type", "veth", "peer", "name", "card", "netns", space)
        ip("link", "set", near, "up")
        ip("route", "add", address, "dev", near, "metric", HEALTHY)
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{address}/32", "dev", "card"),
            ("link", "set", "card", "up"),
            ("route", "add", ADDRESS, "dev", "card", "src", address, "metric", HEALTHY),
        ):
            ip("-n", space, *words)

    def inside(self, name: str) -> list[str]:
        """What stands before a command that is to run in a service's namespace."""
        return ["ip", "netns", "exec", self._spaces[name]]

    @contextmanager
    def faulty(self, name: str, fault: Fault, ports: Sequence[int]) -> Iterator[None]:
        """A fault on what goes between a service and these ports."""
        self._tell(name, " ".join(map(str, (*fault, *ports))))
        try:
            yield
        finally:
            self._tell(name, "")

    def _tell(self, name: str, words: str) -> None:
        process = self._faults[name]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{words}\n")
        process.stdin.flush()
        assert process.stdout.readline(), f"no faulty wire for {name}"

    def close(self) -> None:
        """The namespaces, and with them the wires."""
        for process in self._faults.values():
            process.communicate()
        for space in self._spaces.values():
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", space)


def ip(*words: str) -> None:
    """The command of that name; CalledProcessError with its words."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def lacking() -> str:
    """Why this machine has no namespaces with wires; empty if it has."""
    if os.geteuid() != 0:
        return "not root"
    if not shutil.which("ip"):
        return "no ip command"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    space = f"pagewake-{os.getpid()}"
    try:
        ip("netns", "add", space)
        try:
            ip("-n", space, "tuntap", "add", "dev", "probe", "mode", "tun")
            ip("-n", space, "link", "add", "card", "type", "veth", "peer", "name", "other")
        finally:
            ip("netns", "delete", space)
    except subprocess.CalledProcessError as error:
        return f"network namespaces are refused: {error.stderr.strip()}"
    return ""


# ------------------------------------------------------------------ the faulty wire itself


def _tun(name: str) -> int:
    """A device of this process: its packets are read and written; it goes when the process does."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


@contextmanager
def _within(space: str) -> Iterator[None]:
    """This thread in another namespace: what it opens there, it keeps."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/self/ns/net") as here, open(NAMES / space) as there:  # noqa: PTH123
        _enter(setns, there.fileno())
        try:
            yield
        finally:
            _enter(setns, here.fileno())


def _enter(setns: Callable[[int, int], int], namespace: int) -> None:
    if setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def concerned(packet: bytes, ports: set[int]) -> bool:
    """Whether a packet of IPv4 goes to one of the ports, or comes from it."""
    if packet[0] >> 4 != 4 or packet[9] != TCP:
        return False
    head = 4 * (packet[0] & 15)
    return bool(ports & set(struct.unpack_from("!HH", packet, head)))


class Line:
    """Packets on their way, each with the time at which it is due."""

    def __init__(self, seed: int) -> None:
        self.fault = Fault(0.0, 0.0)
        self.ports: set[int] = set()
        self._random = Random(seed)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._number = 0

    def take(self, packet: bytes, to: int, now_s: float) -> None:
        """One more, or not."""
        due_s = now_s
        if concerned(packet, self.ports):
            if self._random.random() < self.fault.loss:
                return
            due_s += self.fault.delay_s
        self._number += 1
        heappush(self._under_way, (due_s, self._number, to, packet))

    def due(self, now_s: float) -> Iterator[tuple[int, bytes]]:
        """Those that arrive now."""
        while self._under_way and self._under_way[0][0] <= now_s:
            _, _, to, packet = heappop(self._under_way)
            yield to, packet

    def wait_s(self, now_s: float) -> float | None:
        """Until the next arrives; None if there is none."""
        return max(0.0, self._under_way[0][0] - now_s) if self._under_way else None


class Detour:
    """The routes through this process, on both sides."""

    def __init__(self, space: str, service: str) -> None:
        self._near = f"fault{service.rpartition('.')[2]}"
        with _within(space):
            self.far = _tun("fault")
        self.near = _tun(self._near)
        self._there = ("-n", space)
        self._service = service
        ip("link", "set", self._near, "up")
        ip(*self._there, "link", "set", "fault", "up")

    def change(self, word: str) -> None:
        """`add` or `delete`."""
        ip("route", word, self._service, "dev", self._near, "metric", FAULTY)
        back = ("route", word, ADDRESS, "dev", "fault", "src", self._service, "metric", FAULTY)
        ip(*self._there, *back)


def obey(words: list[str], detour: Detour, line: Line) -> None:
    """Begin a fault, or end it, and say that it is so."""
    if words:
        delay_s, loss, *ports = words
        line.fault = Fault(float(delay_s), float(loss))
        line.ports = set(map(int, ports))
    detour.change("add" if words else "delete")
    sys.stdout.write("done\n")
    sys.stdout.flush()


def main() -> None:
    """Until the standard input ends."""
    detour, line = Detour(*sys.argv[1:]), Line(seed=1)
    others = {detour.near: detour.far, detour.far: detour.near}
    while True:
        wait_s = line.wait_s(time.monotonic())
        ready, _, _ = select.select([sys.stdin.fileno(), *others], [], [], wait_s)
        for end in ready:
            if end not in others:
                told = sys.stdin.readline()
                if not told:
                    return
                obey(told.split(), detour, line)
                continue
            with suppress(BlockingIOError):
                line.take(os.read(end, PACKET_BYTES_MAX), others[end], time.monotonic())
        for to, packet in line.due(time.monotonic()):
            with suppress(OSError):  # a full queue loses packets, as queues do
                os.write(to, packet)


if __name__ == "__main__":
    main()
