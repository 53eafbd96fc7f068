"""What of a run survives in a kernel's trace of it, and comes back when that is imported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from pagewake.events import types as ev

Fact: TypeAlias = tuple[Any, ...]
"""An event without what no line says."""


def _started(event: ev.ApfStarted) -> Fact:
    return event.gfn, event.outcome, event.token if event.outcome == "queued" else None


def _not_present(event: ev.PageNotPresent) -> Fact | None:
    if event.delivery not in ("injected", "halted"):
        return None
    return event.gfn, event.access, event.cpl, event.delivery, event.token


SURVIVES: Mapping[type[ev.Event], Callable[[Any], Fact | None]] = {
    ev.ApfStarted: _started,
    ev.DoubleFault: lambda event: (event.gfn,),
    ev.PageNotPresent: _not_present,
    ev.WorkerCompleted: lambda event: (event.gfn, event.token),
    ev.ApfPresented: lambda event: (event.token, event.gfn, event.delivery),
    ev.ExceptionInjected: lambda event: (event.token, event.kind),
    ev.InterruptQueued: lambda event: (event.token, event.kind),
    ev.MsrWritten: lambda event: (
        (event.msr, event.value, event.ok) if event.by == "guest" else None
    ),
    ev.VcpuHalted: lambda event: () if event.why == "hlt" else None,
}
"""By kind: what of the event comes back; None: nothing of this one."""


def facts(events: Iterable[ev.Event]) -> dict[tuple[str, int, str], list[tuple[int, Fact]]]:
    """What survives, by VM, vcpu and kind, in order, with its time in microseconds."""
    found: dict[tuple[str, int, str], list[tuple[int, Fact]]] = defaultdict(list)
    for event in events:
        told = SURVIVES.get(type(event), lambda _: None)(event)
        if told is not None:
            key = (event.vm, event.vcpu, type(event).__name__)  # type: ignore[attr-defined]
            found[key].append(((event.at_ns + 500) // 1000, told))
    return dict(found)
