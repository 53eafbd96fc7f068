"""What every checker shares: how it is fed, and how it complains.

A checker knows one invariant. It sees the events of one VM, in order of `n`, and nothing else: no
state of the system under test. It names the event types it wants in `handlers`, keeps the little
model it needs, and reports a `Violation` where the log contradicts the model. After a violation
it goes on as the log says, so that one fault is reported once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias

import msgspec

from pagewake.events.types import Event
from pagewake.verify.invariants.rules import Rules

# The interface between host and guest, written down again: checks share no rule with the system.
BROADCAST_TOKEN = 0xFFFFFFFF
MSR_ASYNC_PF_EN = 0x4B564D02
MSR_ASYNC_PF_ACK = 0x4B564D07

Handler: TypeAlias = Callable[[Any], None]


class Violation(msgspec.Struct, frozen=True):
    """One contradiction between the log and an invariant; `where` is `file:line`, if known."""

    invariant: str
    vm: str
    n: int
    at_ns: int
    vcpu: int | None
    event: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        vcpu = "" if self.vcpu is None else f"/vcpu {self.vcpu}"
        return (
            f"{place}{self.invariant}: {self.message} "
            f"({self.event} n={self.n} at {self.at_ns} ns, {self.vm}{vcpu})"
        )


class Located(Protocol):
    """Something that knows its place in a log."""

    @property
    def where(self) -> str:
        """Its place as `file:line`."""
        ...


class Reporter:
    """Collects violations, at most `limit` of them; the rest is only counted."""

    __slots__ = ("found", "limit", "place", "suppressed")

    def __init__(self, limit: int = 1000) -> None:
        self.found: list[Violation] = []
        self.limit = limit
        self.suppressed = 0
        self.place: Located | None = None

    def add(self, invariant: str, event: Event, message: str) -> None:
        """Report `message` about `event`, at the place that is being read."""
        if len(self.found) >= self.limit:
            self.suppressed += 1
            return
        self.found.append(
            Violation(
                invariant=invariant,
                vm=event.vm,
                n=event.n,
                at_ns=event.at_ns,
                vcpu=getattr(event, "vcpu", None),
                event=type(event).__name__,
                message=message,
                where="" if self.place is None else self.place.where,
            )
        )


class Checker(ABC):
    """Checks one invariant over one VM's events."""

    name: ClassVar[str]

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        self.rules = rules
        self.reporter = reporter

    @abstractmethod
    def handlers(self) -> Mapping[type[Event], Handler]:
        """Event types this checker wants, and what it does with each."""

    def finish(self, last: Event) -> None:  # noqa: B027 - most have nothing left to say
        """The VM's log is over; `last` is its last event."""

    def fail(self, event: Event, message: str) -> None:
        """Report a violation of this checker's invariant."""
        self.reporter.add(self.name, event, message)


TOKEN_IDS = 1 << 20
"""What 32 bits leave beside the 12 of the vcpu."""


class Adoption:
    """Of a partial recording: page faults from before it began, whose READY comes in it.

    Ids of a vcpu count up, so such a token has a smaller one than the first that is started; each
    comes once.
    """

    __slots__ = ("_adopted", "_first")

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._adopted: dict[int, set[int]] = {}

    def started(self, vcpu: int, token: int) -> bool:
        """A start; False if the first of its vcpu was adopted before, as if it had been earlier."""
        if vcpu in self._first:
            return True
        first = self._first[vcpu] = token >> 12
        return all(is_before(one >> 12, first) for one in self._adopted.get(vcpu, ()))

    def presented(self, vcpu: int, token: int) -> bool:
        """Whether a READY that nothing in the recording explains is one from before it."""
        adopted = self._adopted.setdefault(vcpu, set())
        first = self._first.get(vcpu)
        if token in adopted or (first is not None and not is_before(token >> 12, first)):
            return False
        adopted.add(token)
        return True


def is_before(used: int, first: int) -> bool:
    """Whether a vcpu used one id before the other; ids count up, and begin anew."""
    return 0 < (first - used) % TOKEN_IDS < TOKEN_IDS // 2


def token_name(token: int | None) -> str:
    """A token as a person reads it."""
    if token is None:
        return "no token"
    return "broadcast" if token == BROADCAST_TOKEN else f"token {token:#x}"
