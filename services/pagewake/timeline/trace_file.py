"""The Trace Event Format, as far as pagewake writes it (https://ui.perfetto.dev reads it).

A JSON document written event by event. Times are microseconds; simulated nanoseconds stand behind
the point. `VmWriter` writes one process of it, a VM with its vcpus as threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO, Literal

import msgspec

_encode = msgspec.json.Encoder().encode


class TraceFile:
    """The document."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._separator = b"\n"

    def begin(self, about: Mapping[str, object]) -> None:
        """Everything before the first event."""
        self._file.write(b'{"displayTimeUnit":"ns","otherData":%b,"traceEvents":[' % _encode(about))

    def put(self, event: dict[str, Any]) -> None:
        """One trace event."""
        self._file.write(self._separator)
        self._file.write(_encode(event))
        self._separator = b",\n"

    def end(self) -> None:
        """Everything behind the last event."""
        self._file.write(b"\n]}\n")


class VmWriter:
    """One process. Events without a vcpu go to thread 0, those of a vcpu to its number plus 1."""

    __slots__ = ("_pid", "_put")

    def __init__(self, trace: TraceFile, pid: int) -> None:
        self._put = trace.put
        self._pid = pid

    def name_process(self, name: str) -> None:
        """What the VM is called, and where it stands."""
        self._meta("process_name", 0, {"name": name})
        self._meta("process_sort_index", 0, {"sort_index": self._pid})

    def name_vcpu(self, vcpu: int) -> None:
        """The track of a vcpu."""
        self._meta("thread_name", vcpu + 1, {"name": f"vcpu {vcpu}"})
        self._meta("thread_sort_index", vcpu + 1, {"sort_index": vcpu})

    def _meta(self, name: str, tid: int, args: dict[str, object]) -> None:
        self._put({"ph": "M", "name": name, "pid": self._pid, "tid": tid, "args": args})

    def edge(self, phase: Literal["B", "E"], at_ns: int, vcpu: int, name: str) -> None:
        """Begin or end of a span on a vcpu's track."""
        self._put(
            {"ph": phase, "name": name, "ts": at_ns / 1000, "pid": self._pid, "tid": vcpu + 1}
        )

    def span(
        self, phase: Literal["b", "e"], at_ns: int, name: str, number: int, args: dict[str, object]
    ) -> None:
        """Begin or end of a sleep, which overlaps with others."""
        self._put(
            {
                "ph": phase,
                "cat": "sleep",
                "name": name,
                "id": self.arrow_id(number),
                "ts": at_ns / 1000,
                "pid": self._pid,
                "tid": 0,
                "args": args,
            }
        )

    def instant(self, at_ns: int, vcpu: int | None, name: str, args: dict[str, object]) -> None:
        """Something that happened on a vcpu, or to the whole VM."""
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

    def arrow(self, phase: Literal["s", "t", "f"], at_ns: int, vcpu: int, number: int) -> None:
        """Start, step or finish of the arrow with this number, bound to the span around it."""
        arrow: dict[str, object] = {
            "ph": phase,
            "cat": "apf",
            "name": "not present to ready",
            "id": self.arrow_id(number),
            "ts": at_ns / 1000,
            "pid": self._pid,
            "tid": vcpu + 1,
        }
        self._put(arrow if phase == "s" else arrow | {"bp": "e"})

    def arrow_id(self, number: int) -> str:
        """Of an arrow, unique in the file."""
        return f"{self._pid}.{number}"

    def counter(self, at_ns: int, name: str, value: int) -> None:
        """A counter track's new value."""
        self._put(
            {"ph": "C", "name": name, "ts": at_ns / 1000, "pid": self._pid, "args": {name: value}}
        )
