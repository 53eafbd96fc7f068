"""What a recording says of causes, line by line: what a vcpu thread did while it was in a fault.

`sched_switch` says when a vcpu thread left its CPU, for whom, and whether it slept. This reads the
ftrace text of a host of Linux 5.8 or later; a run that is written as such text has no lines of the
scheduler.
"""

from __future__ import annotations

import gzip
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

SLOW_S: Final = 0.0003
LONG_S: Final = 0.005
LINE = re.compile(r"\s*(?P<comm>.+)-(?P<pid>\d+)\s+\[\d+\] \S+\s+(?P<at>[\d.]+): "
                   r"(?P<event>\w+): (?P<rest>.*)")  # fmt: skip
SWITCH = re.compile(r"prev_comm=.+? prev_pid=(?P<prev>\d+) .*prev_state=(?P<state>\S+) ==> "
                     r"next_comm=(?P<comm>.+?) next_pid=(?P<next>\d+)")  # fmt: skip
TOKEN = re.compile(r"token (0x[0-9a-f]+)")


class Cause(NamedTuple):
    """One row: name among the stored facts, and what it is."""

    name: str
    what: str
    unit: str


CAUSES: Final = (
    Cause("slow", "slow synchronous faults", "count"),
    Cause("slow_slept", "of these, the thread slept: for a page that is polled for, or locked",
          "count"),
    Cause("slow_preempted", "was preempted, and did not sleep", "count"),
    Cause("slow_running", "never left its CPU", "count"),
    Cause("slow_ns", "time of all", "ns"),
    Cause("slow_off_ns", "of that, off the CPU", "ns"),
    Cause("slow_long", "5 ms or longer", "count"),
    Cause("slow_long_ns", "time of these", "ns"),
    Cause("slow_long_off_ns", "of that, off the CPU", "ns"),
    Cause("attempt_p50", "asynchronous faults: to the attempt, p50", "ns"),
    Cause("told_p50", "from there until the guest is entered, p50", "ns"),
    Cause("early", "ready before re-entry, kernel mode included", "count"),
    Cause("early_worker", "of these, a worker took the thread's CPU in between", "count"),
)  # fmt: skip


class _Fault:
    """One that a vcpu thread is in."""

    __slots__ = ("attempt", "early", "left", "off", "slept", "started", "switched", "token",
                 "worker")  # fmt: skip

    def __init__(self, started: float) -> None:
        self.started = started
        self.attempt: float | None = None
        self.token: str | None = None
        self.left: float | None = None
        self.off = 0.0
        self.switched = self.slept = self.early = self.worker = False


class Reading(ABC):
    """Takes the lines of a recording in their order."""

    def take(self, lines: Iterable[str]) -> None:
        for line in lines:
            found = LINE.match(line)
            if found is not None:
                at, event, rest = float(found["at"]), found["event"], found["rest"]
                if event == "sched_switch":
                    switch = SWITCH.match(rest)
                    if switch is not None:
                        self._switch(at, switch)
                elif found["comm"].startswith("CPU "):
                    self._step(found["pid"], at, event, rest)

    @abstractmethod
    def _switch(self, at: float, found: re.Match[str]) -> None:
        """A CPU goes from one thread to another."""

    @abstractmethod
    def _step(self, pid: str, at: float, event: str, rest: str) -> None:
        """A vcpu thread says something."""


class Causes(Reading):
    """What threads did in their faults."""

    def __init__(self) -> None:
        self._open: dict[str, _Fault] = {}
        self._seconds: dict[str, float] = dict.fromkeys(_SECONDS, 0.0)
        self._counts: Counter[str] = Counter()
        self._attempts: list[float] = []
        self._tolds: list[float] = []

    def _switch(self, at: float, found: re.Match[str]) -> None:
        leaves, comes = self._open.get(found["prev"]), self._open.get(found["next"])
        if leaves is not None:
            leaves.left, leaves.switched = at, True
            leaves.slept |= found["state"][0] in "SD"
            leaves.worker |= leaves.token is not None and found["comm"].startswith("kworker")
        if comes is not None and comes.left is not None:
            comes.off += at - comes.left
            comes.left = None

    def _step(self, pid: str, at: float, event: str, rest: str) -> None:
        fault = self._open.get(pid)
        if event == "kvm_page_fault":
            self._open[pid] = _Fault(at)
        elif fault is None:
            return
        elif event == "kvm_try_async_get_page":
            fault.attempt = at
        elif event == "kvm_async_pf_not_present":
            fault.token = token_of(rest)
        elif event == "kvm_async_pf_ready":
            fault.early |= fault.token == token_of(rest)
        elif event == "kvm_entry":
            self._end(self._open.pop(pid), at)

    def _end(self, fault: _Fault, at: float) -> None:
        took = at - fault.started
        if fault.attempt is not None:
            self._attempts.append(fault.attempt - fault.started)
            self._tolds.append(at - fault.attempt)
            self._counts["early"] += fault.early
            self._counts["early_worker"] += fault.early and fault.worker
        elif took >= SLOW_S:
            kind = "slept" if fault.slept else "preempted" if fault.switched else "running"
            self._slow(f"slow_{kind}", took, fault.off)

    def _slow(self, kind: str, took: float, off: float) -> None:
        self._counts[kind] += 1
        for name in ("slow", "slow_long") if took >= LONG_S else ("slow",):
            self._counts[name] += 1
            self._seconds[f"{name}_ns"] += took
            self._seconds[f"{name}_off_ns"] += off

    def found(self) -> dict[str, int | None]:
        """Every cause by name."""
        times = {
            "attempt_p50": quantile(self._attempts, 0.5),
            "told_p50": quantile(self._tolds, 0.5),
        }
        times |= {name: self._seconds[name] for name in _SECONDS}
        return {
            each.name: self._counts[each.name] if each.unit == "count" else ns(times[each.name])
            for each in CAUSES
        }


_SECONDS: Final = ("slow_ns", "slow_off_ns", "slow_long_ns", "slow_long_off_ns")


def causes(path: Path) -> dict[str, int | None]:
    """Of a recording, packed by gzip."""
    reading = Causes()
    reading.take(read_lines(path))
    return reading.found()


def read_lines(path: Path) -> Iterator[str]:
    """Of a recording, packed by gzip."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from file


def quantile(times: list[float], share: float) -> float | None:
    """Of so many of them, at least as small."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] if times else None


def token_of(rest: str) -> str:
    """The token that a line tells; nothing if it tells none."""
    found = TOKEN.search(rest)
    return found[1] if found else ""


def ns(seconds: float | None) -> int | None:
    """Traces have microseconds."""
    return None if seconds is None else round(seconds * 1e6) * 1000
