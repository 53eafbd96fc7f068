"""I5: ready in order of completion, not-present in order of fault, per vcpu.

`done` is first in, first out, the broadcast item included (semantics 3.6, 3.7, 3.10); the exception
slot holds one not-present at a time, so they reach the guest in the order of the faults (semantics
3.5, 3.9).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    BroadcastQueued,
    Event,
    ExceptionDropped,
    ExceptionInjected,
    PageNotPresent,
    WorkerCompleted,
)
from pagewake.verify.invariants.base import (
    BROADCAST_TOKEN,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules


class FirstInFirstOut(Checker):
    """Order of completions and of injections."""

    name = "I5"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._done: dict[int, deque[int]] = {}
        self._told: dict[int, deque[int]] = {}
        self._loose: set[int] = set()

    def handlers(self) -> Mapping[type[Event], Handler]:
        return {
            WorkerCompleted: self._completed,
            BroadcastQueued: self._broadcast,
            ApfPresented: self._presented,
            ApfCleared: self._cleared,
            PageNotPresent: self._not_present,
            ExceptionInjected: self._left_the_slot,
            ExceptionDropped: self._left_the_slot,
        }

    def _completed(self, event: WorkerCompleted) -> None:
        if event.doubt is not None:
            self._loose.add(event.token)
            return
        self._done.setdefault(event.vcpu, deque()).append(event.token)

    def _broadcast(self, event: BroadcastQueued) -> None:
        self._done.setdefault(event.vcpu, deque()).append(BROADCAST_TOKEN)

    def _presented(self, event: ApfPresented) -> None:
        if event.token in self._loose:
            self._loose.remove(event.token)
            return
        done = self._done.setdefault(event.vcpu, deque())
        if self.rules.partial and event.token not in done:
            return  # `I1` says whether that can be
        head = _take(done, event.token, skips=self.rules.partial)
        if head is not None:
            self.fail(event, f"presented {token_name(event.token)} with {head} at the head of done")

    def _cleared(self, event: ApfCleared) -> None:
        self._done.pop(event.vcpu, None)

    def _not_present(self, event: PageNotPresent) -> None:
        if event.delivery == "injected" and event.token is not None:
            self._told.setdefault(event.vcpu, deque()).append(event.token)

    def _left_the_slot(self, event: ExceptionInjected | ExceptionDropped) -> None:
        if event.kind != "not_present":
            return
        head = _take(self._told.setdefault(event.vcpu, deque()), event.token)
        if head is not None:
            self.fail(event, f"not-present {token_name(event.token)} out of order: {head} is due")


def _take(queue: deque[int], token: int, *, skips: bool = False) -> str | None:
    """Take a token out of a queue; if it was not at the head, the name of what is there.

    `skips`: what stood before it is gone too, because its line may be missing.
    """
    if queue and queue[0] == token:
        queue.popleft()
        return None
    head = token_name(queue[0]) if queue else "nothing"
    if skips:
        while queue.popleft() != token:
            pass
    elif token in queue:
        queue.remove(token)
    return head
