"""What is done to a victim: each way is a context; when it is left, the victim is well again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.soak import wire
from tests.soak.lane import BROKERS, FAKETIME, KAFKA, KINDS, MOSQUITTO, Lane, filled
from tests.soak.wire import Fault
from tests.support.processes import until

OUTLAST_S = 12.0
"""Longer than a session lasts (10 s): others take over, and a zombie comes back."""
LASTS_S = 3.0
"""Longer than several windows, snapshots and heartbeats."""
AWAY_S = 1.0
"""A broker's outage beside its start."""
SLOW = Fault(delay_s=0.01, loss=0.01)
"""In each direction: 20 ms a round trip, and 1 % of all packets lost."""
CUT = Fault(delay_s=0.0, loss=1.0)
DAY_S = 86_400
JUMPS_S = (-DAY_S, -3_600, 3_600, DAY_S)

CGROUPS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}
"""Where groups are made, and the file that holds their limit: version 1, version 2."""
LIMIT_BYTES = 64 << 20
BALLOONS = f"import os; os.fork(); os.fork(); x = bytearray({LIMIT_BYTES // 5 * 2}); input()"
"""Four, and any three of them fill the group; each alone is a smaller prey than the victim."""
FIRST = "1000"
"""Of `oom_score_adj`: as if it took all the memory that there is."""

Doing = Callable[[Lane, str, Random], AbstractContextManager[None]]


class Way(NamedTuple):
    """`lacks` says of a victim, among so many brokers, why this cannot be done."""

    name: str
    do: Doing
    lasts_s: float
    lacks: Callable[[str, int], str]


@contextmanager
def ended(number: signal.Signals, lane: Lane, victim: str, _: Random) -> Iterator[None]:
    """By a signal; started again."""
    lane.end(victim, number)
    yield
    lane.start(victim)


@contextmanager
def replaced(lane: Lane, victim: str, _: Random) -> Iterator[None]:
    """Gone for good, with its disk; another comes in its place and copies what the others have."""
    lane.brokers.replace(victim)
    yield


@contextmanager
def frozen(lane: Lane, victim: str, _: Random) -> Iterator[None]:
    """It is there and does nothing."""
    pid = lane.pid(victim)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def out_of_memory(lane: Lane, victim: str, _: Random) -> Iterator[None]:
    """In a group with little memory, beside one that takes it all: the kernel kills the victim."""
    place, limit = _memory_groups()
    group = place / f"pagewake-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(str(LIMIT_BYTES))
        pid = lane.pid(victim)
        Path(f"/proc/{pid}/oom_score_adj").write_text(FIRST)
        (group / "cgroup.procs").write_text(str(pid))
        enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')"
        balloons = [sys.executable, "-c", f"{enter}; {BALLOONS}"]
        with subprocess.Popen(balloons, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL):
            until(lambda: not lane.alive(victim), f"the kernel kills {victim}")
    finally:
        until(partial(_removed, group), f"{group} is empty")
    yield
    lane.start(victim)


def _removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def _memory_groups() -> tuple[Path, str]:
    for place, limit in CGROUPS.items():
        controllers = place / "cgroup.controllers"
        if (place / limit).exists() or (
            controllers.exists() and "memory" in controllers.read_text().split()
        ):
            return place, limit
    raise LookupError


@contextmanager
def disk_full(lane: Lane, victim: str, _: Random) -> Iterator[None]:
    """Of all brokers' data, or of a service's log; a broker ends itself by that."""
    with filled(lane.place(victim)):
        yield
    for name in lane.brokers.kafkas if lane.is_broker(victim) else []:
        if lane.alive(name):  # without its data, or with half of it
            lane.end(name, signal.SIGKILL)
    if not lane.alive(victim):
        lane.start(victim)


@contextmanager
def faulty(fault: Fault, lane: Lane, victim: str, _: Random) -> Iterator[None]:
    """On the wire between a service and the brokers, or a broker and the services."""
    with lane.faulty_wire(victim, fault):
        yield


@contextmanager
def clock_jumps(lane: Lane, victim: str, random: Random) -> Iterator[None]:
    """There and back."""
    lane.services.set_clock(victim, random.choice(JUMPS_S))
    try:
        yield
    finally:
        lane.services.set_clock(victim, 0)


# ------------------------------------------------------------------ what a machine cannot do


def anywhere(_: str, __: int) -> str:
    """It can."""
    return ""


def with_many(victim: str, kafkas: int) -> str:
    """Only a cluster outlives a disk."""
    if victim != KAFKA:
        return "it has no disk that others have copies of"
    return "" if kafkas > 1 else "it has the only copy: BROKERS=3"


def with_cgroups(_: str, __: int) -> str:
    """Groups with a limit of memory, whose maker is root."""
    if os.geteuid() != 0:
        return "not root"
    try:
        _memory_groups()
    except LookupError:
        return "no control group limits memory here"
    return ""


def with_disks(victim: str, _: int = 1) -> str:
    """Small ones, mounted by root."""
    if victim == MOSQUITTO:
        return "it keeps nothing on a disk"
    return "" if os.geteuid() == 0 else "not root"


def with_wires(_: str, __: int) -> str:
    """Namespaces."""
    return wire.lacking()


def with_faketime(victim: str, _: int = 1) -> str:
    """A library that says another time than the machine."""
    if victim == KAFKA:
        return "libfaketime makes a JVM crawl"
    if victim == MOSQUITTO:
        return "it keeps no time"
    return "" if FAKETIME.exists() else f"no {FAKETIME}: install libfaketime"


WAYS = (
    Way("kill", partial(ended, signal.SIGKILL), AWAY_S, anywhere),
    Way("term", partial(ended, signal.SIGTERM), AWAY_S, anywhere),
    Way("replace", replaced, AWAY_S, with_many),
    Way("freeze", frozen, OUTLAST_S, anywhere),
    Way("oom", out_of_memory, AWAY_S, with_cgroups),
    Way("disk full", disk_full, LASTS_S, with_disks),
    Way("slow", partial(faulty, SLOW), LASTS_S, with_wires),
    Way("cut", partial(faulty, CUT), OUTLAST_S, with_wires),
    Way("clock", clock_jumps, LASTS_S, with_faketime),
)
VICTIMS = (*KINDS, *BROKERS)


def skipped(kafkas: int) -> list[tuple[str, str, str]]:
    """Way, victim and why, of what cannot be done here with so many brokers."""
    return [
        (way.name, victim, why)
        for way in WAYS
        for victim in VICTIMS
        if (why := way.lacks(victim, kafkas))
    ]
