"""What a shard's events add up to, for the metrics of a run (design, "Metrics").

A tally belongs to its shard's state: it stands in snapshots, so a counter goes on where the last
owner left it.  Times (ns) and events of a window are counted in powers of two: bucket `b` holds
those of 2**(b-1) to 2**b - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from pagewake.events import types as ev
from pagewake.nested_svm.exit_codes import NAMES
from pagewake.scenario.interventions import EVENT_KINDS

BUCKETS = 64
RECORDS_SENT = "records_sent"
BYTES_SENT = "bytes_sent"
TRAPS = {0: "fault", 1: "not_present", 2: "ready"}
INTERVENTIONS = {kind.struct: do for do, kind in reversed(list(EVENT_KINDS.items()))}
"""What a scenario or a command calls a control event; of two names the first."""

Labels: TypeAlias = tuple[str, ...]


class Tally:
    """Counts by metric and label values; `buckets` and `sums` of what is spread."""

    __slots__ = ("counts", "events", "buckets", "sums")

    def __init__(self) -> None:
        self.counts: dict[tuple[str, Labels], int] = {}
        self.events = 0
        self.buckets: dict[str, list[int]] = {}
        self.sums: dict[str, int] = {}

    def feed(self, events: Iterable[ev.Event]) -> None:
        """The domain events of one window."""
        handlers = HANDLERS
        before = self.events
        for event in events:
            self.events += 1
            handler = handlers.get(type(event))
            if handler is not None:
                handler(self, event)
        self.note("window_events", self.events - before)

    def add(self, metric: str, *labels: str, count: int = 1) -> None:
        """Count something."""
        key = (metric, labels)
        self.counts[key] = self.counts.get(key, 0) + count

    def note(self, metric: str, value: int) -> None:
        """Count a time in ns, or a size."""
        buckets = self.buckets.get(metric)
        if buckets is None:
            buckets = self.buckets[metric] = [0] * BUCKETS
        buckets[value.bit_length()] += 1
        self.sums[metric] = self.sums.get(metric, 0) + value

    def state(self) -> dict[str, object]:
        """Plain data for a snapshot."""
        return {name: getattr(self, name) for name in self.__slots__}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a snapshot's."""
        for name in self.__slots__:
            setattr(self, name, state[name])


# What each event counts as.  Tokens that the guest never learns of are in no READY counter: their
# PageReady is consumed by the shard and counts as synchronous.


def _slept(tally: Tally, event: ev.TaskSlept) -> None:
    tally.add("guest_task_waits", "halted" if event.halted else "slept")
    tally.add("guest_sleepers")


def _woken(tally: Tally, event: ev.TaskWoken) -> None:
    tally.add("guest_task_wakes", event.how)
    tally.add("guest_sleepers", count=-1)
    tally.note("guest_wait", event.waited_ns)


def _dummy_inserted(tally: Tally, _: ev.DummyInserted) -> None:
    tally.add("guest_dummies")


def _dummy_consumed(tally: Tally, _: ev.DummyConsumed) -> None:
    tally.add("guest_task_waits", "early_ready")
    tally.add("guest_dummies", count=-1)


def _dummy_unlinked(tally: Tally, _: ev.DummyUnlinked) -> None:
    tally.add("guest_dummies", count=-1)


def _freed(tally: Tally, _: ev.SleeperFreed) -> None:
    tally.add("guest_sleepers", count=-1)


def _trap(tally: Tally, event: ev.TrapTaken) -> None:
    tally.add("guest_traps", TRAPS.get(event.reason, "other"))


def _halted(tally: Tally, event: ev.VcpuHalted) -> None:
    tally.add("kvm_halts", event.why)


def _injected(tally: Tally, event: ev.ExceptionInjected | ev.InterruptQueued) -> None:
    tally.add("kvm_injections", event.kind)


def _routed(tally: Tally, event: ev.ExitRouted) -> None:
    name = NAMES.get(event.exit_code, "other")
    tally.add("nested_exits", f"L{event.level}", name, event.route)


def _vmexit(tally: Tally, event: ev.NestedVmexit) -> None:
    tally.add("nested_vmexits", event.reason)


def _not_present(tally: Tally, event: ev.PageNotPresent) -> None:
    if not event.first_touch:
        tally.add("page_not_present", event.delivery)
        if event.delivery == "synchronous":
            tally.add("page_synchronous", event.why or "other")


def _presented(tally: Tally, event: ev.ApfPresented) -> None:
    tally.add("page_ready", event.delivery)


def _ready(tally: Tally, event: ev.PageReady) -> None:
    if event.token is None:
        tally.add("page_ready", "synchronous")


def _double_fault(tally: Tally, _: ev.DoubleFault) -> None:
    tally.add("kvm_double_faults")


def _intervention(tally: Tally, event: ev.Control) -> None:
    tally.add("interventions", INTERVENTIONS[type(event)])


HANDLERS: Mapping[type[ev.Event], Callable[[Tally, Any], None]] = {
    ev.TaskSlept: _slept,
    ev.TaskWoken: _woken,
    ev.DummyInserted: _dummy_inserted,
    ev.DummyConsumed: _dummy_consumed,
    ev.DummyUnlinked: _dummy_unlinked,
    ev.SleeperFreed: _freed,
    ev.TrapTaken: _trap,
    ev.VcpuHalted: _halted,
    ev.ExceptionInjected: _injected,
    ev.InterruptQueued: _injected,
    ev.ExitRouted: _routed,
    ev.NestedVmexit: _vmexit,
    ev.PageNotPresent: _not_present,
    ev.ApfPresented: _presented,
    ev.PageReady: _ready,
    ev.DoubleFault: _double_fault,
    **dict.fromkeys(INTERVENTIONS, _intervention),
}
