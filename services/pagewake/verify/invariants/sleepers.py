"""The sleeper table: every wait and wake against a plain model of it (semantics 2.3).

Per token the table is absent, a sleeper, or a dummy. A wait sleeps on an absent token, consumes a
dummy, and takes a second sleeper for a dummy; a wake unlinks a sleeper or a dummy and leaves a
dummy where it finds nothing; wake_all and offline take what was inserted on their own cpu. Each
wake by token needs a trap, or a nested L1's interception of one, that asked for it.

A guest's recording shows the wakes themselves. No kernel waits on a token twice or wakes it twice
of its own accord, so there what the table would make of it is a violation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pagewake.events.types import (
    DummyConsumed,
    DummyInserted,
    DummyUnlinked,
    Event,
    KernelReplaced,
    SleeperFreed,
    TaskSlept,
    TaskWoken,
    TrapTaken,
    VcpuHalted,
    VcpuOffline,
)
from pagewake.verify.invariants.base import (
    BROADCAST_TOKEN,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules

OVER_MAX = 4096
"""Of a recording, tokens whose wait is over: more than are told again by mistake."""


class Sleepers(Checker):
    """Replays the table of sleepers of one VM's guest."""

    name = "sleepers"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._table: dict[int, TaskSlept | DummyInserted] = {}
        self._wakes: Counter[int] = Counter()
        self._broadcast_n: dict[int, int] = {}
        self._any_broadcast_n = 0
        self._going_offline: set[int] = set()
        self._replaced_ns = -1
        self._over: dict[int, int] = {}

    def handlers(self) -> Mapping[type[Event], Handler]:
        return {
            TaskSlept: self._slept,
            TaskWoken: self._woken,
            DummyInserted: self._inserted,
            DummyConsumed: self._consumed,
            DummyUnlinked: self._unlinked,
            SleeperFreed: self._freed,
            TrapTaken: self._trap,
            VcpuOffline: self._offline,
            KernelReplaced: self._replaced,
            VcpuHalted: self._halted,
        }

    # ------------------------------------------------------------------ waits

    def _slept(self, event: TaskSlept) -> None:
        found = self._table.get(event.token)
        if found is not None:
            self.fail(event, f"slept on {token_name(event.token)}, where {_is(found)}")
        self._table[event.token] = event
        self._not_over(event, event.token, "waited for")

    def _consumed(self, event: DummyConsumed) -> None:
        found = self._table.pop(event.token, None)
        if not isinstance(found, DummyInserted):
            self.fail(event, f"consumed a dummy of {token_name(event.token)}, where {_is(found)}")
        self._ends(event, event.token)

    def _freed(self, event: SleeperFreed) -> None:
        found = self._table.pop(event.token, None)
        if not isinstance(found, TaskSlept) or found.task != event.victim:
            self.fail(
                event, f"freed {event.victim} on {token_name(event.token)}, where {_is(found)}"
            )
        elif self.rules.partial:
            self.fail(
                event, f"{event.task} waits for {token_name(event.token)}, where {_is(found)}"
            )

    # ------------------------------------------------------------------ wakes

    def _woken(self, event: TaskWoken) -> None:
        found = self._table.pop(event.token, None)
        if not isinstance(found, TaskSlept) or found.task != event.task:
            self.fail(event, f"woke {event.task} on {token_name(event.token)}, where {_is(found)}")
            return
        if event.waited_ns != event.at_ns - found.at_ns:
            self.fail(
                event, f"{event.task} slept since {found.at_ns} ns, not for {event.waited_ns} ns"
            )
        if event.how == "token":
            self._ends(event, event.token)
        self._needs_cause(event, event.token, event.how, found)

    def _inserted(self, event: DummyInserted) -> None:
        found = self._table.get(event.token)
        if found is not None:
            self.fail(event, f"inserted a dummy of {token_name(event.token)}, where {_is(found)}")
        self._table[event.token] = event
        self._not_over(event, event.token, "woken")
        self._needs_cause(event, event.token, "token", event)

    def _unlinked(self, event: DummyUnlinked) -> None:
        found = self._table.pop(event.token, None)
        if not isinstance(found, DummyInserted):
            self.fail(event, f"unlinked a dummy of {token_name(event.token)}, where {_is(found)}")
            return
        if self.rules.partial and event.how == "token":
            self.fail(event, f"{token_name(event.token)} is woken twice: {_is(found)}")
        self._needs_cause(event, event.token, event.how, found)

    def _ends(self, event: Event, token: int) -> None:
        """Of a recording: its wait and its wake have been."""
        if self.rules.partial:
            self._over[token] = event.n
            if len(self._over) > OVER_MAX:
                del self._over[next(iter(self._over))]

    def _not_over(self, event: Event, token: int, what: str) -> None:
        over_n = self._over.pop(token, None)
        if over_n is not None:
            self.fail(
                event, f"{token_name(token)} is {what} twice: its wait was over at n={over_n}"
            )

    def _needs_cause(
        self, event: Event, token: int, how: str, node: TaskSlept | DummyInserted
    ) -> None:
        if self.rules.partial:
            return
        if how == "token":
            caused = self._take_wake(token)
        elif how == "broadcast":
            caused = self._broadcast_since(node.vcpu, node.n)
        elif event.at_ns == self._replaced_ns:
            caused = True
        elif self.rules.wake_all_everywhere:
            caused = bool(self._going_offline)
        else:
            caused = node.vcpu in self._going_offline
        if not caused:
            self.fail(event, f"{token_name(token)} of vcpu {node.vcpu}: no wake by {how} happened")

    def _broadcast_since(self, vcpu: int, n: int) -> bool:
        if self.rules.wake_all_everywhere:
            return self._any_broadcast_n > n
        return self._broadcast_n.get(vcpu, 0) > n

    def _take_wake(self, token: int) -> bool:
        left = self._wakes[token]
        if left > 1:
            self._wakes[token] = left - 1
        else:
            del self._wakes[token]
        return left > 0

    # ------------------------------------------------------------------ causes

    def _trap(self, event: TrapTaken) -> None:
        if event.handler != "wake":
            return
        token = event.cr2 & 0xFFFFFFFF
        if token == BROADCAST_TOKEN:
            self._broadcast_n[event.vcpu] = self._any_broadcast_n = event.n
        else:
            self._wakes[token] += 1

    def _offline(self, event: VcpuOffline) -> None:
        self._going_offline.add(event.vcpu)

    def _replaced(self, event: KernelReplaced) -> None:
        """CPUs go down, or their kernel is gone with its table."""
        self._replaced_ns = event.at_ns

    def _halted(self, event: VcpuHalted) -> None:
        if event.why == "offline":
            self._going_offline.discard(event.vcpu)


def _is(found: TaskSlept | DummyInserted | None) -> str:
    if found is None:
        return "the table has nothing"
    if isinstance(found, TaskSlept):
        return f"{found.task} sleeps since n={found.n}"
    return f"a dummy stands since n={found.n}"
