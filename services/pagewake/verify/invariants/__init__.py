"""The invariants of the protocol, each its own checker, over the events of one VM.

`VmChecks` takes the events one at a time, as a log is read. The checkers see only events, so
whatever produced these is checked alike: a run, a log, a hand-written case in a test.

| name       | what holds                                               | rule                     |
|------------|----------------------------------------------------------|--------------------------|
| `order`    | numbers without gap, time never back                     | design, "Time"           |
| `I1`       | at most 64 items queued, each until it is presented      | semantics 3.4, 3.7, 3.11 |
| `I2`       | hash membership: double faults, no second start          | semantics 3.2, 3.8, 3.11 |
| `I3`       | one pending exception; reason read before the next write | semantics 3.5, 3.9, 2.2  |
| `I4`       | nothing injected where it is not allowed                 | semantics 3.2, 3.5       |
| `I5`       | ready in completion order, not-present in fault order    | semantics 3.6, 3.7       |
| `I6`       | injected not-present and dummies are conserved           | semantics 2.3, 4.8, 4.9  |
| `I7`       | halts end by what may end them                           | semantics 3.9            |
| `ack`      | page-ready interrupts are acknowledged, one by one       | semantics 3.6, 3.7       |
| `token`    | tokens count up per vcpu                                 | semantics 1.3            |
| `sleepers` | the sleeper table, replayed                              | semantics 2.3            |
| `wake`     | what a host tells its guest does (joined recordings)     | read-a-recording.md      |
| `page-in`  | asked once, answered once, not too early                 | design, "Time"           |
| `user`     | user space completes what it took, once; room in rings   | semantics 6.1            |
| `request`  | answered once, by one server, one after another          | how-to/workloads.md      |
"""

from __future__ import annotations

from collections import Counter

from pagewake.events.types import Event
from pagewake.verify.invariants.acks import Acks
from pagewake.verify.invariants.base import Checker, Handler, Reporter, Violation
from pagewake.verify.invariants.conservation import NotPresentLedger
from pagewake.verify.invariants.exception_slot import PendingException, ReasonWord
from pagewake.verify.invariants.fifo import FirstInFirstOut
from pagewake.verify.invariants.gfn_hash import GfnHashMembership
from pagewake.verify.invariants.halts import Halts
from pagewake.verify.invariants.injection import InjectionAllowed
from pagewake.verify.invariants.page_ins import PageIns
from pagewake.verify.invariants.queued import Queued
from pagewake.verify.invariants.requests import Requests
from pagewake.verify.invariants.rules import Rules, rules_of
from pagewake.verify.invariants.sleepers import Sleepers
from pagewake.verify.invariants.tokens import Tokens
from pagewake.verify.invariants.user_faults import UserFaults
from pagewake.verify.invariants.wakes import Wakes

CHECKERS: tuple[type[Checker], ...] = (
    Tokens,
    Queued,
    GfnHashMembership,
    PendingException,
    ReasonWord,
    Acks,
    InjectionAllowed,
    FirstInFirstOut,
    NotPresentLedger,
    Halts,
    Sleepers,
    Wakes,
    PageIns,
    UserFaults,
    Requests,
)


class VmChecks:
    """Runs all checkers over one VM, whose events come in order of `n`, numbered from 1."""

    __slots__ = ("_checkers", "_handlers", "_last", "_reporter", "ledger", "vm")

    def __init__(self, vm: str, rules: Rules, reporter: Reporter) -> None:
        self.vm = vm
        self.ledger: Counter[str] = Counter()
        self._reporter = reporter
        self._last: Event | None = None
        self._checkers = [checker(rules, reporter) for checker in CHECKERS]
        self._handlers: dict[type[Event], tuple[Handler, ...]] = {}
        for checker in self._checkers:
            if isinstance(checker, NotPresentLedger):
                self.ledger = checker.counts
            for kind, handler in checker.handlers().items():
                self._handlers[kind] = (*self._handlers.get(kind, ()), handler)

    def feed(self, event: Event) -> None:
        """Show the VM's next event to every checker that wants its kind."""
        last = self._last
        if last is not None and (event.n != last.n + 1 or event.at_ns < last.at_ns):
            self._out_of_order(last, event)
        self._last = event
        for handler in self._handlers.get(type(event), ()):
            handler(event)

    def finish(self) -> None:
        """The VM's log is over: report what only the end can tell."""
        if self._last is None:
            return
        for checker in self._checkers:
            checker.finish(self._last)

    def _out_of_order(self, last: Event, event: Event) -> None:
        if event.n != last.n + 1:
            self._reporter.add("order", event, f"n={event.n} follows n={last.n}")
        if event.at_ns < last.at_ns:
            self._reporter.add("order", event, f"time goes back from {last.at_ns} ns")


__all__ = [
    "CHECKERS",
    "Reporter",
    "Rules",
    "Violation",
    "VmChecks",
    "rules_of",
]
