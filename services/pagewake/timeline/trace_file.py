"""The Trace Event Format, as far as pagewake writes it (https://ui.perfetto.dev reads it).

A JSON document written event by event. `VmWriter` writes one process of it, a VM with its vcpus as
threads, each followed by a track of the tasks that it ran; it takes simulated nanoseconds and
writes microseconds, as the format wants them, with the nanoseconds behind the point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec

from pagewake.timeline.trace_tracks import NEVER_TOLD, ArrowPart

_PHASES: Mapping[ArrowPart, str] = {"start": "s", "step": "t", "finish": "f"}

TASKS_FROM = 1_000_000
"""Threads from this number on are tracks of tasks: behind all vcpus that a VM can have."""

_encode = msgspec.json.Encoder().encode


class TraceFile:
    """The JSON document: what stands before the events, the events, what stands behind them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._separator = b"\n"

    def begin(self, about: Mapping[str, object]) -> None:
        """Write the head of the document; `about` is shown by the viewer."""
        self._file.write(b'{"displayTimeUnit":"ns","otherData":%b,"traceEvents":[' % _encode(about))

    def put(self, event: dict[str, Any]) -> None:
        self._file.write(self._separator)
        self._file.write(_encode(event))
        self._separator = b",\n"

    def end(self) -> None:
        self._file.write(b"\n]}\n")


class VmWriter:
    """Tracks of one VM as one process: thread 0 for the VM itself, vcpu n is thread n + 1."""

    __slots__ = ("_pid", "_put")

    def __init__(self, trace: TraceFile, pid: int, name: str) -> None:
        self._put = trace.put
        self._pid = pid
        self._meta("process_name", 0, {"name": name})
        self._meta("process_sort_index", 0, {"sort_index": pid})

    def _meta(self, name: str, tid: int, args: dict[str, object]) -> None:
        self._put({"ph": "M", "name": name, "pid": self._pid, "tid": tid, "args": args})

    def add_vcpu(self, vcpu: int) -> None:
        self._meta("thread_name", vcpu + 1, {"name": f"vcpu {vcpu}"})
        self._meta("thread_sort_index", vcpu + 1, {"sort_index": 2 * vcpu})
        self._meta("thread_name", TASKS_FROM + vcpu, {"name": f"vcpu {vcpu} tasks"})
        self._meta("thread_sort_index", TASKS_FROM + vcpu, {"sort_index": 2 * vcpu + 1})

    def ran(self, vcpu: int, task: str, from_ns: int, until_ns: int) -> None:
        self._put(
            {
                "ph": "X",
                "cat": "task",
                "name": task,
                "ts": from_ns / 1000,
                "dur": (until_ns - from_ns) / 1000,
                "pid": self._pid,
                "tid": TASKS_FROM + vcpu,
            }
        )

    def never(self, at_ns: int, vcpu: int, number: int, why: str, *, injected: bool) -> None:
        """No end is written for the arrow, so that none points to a READY that never came."""
        name = "READY never came" if injected else "no READY"
        self.instant(at_ns, vcpu, name, {"why": NEVER_TOLD.get(why, why)})

    def begin(self, at_ns: int, vcpu: int, state: str) -> None:
        self._edge("B", at_ns, vcpu, state)

    def end(self, at_ns: int, vcpu: int, state: str) -> None:
        self._edge("E", at_ns, vcpu, state)

    def _edge(self, phase: str, at_ns: int, vcpu: int, name: str) -> None:
        self._put(
            {"ph": phase, "name": name, "ts": at_ns / 1000, "pid": self._pid, "tid": vcpu + 1}
        )

    def begin_sleep(self, at_ns: int, task: str, number: int, args: dict[str, object]) -> None:
        self._sleep("b", at_ns, task, number, args)

    def end_sleep(self, at_ns: int, task: str, number: int, args: dict[str, object]) -> None:
        self._sleep("e", at_ns, task, number, args)

    def _sleep(
        self, phase: str, at_ns: int, task: str, number: int, args: dict[str, object]
    ) -> None:
        self._put(
            {
                "ph": phase,
                "cat": "sleep",
                "name": task,
                "id": self._unique(number),
                "ts": at_ns / 1000,
                "pid": self._pid,
                "tid": 0,
                "args": args,
            }
        )

    def instant(self, at_ns: int, vcpu: int | None, name: str, args: dict[str, object]) -> None:
        self._put(
            {
                "ph": "i",
                "s": "p" if vcpu is None else "t",
                "name": name,
                "ts": at_ns / 1000,
                "pid": self._pid,
                "tid": 0 if vcpu is None else vcpu + 1,
                "args": args,
            }
        )

    def arrow(self, part: ArrowPart, at_ns: int, vcpu: int, number: int) -> None:
        arrow: dict[str, object] = {
            "ph": _PHASES[part],
            "cat": "apf",
            "name": "not present to ready",
            "id": self._unique(number),
            "ts": at_ns / 1000,
            "pid": self._pid,
            "tid": vcpu + 1,
        }
        # Steps and finishes are bound to the span around them, not to the next one that begins.
        self._put(arrow if part == "start" else arrow | {"bp": "e"})

    def counter(self, at_ns: int, name: str, value: int) -> None:
        self._put(
            {"ph": "C", "name": name, "ts": at_ns / 1000, "pid": self._pid, "args": {name: value}}
        )

    def _unique(self, number: int) -> str:
        """An id for the whole file: numbers of sleeps and arrows count per VM."""
        return f"{self._pid}.{number}"
