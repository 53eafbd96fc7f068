"""The invariants of `verify` over the orders that were walked.

Every state was reached first by one order; together these are a tree.  Its steps are made once
more, and the events of every order that ends in a leaf go through the checkers that read logs.  So
each state is looked at, in one of the orders that lead to it.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from pagewake.events.types import Event, TaskSlept, TaskWoken
from pagewake.explore.expand import Copy, Walker, choice_at
from pagewake.explore.machine import Choice
from pagewake.explore.properties import Broken
from pagewake.explore.search import Found, Plan
from pagewake.explore.space import NO_STATE, Space
from pagewake.verify.invariants import Reporter, Rules, VmChecks, rules_of


class _Node(NamedTuple):
    """A state on the way to a leaf: its copy, and what was written down to get there."""

    state: int
    depth: int
    copy: Copy
    events: list[Event]
    now_ns: int
    n: int


def broken_invariants(plan: Plan, space: Space) -> dict[str, Found]:
    """By their names, the first order that breaks each."""
    kernel = plan.scenario.kernel
    rules = rules_of(kernel.switches(0), kernel.switches(1), apf=kernel.guest_apf)
    found: dict[str, Found] = {}
    for state, booted, events in _leaves(plan, space):
        for name, message in _complaints(plan, rules, events):
            if name not in found:
                path = [*booted, *space.path(state)]
                found[name] = Found(Broken(name, message), path)
    return found


def _complaints(plan: Plan, rules: Rules, events: list[Event]) -> Iterator[tuple[str, str]]:
    reporter = Reporter(limit=20)
    checks = VmChecks(plan.scenario.instances()[0].name, rules, reporter)
    for event in _with_waits(events):
        checks.feed(event)
    checks.finish()
    for violation in reporter.found:
        yield violation.invariant, violation.message


def _with_waits(events: list[Event]) -> Iterator[Event]:
    """The events with the time that sleepers slept: the machine keeps no instants."""
    slept_ns: dict[str, int] = {}
    for event in events:
        if isinstance(event, TaskSlept):
            slept_ns[event.task] = event.at_ns
        if isinstance(event, TaskWoken):
            waited_ns = event.at_ns - slept_ns.get(event.task, event.at_ns)
            yield msgspec.structs.replace(event, waited_ns=waited_ns)
        else:
            yield event


def _leaves(plan: Plan, space: Space) -> Iterator[tuple[int, list[Choice], list[Event]]]:
    """Each leaf, how CPUs started, and all events on the way to it."""
    walker = Walker(plan.scenario, plan.properties, reduce=plan.reduce)
    walker.machine.alike = []  # each task keeps its name on its way through the log
    written: list[Event] = []
    booted = walker.boot(written)
    root = _Node(0, 0, walker.copy(), *_placed(written, 0, 1))
    children: dict[int, list[int]] = {}
    for state, parent in enumerate(space.parents):
        if parent != NO_STATE:
            children.setdefault(parent, []).append(state)
    way: list[list[Event]] = []
    stack = [root]
    while stack:
        node = stack.pop()
        del way[node.depth :]
        way.append(node.events)
        below = children.get(node.state, ())
        if not below:
            yield node.state, booted, [event for events in way for event in events]
        values = marshal.loads(node.copy)  # noqa: S302 - written by this process
        for state in below:
            walker.fill(values)
            walker.step(choice_at(space.codes[state]))
            made = _placed(walker.machine.written(), node.now_ns, node.n)
            stack.append(_Node(state, node.depth + 1, walker.copy(), *made))


def _placed(events: list[Event], now_ns: int, n: int) -> tuple[list[Event], int, int]:
    """The events at the instants and with the numbers that they have on this way."""
    placed = [
        msgspec.structs.replace(event, n=n + number, at_ns=now_ns + event.at_ns)
        for number, event in enumerate(events)
    ]
    last_ns = placed[-1].at_ns if placed else now_ns
    return placed, last_ns, n + len(placed)
