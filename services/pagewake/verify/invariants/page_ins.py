"""Page-ins: asked once, answered once, and never earlier than the lookahead allows.

A fault on a gfn that is in flight joins it and needs no answer; every other one is answered by one
`PageReady` at its instant plus the lookahead or later (design, "Lookahead"), and by one for each
page that is read beside its own. A page-in goes
on when its tokens are withdrawn, so migration and clearing change nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping

from pagewake.events.types import (
    Event,
    PageNotPresent,
    PageReady,
    PageRequested,
    PagesPushed,
    WorkerCompleted,
)
from pagewake.verify.invariants.base import Checker, Handler, Reporter, token_name
from pagewake.verify.invariants.rules import Rules


class PageIns(Checker):
    """Requests for a gfn, those that join them, and the answers match."""

    name = "page-in"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._in_flight: dict[int, PageNotPresent | PageRequested] = {}

    def handlers(self) -> Mapping[type[Event], Handler]:
        if self.rules.partial:
            return {}  # a recording shows no answers
        return {
            PageNotPresent: self._not_present,
            PageRequested: self._requested,
            PageReady: self._ready,
            PagesPushed: self._pushed,
            WorkerCompleted: self._completed,
        }

    def _not_present(self, event: PageNotPresent) -> None:
        if not event.user:
            self._asked(event)

    def _requested(self, event: PageRequested) -> None:
        """User space asks for a page once, and joins whoever wants it to that by itself."""
        if event.ahead:
            self._asked_beside(event)
        elif not event.joined:
            self._asked(event)

    def _asked(self, event: PageNotPresent | PageRequested) -> None:
        if event.served:
            return
        asked = self._in_flight.get(event.gfn)
        if event.joined and asked is None:
            self.fail(event, f"joined a page-in of gfn {event.gfn:#x} that is not in flight")
        elif not event.joined and asked is not None:
            self.fail(event, f"gfn {event.gfn:#x} requested again; in flight since n={asked.n}")
        if not event.joined:
            self._in_flight[event.gfn] = event
            if isinstance(event, PageNotPresent):
                self._asked_beside(event)

    def _asked_beside(self, event: PageNotPresent | PageRequested) -> None:
        """Pages that are read with one fault; that of a `PageNotPresent` itself is asked for."""
        itself = event.gfn if isinstance(event, PageNotPresent) else None
        for gfn in (gfn for gfns in event.ahead for gfn in gfns if gfn != itself):
            if (asked := self._in_flight.get(gfn)) is not None:
                self.fail(event, f"gfn {gfn:#x} read ahead; in flight since n={asked.n}")
            self._in_flight[gfn] = event

    def _ready(self, event: PageReady) -> None:
        asked = self._in_flight.pop(event.gfn, None)
        if asked is None:
            self.fail(event, f"answer for gfn {event.gfn:#x}, which is not in flight")
            return
        earliest_ns = asked.at_ns + self.rules.lookahead_ns
        if event.at_ns < earliest_ns:
            self.fail(
                event,
                f"answer to n={asked.n} at {event.at_ns} ns, before its cause plus the "
                f"lookahead of {self.rules.lookahead_ns} ns ({earliest_ns} ns)",
            )

    def _pushed(self, event: PagesPushed) -> None:
        """Had they been asked for before, that would have been answered."""
        for gfn in event.gfns:
            self._in_flight.pop(gfn, None)

    def _completed(self, event: WorkerCompleted) -> None:
        asked = self._in_flight.get(event.gfn)
        if asked is not None:
            self.fail(
                event,
                f"{token_name(event.token)} completed, but the page-in of gfn {event.gfn:#x} "
                f"(n={asked.n}) is still in flight",
            )
