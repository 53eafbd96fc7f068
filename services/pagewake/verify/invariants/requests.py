"""Requests: each is answered once, and a server answers one after another.

A request leaves the queue when it has come and a server is free, so `taken_ns` is neither before
its arrival nor before the server's last answer.  A server takes them by number; numbers follow
arrivals only where these do not depend on answers.
"""

from __future__ import annotations

from collections.abc import Mapping

from pagewake.events.types import Event, RequestDone
from pagewake.verify.invariants.base import Checker, Handler, Reporter
from pagewake.verify.invariants.rules import Rules


class Requests(Checker):
    """Each request once, by one server at a time."""

    name = "request"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._last: dict[str, RequestDone] = {}
        self._answered: dict[str, set[int]] = {}

    def handlers(self) -> Mapping[type[Event], Handler]:
        return {RequestDone: self._done}

    def _done(self, event: RequestDone) -> None:
        if not event.arrived_ns <= event.taken_ns <= event.at_ns:
            self.fail(event, f"came at {event.arrived_ns}, was taken at {event.taken_ns} ns")
        last = self._last.get(event.task)
        if last is not None and event.taken_ns < last.at_ns:
            self.fail(event, f"taken before the answer to request {last.request} of {event.task}")
        if last is not None and event.request <= last.request:
            self.fail(event, f"{event.task} served request {last.request} before")
        self._last[event.task] = event
        answered = self._answered.setdefault(event.task.rpartition("-")[0], set())
        if event.request in answered:
            self.fail(event, f"request {event.request} was answered before")
        answered.add(event.request)
