"""What the CPU and the disk of a recording took: what the settings of its scenario are measured of.

Faults are those of pages that are not mapped.  A page that is polled for tells the disk's time, as
its thread sleeps for that alone; a window whose page is in by the end, what submitting takes; what
is between NOT_PRESENT and the thread's CPU again, what a worker takes there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from docs.validation.causes import Cause, Reading, ns, quantile, read_lines, token_of

CHEAP_S: Final = 0.00008
"""A fault that took no longer found its page in memory."""
BEHIND_S: Final = 0.05
"""A page of the same window is touched at most so long behind the one before it."""
LONG_S: Final = 0.005
EIGHT: Final = 8
BATCH: Final = 32
"""Pages of a reclaim (SWAP_CLUSTER_MAX)."""
SLEEPS: Final = (
    ("p1", 0.01), ("p5", 0.05), ("p10", 0.1), ("p25", 0.25), ("p50", 0.5), ("p75", 0.75),
    ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0),
)  # fmt: skip

COSTS: Final = (
    Cause("absent", "faults of pages that are not mapped", "count"),
    Cause("polled", "of these, the thread slept once, and made no attempt", "count"),
    Cause("submit_p50", "until it slept, p50", "ns"),
    Cause("submitted", "faults that submitted a read within 5 ms", "count"),
    Cause("in_by_then", "of these, the page was in by then", "count"),
    *(Cause(f"sleep_{name}", f"its sleep, {name}", "ns") for name, _ in SLEEPS),
    Cause("one_p50", "windows of one whose page is in by the end, p50", "ns"),
    Cause("eight_p50", "windows of eight, p50", "ns"),
    Cause("back_p50", "from NOT_PRESENT to its CPU again, the worker slept, p50", "ns"),
    Cause("back_done_p50", "the worker had found its page, p50", "ns"),
    Cause("long_ns", "time until the attempt, or the entry, of those of 5 ms and more", "ns"),
    Cause("switch_p50", "from entry with NOT_PRESENT to the next fault or HLT, p50", "ns"),
    Cause("tick_p50", "from entry with vector 236 to the next write of an MSR, p50", "ns"),
)


class _Fault:
    """Of one vcpu thread; times in seconds, of the recording's clock."""

    __slots__ = ("attempt", "back", "ended", "gfn", "left", "ready", "sleeps", "started", "state",
                 "switched", "token", "told")  # fmt: skip

    def __init__(self, started: float, gfn: int) -> None:
        self.started = started
        self.gfn = gfn
        self.ended = started
        self.attempt: float | None = None
        self.told: float | None = None
        self.back: float | None = None
        self.token: str | None = None
        self.left: float | None = None
        self.state = ""
        self.ready = self.switched = False
        self.sleeps: list[tuple[float, float]] = []

    @property
    def took(self) -> float:
        return self.ended - self.started

    @property
    def works(self) -> float:
        """Until its attempt, or its end if it made none."""
        return min(self.attempt or self.ended, self.ended) - self.started

    @property
    def found_its_page(self) -> bool:
        """It read, never left its CPU, and its page was in by the end."""
        return self.attempt is None and not self.switched and CHEAP_S <= self.took < LONG_S


class _Entry(NamedTuple):
    """What a vcpu thread entered its guest with."""

    at: float
    exception: bool
    vectors: tuple[str, ...]


class Costs(Reading):
    """Takes the lines of a recording in their order."""

    def __init__(self) -> None:
        self._open: dict[str, _Fault] = {}
        self._closed: list[_Fault] = []
        self._pending: dict[str, tuple[bool, tuple[str, ...]]] = {}
        self._entered: dict[str, _Entry] = {}
        self._switches: list[float] = []
        self._ticks: list[float] = []

    def _step(self, pid: str, at: float, event: str, rest: str) -> None:
        self._fault(pid, at, event, rest)
        self._guest(pid, at, event, rest)

    def _switch(self, at: float, found: re.Match[str]) -> None:
        leaves, comes = self._open.get(found["prev"]), self._open.get(found["next"])
        if leaves is not None:
            leaves.left, leaves.state, leaves.switched = at, found["state"], True
        if comes is not None and comes.left is not None:
            if comes.state[0] in "SD":
                comes.sleeps.append((comes.left - comes.started, at - comes.left))
            if comes.told is not None and comes.back is None:
                comes.back = at
            comes.left = None

    def _fault(self, pid: str, at: float, event: str, rest: str) -> None:
        fault = self._open.get(pid)
        if event == "kvm_page_fault":
            words = rest.split()
            if not int(words[-1], 16) & 1:
                self._open[pid] = _Fault(at, int(words[words.index("address") + 1], 16) >> 12)
        elif fault is None:
            return
        elif event == "kvm_try_async_get_page":
            fault.attempt = at
        elif event == "kvm_async_pf_not_present":
            fault.told, fault.token = at, token_of(rest)
        elif event == "kvm_async_pf_ready":
            fault.ready |= fault.token == token_of(rest)
        elif event == "kvm_entry":
            fault.ended = at
            self._closed.append(self._open.pop(pid))

    def _guest(self, pid: str, at: float, event: str, rest: str) -> None:
        exception, vectors = self._pending.get(pid, (False, ()))
        if event == "kvm_inj_exception":
            self._pending[pid] = "reinjected" not in rest, vectors
        elif event == "kvm_apic_accept_irq":
            self._pending[pid] = exception, (*vectors, rest.split("vec ")[1].split(maxsplit=1)[0])
        elif event == "kvm_entry":
            self._entered[pid] = _Entry(at, exception, vectors)
            self._pending.pop(pid, None)
        elif event == "kvm_exit" and pid in self._entered:
            entry = self._entered.pop(pid)
            reason = rest.split("reason ")[1].split(maxsplit=1)[0]
            if entry.exception and not entry.vectors and reason in ("npf", "hlt"):
                self._switches.append(at - entry.at)
            elif entry.vectors == ("236",) and not entry.exception and reason == "msr":
                self._ticks.append(at - entry.at)

    def found(self) -> dict[str, int | None]:
        """Every cost by name."""
        faults = self._closed
        polled = [f.sleeps[0] for f in faults if f.attempt is None and len(f.sleeps) == 1]
        in_by_then = [f for f in faults if f.found_its_page]
        queued = [f for f in faults if f.told and CHEAP_S <= f.works < LONG_S]
        sleeps = [slept for _, slept in polled]
        backs = [(f.back - f.told, f.ready) for f in faults if f.told and f.back]
        return {
            "absent": len(faults),
            "polled": len(polled),
            "submit_p50": ns(quantile([until for until, _ in polled], 0.5)),
            "submitted": len(in_by_then) + len(queued) + len(polled),
            "in_by_then": len(in_by_then),
            **{f"sleep_{name}": ns(quantile(sleeps, share)) for name, share in SLEEPS},
            **self._windows(),
            "back_p50": ns(quantile([back for back, ready in backs if not ready], 0.5)),
            "back_done_p50": ns(quantile([back for back, ready in backs if ready], 0.5)),
            "long_ns": ns(sum(f.works for f in faults if f.works >= LONG_S)),
            "switch_p50": ns(quantile(self._switches, 0.5)),
            "tick_p50": ns(quantile(self._ticks, 0.5)),
        }

    def _windows(self) -> dict[str, int | None]:
        """Of faults that found their page.

        A window is as large as there are pages behind that were found in memory then.
        """
        by_gfn: dict[int, list[_Fault]] = defaultdict(list)
        for fault in sorted(self._closed, key=lambda fault: fault.started):
            by_gfn[fault.gfn].append(fault)
        times: dict[int, list[float]] = defaultdict(list)
        for fault in self._closed:
            if fault.found_its_page:
                times[_cheap_behind(fault, by_gfn) + 1].append(fault.took)
        return {
            "one_p50": ns(quantile(times[1], 0.5)),
            "eight_p50": ns(quantile(times[EIGHT], 0.5)),
        }


def _cheap_behind(fault: _Fault, by_gfn: Mapping[int, list[_Fault]]) -> int:
    """How many pages behind that of this fault were found in memory, one after the other."""
    number = 0
    while True:
        later = (f for f in by_gfn.get(fault.gfn + 1, ()) if f.started > fault.started)
        behind = next(later, None)
        if (
            behind is None
            or behind.started - fault.started > BEHIND_S
            or behind.took > CHEAP_S
            or behind.attempt is not None
        ):
            return number
        number += 1
        fault = behind


def costs(path: Path) -> dict[str, int | None]:
    """Of a recording, packed by gzip."""
    reading = Costs()
    reading.take(read_lines(path))
    return reading.found()


def settings(kept: Mapping[str, int], path_ns: int, way_ns: int) -> dict[str, Any]:
    """What a scenario has to say where a recording took this; all in nanoseconds.

    The disk's times are those that a request takes from when the thread hands it over, behind its
    pages.  Of pages that were in when it had done so no line says since when.

    `path_ns`: a fault that finds its page, from guest to guest.  `way_ns`: the part of it up to the
    point at which a worker takes the CPU.
    """
    one, eight = kept["one_p50"] - path_ns, kept["eight_p50"] - path_ns
    page = (eight - one) // (EIGHT - 1)
    request = one - page
    look = kept["back_p50"] - way_ns
    submitted = kept["submit_p50"]
    in_by_then = round(kept["in_by_then"] / kept["submitted"], 3)
    rows = [(0.0, request // 2), (in_by_then, request)]
    for name, share in SLEEPS:
        at = round(in_by_then + (1 - in_by_then) * share, 5)
        rows.append((at, max(request, submitted + kept[f"sleep_{name}"] - page)))
    return {
        "read_page": page,
        "read_request": request,
        "worker_look": look,
        "worker_hop": kept["back_done_p50"] - kept["back_p50"],
        "reclaim_lag": kept["long_ns"] * BATCH // kept["absent"] // 2,
        "quantiles": rows,
    }
