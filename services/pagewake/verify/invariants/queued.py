"""I1: a started item is in the queue until it is presented or cleared, and at most 64 are.

Before it is cleared its worker has ended, but for a migration's sake (`clear_waits`).
One broadcast item may come on top; it is queued only while nothing waits in `done` (semantics 3.4,
3.7, 3.10, 3.11). The counter `queued` counts the broadcast item too, so setup is refused earlier
while one waits.
"""

from __future__ import annotations

from collections.abc import Mapping

from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    ApfStarted,
    BroadcastQueued,
    ClearBegun,
    Event,
    UserFault,
    WorkerCompleted,
)
from pagewake.verify.invariants.base import (
    BROADCAST_TOKEN,
    Adoption,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules

ASYNC_PF_PER_VCPU = 64  # the kernel's constant of this name


class _Queue:
    """Items of one vcpu: token to "its worker is done"; and the broadcast item.

    `without`: those that user space resolves, which have no worker.
    """

    __slots__ = ("broadcast", "done", "started", "without")

    def __init__(self) -> None:
        self.started: dict[int, bool] = {}
        self.without: set[int] = set()
        self.done = 0
        self.broadcast = False

    @property
    def running(self) -> list[int]:
        return [
            token for token, done in self.started.items() if not (done or token in self.without)
        ]

    @property
    def queued(self) -> int:
        return len(self.started) + self.broadcast


class Queued(Checker):
    """Bounded queue, and every item accounted for."""

    name = "I1"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._vcpus: dict[int, _Queue] = {}
        self._adoption = Adoption() if rules.partial else None

    def handlers(self) -> Mapping[type[Event], Handler]:
        return {
            ApfStarted: self._started,
            UserFault: self._user_fault,
            WorkerCompleted: self._completed,
            BroadcastQueued: self._broadcast,
            ApfPresented: self._presented,
            ClearBegun: self._clear_begun,
            ApfCleared: self._cleared,
        }

    def _queue(self, vcpu: int) -> _Queue:
        return self._vcpus.setdefault(vcpu, _Queue())

    def _started(self, event: ApfStarted) -> None:
        queue = self._queue(event.vcpu)
        full = queue.queued >= ASYNC_PF_PER_VCPU
        if event.outcome == "limit" and not full:
            self.fail(event, f"refused for the limit with {queue.queued} items queued")
        if event.outcome != "queued":
            return
        if full:
            self.fail(event, f"an item was queued on top of {queue.queued}; the limit is 64")
        if event.token is None or event.token in queue.started:
            self.fail(event, f"an item with {token_name(event.token)} cannot be queued (again)")
            return
        queue.started[event.token] = False
        if self._adoption is not None and not self._adoption.started(event.vcpu, event.token):
            self.fail(event, f"{token_name(event.token)} is started, after a READY that was later")

    def _user_fault(self, event: UserFault) -> None:
        self._queue(event.vcpu).without.add(event.token)

    def _completed(self, event: WorkerCompleted) -> None:
        queue = self._queue(event.vcpu)
        done = queue.started.get(event.token)
        if done is None:
            self.fail(event, f"completed, but {token_name(event.token)} is not queued")
        elif done:
            self.fail(event, f"{token_name(event.token)} completed twice")
        else:
            queue.started[event.token] = True
            queue.done += 1

    def _broadcast(self, event: BroadcastQueued) -> None:
        queue = self._queue(event.vcpu)
        if queue.broadcast or queue.done:
            self.fail(event, "a broadcast was queued while completions wait in done")
        queue.broadcast = True

    def _presented(self, event: ApfPresented) -> None:
        queue = self._queue(event.vcpu)
        if event.token == BROADCAST_TOKEN:
            if not queue.broadcast:
                self.fail(event, "a broadcast was presented that nobody queued")
            queue.broadcast = False
            return
        done = queue.started.pop(event.token, None)
        queue.without.discard(event.token)
        if done is None:
            if self._adoption is None or not self._adoption.presented(event.vcpu, event.token):
                self.fail(event, f"presented, but {token_name(event.token)} is not queued")
        elif not done:
            self.fail(event, f"{token_name(event.token)} was presented before its worker finished")
        else:
            queue.done -= 1

    def _clear_begun(self, event: ClearBegun) -> None:
        running = self._queue(event.vcpu).running
        if not running or event.tokens != running:
            waits, run = (
                ", ".join(map(token_name, of)) or "none" for of in (event.tokens, running)
            )
            self.fail(event, f"clearing waits for the workers of {waits}, but those of {run} run")

    def _cleared(self, event: ApfCleared) -> None:
        queue = self._queue(event.vcpu)
        if queue.running and self.rules.clear_waits and event.why != "migration":
            run = ", ".join(map(token_name, queue.running))
            self.fail(event, f"cleared while the workers of {run} run")
        for token in event.tokens:
            known = queue.broadcast if token == BROADCAST_TOKEN else token in queue.started
            if not known:
                self.fail(event, f"{token_name(token)} was withdrawn, but is not queued")
            if token == BROADCAST_TOKEN:
                queue.broadcast = False
            else:
                queue.started.pop(token, None)
        if queue.started or queue.broadcast:
            left = [*map(token_name, queue.started), *(["broadcast"] if queue.broadcast else [])]
            self.fail(event, f"clearing left {', '.join(left)} in the queue")
        self._vcpus[event.vcpu] = _Queue()
