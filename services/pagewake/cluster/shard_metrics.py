"""The metrics of shards, one entry each: what it is, its labels, and which events move it.

A `Count` goes up by one for each event that gives label values; a `Level` goes up and down; a
`Spread` takes a time in ns or a number.  Adding a metric is adding an entry: the tally of a shard
is fed by it, the scrape and the reference page read it.

A label's values are a closed set, shown from the start of a run at zero, or `OPEN`: they appear
when they first happen.  Names of the events' own closed sets stand in `events/types.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, Final, NamedTuple, TypeAlias, get_args

from pagewake.events import types as ev
from pagewake.nested_svm.exit_codes import NAMES
from pagewake.scenario.interventions import INTERVENTIONS

Labels: TypeAlias = tuple[str, ...]

OPEN: Final = None
TIMES_NS = range(10, 37)
"""Powers of two of nanoseconds that histograms of times show: 1 us to 69 s."""
_WAITS = ("slept", "early_ready", "halted")
_REASONS: dict[ev.TrapHandler, str] = {
    "page_fault": "fault",
    "wait": "not_present",
    "wake": "ready",
}
"""What sends a trap to its handler is the reason that it read."""
_ROUTERS = ("L0", "L1")
"""Who routes the exits of a nested guest."""


class Count(NamedTuple):
    """A counter; `moved_by` gives the label values of an event, None if it does not count."""

    name: str
    text: str
    labels: Mapping[str, tuple[str, ...] | None]
    moved_by: Mapping[type[ev.Event], Callable[[Any], Labels | None]]

    def known(self) -> Iterator[Labels]:
        """Label values that are shown from the start."""
        closed = [values for values in self.labels.values() if values is not OPEN]
        return product(*closed) if len(closed) == len(self.labels) else iter(())


class Level(NamedTuple):
    """A gauge that events move by +1 or -1."""

    name: str
    text: str
    moved_by: Mapping[type[ev.Event], int]


class Spread(NamedTuple):
    """A histogram over powers of two of what events measure; `unit` of one, `shown` powers."""

    name: str
    text: str
    unit: float
    shown: range
    moved_by: Mapping[type[ev.Event], Callable[[Any], int]]


def _delivery(event: ev.PageNotPresent) -> Labels | None:
    return None if event.first_touch else (event.delivery,)


def _synchronous(event: ev.PageNotPresent) -> Labels | None:
    if event.first_touch or event.delivery != "synchronous":
        return None
    assert event.why is not None
    return (event.why,)


def _nobody_told(event: ev.PageReady) -> Labels | None:
    """A page-in with a token counts when it is presented; this one the guest never hears of."""
    return ("synchronous",) if event.token is None and not event.ahead else None


def _exit(event: ev.ExitRouted) -> Labels:
    return _ROUTERS[event.level], NAMES.get(event.exit_code, "other"), event.route


COUNTS = (
    Count(
        "guest_task_waits", "Outcomes of task_wait", {"outcome": _WAITS},
        {
            ev.TaskSlept: lambda event: ("halted",) if event.halted else ("slept",),
            ev.DummyConsumed: lambda _: ("early_ready",),
        },
    ),
    Count(
        "guest_task_wakes", "Tasks woken", {"how": get_args(ev.WakeHow)},
        {ev.TaskWoken: lambda event: (event.how,)},
    ),
    Count(
        "guest_traps", "Traps taken by guest handlers, by the reason they read",
        {"reason": tuple(_REASONS.values())},
        {ev.TrapTaken: lambda event: (_REASONS[event.handler],)},
    ),
    Count(
        "kvm_halts", "Vcpus halted", {"why": get_args(ev.HaltWhy)},
        {ev.VcpuHalted: lambda event: (event.why,)},
    ),
    Count(
        "kvm_double_faults", "Faults on a gfn in the vcpu's own gfn hash", {},
        {ev.DoubleFault: lambda _: ()},
    ),
    Count(
        "kvm_injections", "Events injected into guests", {"event": get_args(ev.ApfKind)},
        dict.fromkeys((ev.ExceptionInjected, ev.InterruptQueued), lambda event: (event.kind,)),
    ),
    Count(
        # 150 exit codes by level and route: most of them never happen.
        "nested_exits", "Exits of nested guests, by where they went",
        {"level": _ROUTERS, "exit": OPEN, "route": get_args(ev.Route)},
        {ev.ExitRouted: _exit},
    ),
    Count(
        "nested_vmexits", "Exits synthesized into a guest hypervisor",
        {"reason": get_args(ev.VmexitReason)},
        {ev.NestedVmexit: lambda event: (event.reason,)},
    ),
    Count(
        "page_not_present", "Touches of absent pages, by what the guest was told",
        {"delivery": get_args(ev.Delivery)},
        {ev.PageNotPresent: _delivery, ev.SyncFault: lambda _: ("synchronous",)},
    ),
    Count(
        "page_synchronous", "Synchronous touches of absent pages, by why they were",
        {"why": get_args(ev.SyncWhy)},
        {ev.PageNotPresent: _synchronous},
    ),
    Count(
        "page_ready", "Page-ins completed, by what the guest was told",
        {"delivery": (*get_args(ev.ReadyDelivery), "synchronous")},
        {
            ev.ApfPresented: lambda event: (event.delivery,),
            ev.PageReady: _nobody_told,
            ev.SyncFault: lambda _: ("synchronous",),
        },
    ),
    Count(
        "interventions", "Events of the scenario and of commands, by VM",
        {"do": tuple(INTERVENTIONS.values())},
        dict.fromkeys(INTERVENTIONS, lambda event: (INTERVENTIONS[type(event)],)),
    ),
)  # fmt: skip

LEVELS = (
    Level(
        "guest_sleepers", "Tasks asleep in task_wait",
        {ev.TaskSlept: 1, ev.TaskWoken: -1, ev.SleeperFreed: -1},
    ),
    Level(
        "guest_dummies", "Dummies in the sleeper hashes",
        {ev.DummyInserted: 1, ev.DummyConsumed: -1, ev.DummyUnlinked: -1},
    ),
)  # fmt: skip

WINDOW_EVENTS = Spread(
    "window_events", "Domain events of a shard's window", 1, range(21), moved_by={}
)
"""Moved by a window, whatever its events are."""
SPREADS = (
    Spread(
        "guest_wait_sim_seconds", "How long woken tasks had slept", 1e-9, TIMES_NS,
        {ev.TaskWoken: lambda event: int(event.waited_ns)},
    ),
    WINDOW_EVENTS,
)  # fmt: skip
