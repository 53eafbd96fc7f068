"""A run written as ftrace text, and the lines read again by the reader of recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pagewake.events.types import Event
from pagewake.recorded.export import write_ftrace
from pagewake.recorded.lines import Line, LineReader
from pagewake.recorded.tracepoints import NAMES, Value, form_of, release_of
from tests.support.runs import run_logged

SHORT = "scenario.duration=60ms"
NO_POLL = "kernel.overrides.swap_poll=false"
"""Pages that are read alone are not waited for, so that much is outstanding at once."""
KERNELS = ("2.6.39", "5.4", "6.1")
SCENARIOS = (
    "row-01-user-fault",
    "row-02-kernel-fault",
    "row-04-double-fault",
    "row-05-limit",
    "row-06-two-completions",
    "row-09-enable",
    "row-10-disable-outstanding",
    "row-14-hlt-completion",
    "row-15-stale-halt",
    "web",
)
"""Each of them by the rules of each kernel."""
BETWEEN = {"page_fault", "try_async", "not_present", "repeated_fault", "ready", "msr", "wakeup"}
"""What a vcpu thread says between an exit and the entry after it."""


class Said(NamedTuple):
    """A line, its kind, and its values."""

    line: Line
    kind: str
    values: dict[str, Value]


class Exported(NamedTuple):
    """A run: its events, the trace that was written of it, and its lines."""

    events: list[Event]
    text: str
    said: list[Said]

    def of(self, kind: str) -> list[Said]:
        return [said for said in self.said if said.kind == kind]


def export(name: str, kernel: str, directory: Path, *sets: str) -> Exported:
    """Run a scenario by the rules of a kernel, and write what that kernel would have printed."""
    short = [SHORT] if name == "web" else []
    logged = run_logged(name, directory, f"kernel.profile={kernel}", *short, *sets)
    place = directory / "trace.txt"
    write_ftrace(logged.directory, place, kernel, None)
    text = place.read_text("utf-8")
    return Exported(logged.events, text, read_trace(text, kernel))


def read_trace(text: str, kernel: str) -> list[Said]:
    """Every line of a trace, in the forms of that kernel alone."""
    reader = LineReader("trace.txt", dict.fromkeys(NAMES))
    items = list(reader.feed(text))
    assert not reader.others, reader.others
    return [_read(item, kernel) for item in items]


def _read(item: object, kernel: str) -> Said:
    assert isinstance(item, Line), item
    kind = NAMES[item.event]
    form = form_of(kind, release_of(kernel))
    assert form is not None, f"{item.event} is not of {kernel}"
    assert form.name == item.event
    values = form.read(item.text)
    assert values is not None, item.text
    return Said(item, kind, values)


def by_thread(lines: Iterable[Said]) -> dict[int, list[Said]]:
    """The lines of each thread."""
    threads: dict[int, list[Said]] = defaultdict(list)
    for said in lines:
        threads[said.line.pid].append(said)
    return threads


def out_of_turn(lines: Iterable[Said]) -> list[str]:
    """Lines that stand where no kernel prints them.

    A thread exits and enters in turns, what its host does stands between, and time goes on.
    """
    listed = list(lines)
    wrong = [
        f"{after.line} comes behind {before.line}"
        for before, after in pairwise(listed)
        if after.line.time_ns < before.line.time_ns
    ]
    for thread in by_thread(listed).values():
        inside = False
        for line, kind, _ in thread:
            if (kind == "exit") != inside and kind in {"entry", "exit"}:
                wrong.append(f"{line} is out of turn")
            elif kind in BETWEEN and inside:
                wrong.append(f"{line} while the guest runs")
            inside = kind == "entry" if kind in {"entry", "exit"} else inside
    return wrong
