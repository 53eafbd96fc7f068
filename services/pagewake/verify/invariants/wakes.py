"""Of a host's and its guest's recording, joined: what one side told, the other did.

The guest waits for a token that it was told of, and wakes one whose READY it was sent; and as a
vcpu takes its READYs one after another, each wakes (or leaves a dummy) before a later one does.
Of tokens that were told before the recording began nothing is asked, and that something is missing
on the side of the host is only said once it tells of that vcpu again.  Within a run `sleepers` and
`I6` hold all of this.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

from pagewake.events.types import (
    ApfPresented,
    DummyConsumed,
    DummyInserted,
    DummyUnlinked,
    Event,
    MsrWritten,
    PageNotPresent,
    SleeperFreed,
    TaskSlept,
    TaskWoken,
)
from pagewake.verify.invariants.base import (
    MSR_ASYNC_PF_EN,
    Checker,
    Handler,
    Reporter,
    is_before,
    token_name,
)
from pagewake.verify.invariants.rules import Rules

VCPU_OF_TOKEN = 0xFFF
TOLD_MAX = 1 << 17
"""Tokens that were told, the oldest of which are forgotten first."""


class Wakes(Checker):
    """Follows each token from the host to the guest."""

    name = "wake"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._told: dict[int, bool] = {}  # whether its READY was sent
        self._first: dict[int, int] = {}  # by vcpu
        self._doubts: dict[int, list[tuple[Event, str]]] = defaultdict(list)
        self._due: dict[int, deque[int]] = defaultdict(deque)

    def handlers(self) -> Mapping[type[Event], Handler]:
        if not self.rules.joined:
            return {}
        return {
            PageNotPresent: self._not_present,
            ApfPresented: self._presented,
            MsrWritten: self._written,
            **dict.fromkeys((TaskSlept, DummyConsumed, SleeperFreed), self._waits),
            **dict.fromkeys((TaskWoken, DummyInserted, DummyUnlinked), self._wakes),
        }

    def _not_present(self, event: PageNotPresent) -> None:
        self._tells(event.vcpu)
        if event.delivery == "injected" and event.token is not None:
            self._told[event.token] = False
            self._first.setdefault(event.vcpu, event.token)
            if len(self._told) > TOLD_MAX:
                del self._told[next(iter(self._told))]

    def _presented(self, event: ApfPresented) -> None:
        self._tells(event.vcpu)
        if event.delivery == "token":
            self._told[event.token] = True
            self._due[event.vcpu].append(event.token)

    def _tells(self, vcpu: int) -> None:
        """The host's recording goes on: what is not in it was not."""
        for event, what in self._doubts.pop(vcpu, ()):
            self.fail(event, f"{what} (n={event.n})")

    def _written(self, event: MsrWritten) -> None:
        if event.msr == MSR_ASYNC_PF_EN:  # a READY that it did not take by then it never takes
            self._due.pop(event.vcpu, None)

    def _waits(self, event: TaskSlept | DummyConsumed | SleeperFreed) -> None:
        vcpu = event.token & VCPU_OF_TOKEN
        first = self._first.get(vcpu)
        if first is None or event.token in self._told or is_before(event.token >> 12, first >> 12):
            return
        name = token_name(event.token)
        what = f"{event.task} waits for {name}, of which the host told nobody"
        self._doubts[vcpu].append((event, what))

    def _wakes(self, event: TaskWoken | DummyInserted | DummyUnlinked) -> None:
        if not isinstance(event, DummyInserted) and event.how != "token":
            return
        token = event.token
        vcpu = token & VCPU_OF_TOKEN
        if self._told.get(token) is False:
            what = f"{token_name(token)} is woken, whose READY the host has not sent"
            self._doubts[vcpu].append((event, what))
        due = self._due[vcpu]
        while token in due and (first := due.popleft()) != token:
            self.fail(event, f"READY of {token_name(first)} woke nobody, and a later one has")
