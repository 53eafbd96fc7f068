"""One VM's events in their order, some of which is only known later.

What the guest was told of a fault is seen when its vcpu enters it again; that it wrote an ACK, on a
line that comes after what the ACK brought about.  So a place is held open, what comes behind it
waits, and all of it leaves when the place is filled or given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import dropwhile
from typing import TypeAlias

from pagewake.events.types import Event
from pagewake.recorded.placed import Draft, Finding, Found
from pagewake.verify.log_run import PlacedEvent

HELD_MAX = 50_000
"""So many events wait at most: a vcpu that never runs again keeps a place open for ever."""


class Held:
    """A place held open; `close` says with what, `or_else` when it takes too long."""

    __slots__ = ("content", "open", "or_else")

    def __init__(self, or_else: Callable[[], None]) -> None:
        self.content: list[Draft | Finding] = []
        self.open = True
        self.or_else = or_else

    def close(self, *content: Draft | Finding) -> None:
        self.content = list(content)
        self.open = False


Waiting: TypeAlias = Draft | Finding | Held


class VmOrder:
    """Numbers the events of one VM in the order in which they happened."""

    __slots__ = ("_n", "_waiting", "vm")

    def __init__(self, vm: str) -> None:
        self.vm = vm
        self._n = 0
        self._waiting: deque[Waiting] = deque()

    def add(self, what: Draft | Finding) -> None:
        self._waiting.append(what)

    def hold(self, or_else: Callable[[], None]) -> Held:
        held = Held(or_else)
        self._waiting.append(held)
        return held

    def take_back(self, since: Held, kind: type[Event], vcpu: int) -> None:
        """Leave out the events of a vcpu that hang on what was held open, and stays unknown."""
        for one in dropwhile(lambda one: one is not since, self._waiting):
            if isinstance(one, Held):
                one.content = [
                    each
                    for each in one.content
                    if isinstance(each, Finding) or (each.kind, each.values[0]) != (kind, vcpu)
                ]

    def leave(self, found: list[Found]) -> None:
        """Append what is certain by now."""
        waiting = self._waiting
        while waiting:
            head = waiting[0]
            if isinstance(head, Held):
                if head.open:
                    if len(waiting) <= HELD_MAX:
                        return
                    head.or_else()
                    assert not head.open, "it was given up"
                waiting.popleft()
                found += map(self._numbered, head.content)
            else:
                waiting.popleft()
                found.append(self._numbered(head))

    def _numbered(self, what: Draft | Finding) -> Found:
        if isinstance(what, Finding):
            return what
        self._n += 1
        event = what.kind(what.at_ns, self.vm, self._n, *what.values)
        return PlacedEvent(event, *what.place)
