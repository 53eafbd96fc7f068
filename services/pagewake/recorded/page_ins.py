"""Page-ins in flight, by the address at which a worker's line knows them.

The line of a completion names neither vcpu nor token.  The same address may be in flight on several
vcpus: the one that was started first is taken, and all of them are ambiguous from then on.  A
worker logs after it has told the vcpu, so the line may come after the READY.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

from pagewake.events.types import CompletionDoubt
from pagewake.recorded.placed import Place

Vcpu = TypeVar("Vcpu")

LATE_MAX = 4096
"""Page-ins whose READY came before the line of their completion; older ones are forgotten."""


class Apf:
    """An asynchronous page fault between its start and its READY.

    `completed` is how often its vcpu had exited when a worker said that it is done; `injected`
    whether the guest was told that the page is absent, `interrupted` whether that it is there.
    """

    __slots__ = (
        "completed",
        "doubt",
        "gva",
        "injected",
        "interrupted",
        "overdue",
        "place",
        "token",
    )

    def __init__(self, token: int, gva: int, place: Place) -> None:
        self.token = token
        self.gva = gva
        self.place = place
        self.completed: int | None = None
        self.doubt: CompletionDoubt | None = None
        self.injected: bool | None = None
        self.interrupted: bool | None = None
        self.overdue = False


class Running(NamedTuple, Generic[Vcpu]):
    """A page-in in flight."""

    vcpu: Vcpu
    apf: Apf


class PageIns(Generic[Vcpu]):
    """Of all VMs of a recording."""

    def __init__(self) -> None:
        self._running: dict[int, list[Running[Vcpu]]] = {}
        self._late: deque[int] = deque(maxlen=LATE_MAX)

    def start(self, vcpu: Vcpu, apf: Apf) -> None:
        self._running.setdefault(apf.gva, []).append(Running(vcpu, apf))

    def end(self, apf: Apf) -> None:
        """It was presented or withdrawn."""
        running = [one for one in self._running.get(apf.gva, ()) if one.apf is not apf]
        if running:
            self._running[apf.gva] = running
        else:
            self._running.pop(apf.gva, None)
        if apf.completed is None:
            self._late.append(apf.gva)

    def complete(self, gva: int) -> Running[Vcpu] | None:
        """The page-in that a worker's line means; None if it is over, or began unseen."""
        if gva in self._late:
            self._late.remove(gva)
            return None
        running = [one for one in self._running.get(gva, ()) if one.apf.completed is None]
        if len(running) > 1:
            for one in running:
                one.apf.doubt = "ambiguous"
        return running[0] if running else None
