"""A VM's total order, rebuilt from what a log holds (design, "Order").

What a VM emits carries its running number `n`. What came from the host stands in the log without
one, because only the VM knows its place: it filled the gaps, in the order (at_ns, control before
host, vcpu, wire order). So the order follows from the log alone, and what does not fit is an
error: a gap that nothing fills, a number that comes twice, a delivery that was due and never took
a number.

A VM freezes when its last task finishes or is killed, or its kernel panics. What reaches it
afterwards takes no number, and what it answers stands in the log with `n == 0`: neither is a domain
event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

import msgspec

from pagewake.events.types import (
    Control,
    Event,
    GuestPanicked,
    TaskFinished,
    TaskKilled,
    ToShard,
)
from pagewake.scenario.model import Scenario
from pagewake.verify.log_run import PlacedEvent, ShardWindow

Complaint: TypeAlias = Callable[[PlacedEvent, str], None]


class VmSink(Protocol):
    """Takes one VM's events in their total order."""

    def take(self, placed: PlacedEvent) -> None:
        """The next event in the total order, numbered."""

    def complain(self, placed: PlacedEvent, what: str) -> None:
        """An event of the log has no place in the order."""


class VmOrder:
    """Puts one VM's events in order, one window at a time."""

    __slots__ = ("_finished", "_last", "_next_n", "_pending", "_sink", "_tasks", "frozen")

    def __init__(self, tasks: int, sink: VmSink) -> None:
        self._tasks = tasks
        self._sink = sink
        self._pending: deque[PlacedEvent] = deque()
        self._next_n = 1
        self._last: Event | None = None
        self._finished = 0
        self.frozen = False

    def add(self, delivered: Iterable[PlacedEvent], own: Iterable[PlacedEvent]) -> None:
        """Take one window's events: what the host handed out in it, and what the VM emitted."""
        self._pending.extend(sorted(delivered, key=_place))
        for placed in sorted(own, key=_number):
            if placed.event.n == 0:
                self.frozen = True
            else:
                self._own(placed)

    def waiting_ns(self) -> int | None:
        """When the oldest delivery happened whose number is not known yet; None: there is none."""
        self._freeze()
        return self._pending[0].event.at_ns if self._pending and not self.frozen else None

    def finish(self) -> None:
        """The log is over. What still waits was consumed, unless the VM is frozen."""
        self._freeze()
        while self._pending and not self.frozen:
            self._fill()

    def _freeze(self) -> None:
        if isinstance(self._last, TaskFinished | TaskKilled) and self._finished >= self._tasks:
            self.frozen = True
        self.frozen |= isinstance(self._last, GuestPanicked)

    def _own(self, placed: PlacedEvent) -> None:
        event = placed.event
        pending = self._pending
        while pending and self._next_n < event.n:
            self._fill()
        if event.n > self._next_n:
            gap = f"n={self._next_n}"
            if event.n - 1 > self._next_n:
                gap += f" to {event.n - 1}"
            self._sink.complain(placed, f"{gap} missing: nothing that the host sent fills the gap")
        elif event.n < self._next_n:
            self._sink.complain(placed, f"n={event.n} comes again, or takes a delivery's place")
            return
        while pending and pending[0].event.at_ns < event.at_ns:
            late = pending.popleft()
            name = type(late.event).__name__
            self._sink.complain(
                late, f"{name} at {late.event.at_ns} ns took no number, but was due"
            )
        self._emit(placed)

    def _fill(self) -> None:
        placed = self._pending.popleft()
        numbered = msgspec.structs.replace(placed.event, n=self._next_n)
        self._emit(placed._replace(event=numbered))

    def _emit(self, placed: PlacedEvent) -> None:
        event = placed.event
        self._last = event
        if type(event) in (TaskFinished, TaskKilled):
            self._finished += 1
        self._next_n = event.n + 1
        self._sink.take(placed)


class HostOrder:
    """The VMs of one simulated host; `stray` is told of events that are none of theirs."""

    def __init__(
        self, tasks: Mapping[str, int], sinks: Mapping[str, VmSink], stray: Complaint
    ) -> None:
        self._sinks = sinks
        self._stray = stray
        self._sources: dict[str, str] = {}
        self.orders = {name: VmOrder(tasks[name], sink) for name, sink in sinks.items()}

    def feed(self, window: ShardWindow) -> None:
        """Sort one shard's window into the orders of its VMs."""
        delivered = self._by_vm(window.delivered)
        own = self._by_vm(window.own)
        for name in dict.fromkeys((*delivered, *own)):
            source = self._sources.setdefault(name, window.source)
            if source != window.source:
                first = (own.get(name) or delivered[name])[0]
                self._sinks[name].complain(first, f"is a VM of {source}, not of {window.source}")
            self.orders[name].add(delivered.get(name, ()), own.get(name, ()))

    def waiting_ns(self) -> int | None:
        """When the oldest delivery of all VMs happened that still waits for its place."""
        waiting = (order.waiting_ns() for order in self.orders.values())
        return min((at_ns for at_ns in waiting if at_ns is not None), default=None)

    def finish(self) -> None:
        for order in self.orders.values():
            order.finish()

    def _by_vm(self, events: list[PlacedEvent]) -> dict[str, list[PlacedEvent]]:
        found: dict[str, list[PlacedEvent]] = {}
        for placed in events:
            name = placed.event.vm
            if name in self.orders:
                found.setdefault(name, []).append(placed)
            else:
                self._stray(placed, "is of no VM of this host")
        return found


def tasks_by_vm(scenario: Scenario, host: int) -> dict[str, int]:
    """The VMs of a host, and how many tasks each must finish, or lose, to be over."""
    return {
        vm.name: sum(task.count for task in vm.spec.tasks)
        for vm in scenario.instances()
        if vm.host == host
    }


def _place(placed: PlacedEvent) -> tuple[int, bool, int]:
    event = placed.event
    assert isinstance(event, ToShard)
    return event.at_ns, not isinstance(event, Control), getattr(event, "vcpu", -1)


def _number(placed: PlacedEvent) -> int:
    return placed.event.n
