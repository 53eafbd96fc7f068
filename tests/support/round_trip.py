"""What of a run survives in a kernel's trace of it, and comes back when that is imported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from pagewake.events import types as ev
from pagewake.recorded.check import Breach, check_recording
from pagewake.recorded.export import write_ftrace
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import Recording, RecordingReader
from pagewake.recorded.placed import Span
from pagewake.verify.log_run import PlacedEvent
from tests.support.runs import LoggedRun

Fact: TypeAlias = tuple[Any, ...]
"""An event without what no line says."""
Facts: TypeAlias = Mapping[tuple[str, int, str], list[tuple[int, Fact]]]
"""By VM, vcpu and kind, in order, with the time in microseconds."""
UNDECIDED = ("PageNotPresent", "ApfPresented")
"""That the guest was told is said by lines that follow; behind a vcpu's last there may be none."""


def _started(event: ev.ApfStarted) -> Fact:
    return event.gfn, event.outcome, event.token if event.outcome == "queued" else None


def _not_present(event: ev.PageNotPresent) -> Fact | None:
    """That the guest was not told looks the same whether it was halted, or could not be told."""
    if event.token is None:
        return None
    return event.gfn, event.access, event.cpl, event.delivery == "injected", event.token


def _presented(event: ev.ApfPresented) -> Fact:
    return event.token, event.gfn, event.delivery


def _told(event: ev.ExceptionInjected | ev.InterruptQueued) -> Fact:
    return event.token, event.kind


def _written(event: ev.MsrWritten) -> Fact | None:
    return (event.msr, event.value, event.ok) if event.by == "guest" else None


SURVIVES: Mapping[type[ev.Event], Callable[[Any], Fact | None]] = {
    ev.ApfStarted: _started,
    ev.DoubleFault: lambda event: (event.gfn,),
    ev.PageNotPresent: _not_present,
    ev.WorkerCompleted: lambda event: (event.gfn, event.token),
    ev.ApfPresented: _presented,
    ev.ExceptionInjected: _told,
    ev.InterruptQueued: _told,
    ev.MsrWritten: _written,
    ev.VcpuHalted: lambda event: () if event.why == "hlt" else None,
}
"""What comes back of each kind; None: nothing of this one."""


def facts(events: Iterable[ev.Event], names: Mapping[str, str], told_us: float) -> Facts:
    """What survives of these events; `names` are what their VMs are called.

    `told_us`: when an exception first has a line.  Until then a page of which the guest was not
    told is one of which nothing is known.
    """
    found: dict[tuple[str, int, str], list[tuple[int, Fact]]] = defaultdict(list)
    for event in events:
        survives = SURVIVES.get(type(event))
        fact = None if survives is None else survives(event)
        at_us = (event.at_ns + 500) // 1000
        untold = isinstance(event, ev.PageNotPresent) and event.delivery != "injected"
        if fact is not None and not (untold and at_us <= told_us):
            vcpu: int = event.vcpu  # type: ignore[attr-defined]
            key = names.get(event.vm, event.vm), vcpu, type(event).__name__
            found[key].append((at_us, fact))
    return found


def _told_us(trace: Path) -> float:
    """When the first exception has its line."""
    for line in trace.read_text("utf-8").splitlines():
        if ": kvm_inj_exception: " in line:
            return float(line.split(": ")[0].split()[-1]) * 1e6
    return inf


class RoundTrip(NamedTuple):
    """A run, its trace, and what came of importing that."""

    sent: Facts
    came: Facts
    ambiguous: int
    recording: Recording
    spans: list[Span]
    breaches: list[Breach]

    def differences(self) -> list[str]:
        """Where what came is not what was sent; times may differ by a microsecond.

        A worker's line says neither its token nor its VM, so where several wait for one address,
        the importer takes the oldest, and says that this is in doubt: then times are not compared.
        """
        found = []
        for key in sorted(self.sent.keys() | self.came.keys()):
            sent, came = self.sent.get(key, []), self.came.get(key, [])
            if key[2] in UNDECIDED and len(sent) - len(came) in (0, 1):
                sent, came = sent[:-1], came[: len(sent) - 1]
            if [fact for _, fact in sent] != [fact for _, fact in came]:
                found.append(f"{key}: {_first(sent, came)}")
            elif key[2] != "WorkerCompleted" or not self.ambiguous:
                late = [
                    f"{key}: {one} came as {other}"
                    for one, other in zip(sent, came, strict=True)
                    if abs(one[0] - other[0]) > 1
                ]
                found += late[:1]
        return found


def _first(sent: list[tuple[int, Fact]], came: list[tuple[int, Fact]]) -> str:
    for one, other in zip(sent, came, strict=False):
        if one[1] != other[1]:
            return f"{one} came as {other}"
    more, which = (sent, "did not come") if len(sent) > len(came) else (came, "was not sent")
    return f"{more[min(len(sent), len(came))]} {which}"


def round_trip(run: LoggedRun, kernel: str, directory: Path) -> RoundTrip:
    """Write a run as the trace of a kernel, import that, and check it by that kernel's rules."""
    trace, imported = directory / "trace.txt", directory / "imported"
    written = write_ftrace(run.directory, trace, kernel, None)
    threads = [group for groups in written.threads.values() for group in groups]
    groups = threads if len(threads) > 1 and not written.groups else ()
    recording = import_files([str(trace)], imported, profile=kernel, groups=groups)
    vm_of = {pid: vm for vm, groups in written.threads.items() for group in groups for pid in group}
    names = {vm.name: vm_of[next(iter(vm.vcpus.values()))] for vm in recording.vms}
    reader = RecordingReader(imported)
    found = list(reader.found())
    events = [one.event for one in found if isinstance(one, PlacedEvent)]
    told_us = _told_us(trace)
    return RoundTrip(
        facts(run.events, {}, told_us),
        facts(events, names, told_us),
        sum(isinstance(event, ev.WorkerCompleted) and event.doubt is not None for event in events),
        recording,
        [one for one in found if isinstance(one, Span)],
        check_recording(reader).breaches,
    )


def recorded_facts(imported: Path) -> Facts:
    """What an imported directory says of the protocol, synchronous faults among it.

    A mode of the guest that it does not know is written as user mode.
    """
    found = [
        msgspec.structs.replace(one.event, cpl=3)
        if isinstance(one.event, ev.PageNotPresent | ev.SyncFault) and one.event.cpl is None
        else one.event
        for one in RecordingReader(imported).found()
        if isinstance(one, PlacedEvent)
    ]
    kept = dict(facts(found, {}, -inf))
    for event in found:
        if isinstance(event, ev.SyncFault):
            fact = event.gfn, event.access, event.cpl, event.took_ns
            kept.setdefault((event.vm, event.vcpu, "SyncFault"), []).append((event.at_ns, fact))
    return kept
