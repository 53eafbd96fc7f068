"""Token rule (semantics 1.3): token = (id << 12 | vcpu) mod 2^32, ids of a vcpu one after another.

An id is consumed when setup is attempted, even if setup fails for the limit or for memory, and not
by a double fault. Disabling and reset keep the counter; a migrated VM may count afresh. From 5.17
(`token_nonzero`) ids of 0 are skipped, for a slot of 0 is a free one (semantics 1.3, 6).
"""

from __future__ import annotations

from collections.abc import Mapping

from pagewake.events.types import (
    ApfPresented,
    ApfStarted,
    Event,
    KernelReplaced,
    PageNotPresent,
    VmMigrated,
    VmRestored,
)
from pagewake.verify.invariants.base import (
    BROADCAST_TOKEN,
    TOKEN_IDS,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules


class Tokens(Checker):
    """Each vcpu's tokens count up, none left out, none twice."""

    name = "token"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._next: dict[int, int] = {}
        self._fresh: set[int] = set()
        self._first_id = 1 if rules.token_nonzero else 0

    def handlers(self) -> Mapping[type[Event], Handler]:
        recorded: dict[type[Event], Handler] = {ApfPresented: self._presented}
        return (recorded if self.rules.partial else {}) | {
            ApfStarted: self._started,
            PageNotPresent: self._not_present,
            VmMigrated: self._migrated,
            VmRestored: self._migrated,
            KernelReplaced: self._migrated,
        }

    def _started(self, event: ApfStarted) -> None:
        token = event.token
        if event.outcome == "double_fault":
            if token is not None:
                self.fail(event, f"a double fault consumed {token_name(token)}")
            return
        if token is None:
            self._unnamed(event)
            return
        if token & 0xFFF != event.vcpu & 0xFFF:
            self.fail(event, f"{token_name(token)} is not one of vcpu {event.vcpu}")
            return
        self._consume(event, token >> 12)

    def _unnamed(self, event: ApfStarted) -> None:
        """A recording does not show the token of an item that was refused."""
        if not self.rules.partial:
            self.fail(event, f"setup ({event.outcome}) consumed no token")
        elif event.vcpu in self._next:
            self._next[event.vcpu] = (self._next[event.vcpu] + 1) % TOKEN_IDS or self._first_id

    def _presented(self, event: ApfPresented) -> None:
        if event.token != BROADCAST_TOKEN and event.token & 0xFFF != event.vcpu & 0xFFF:
            self.fail(event, f"{token_name(event.token)} is not one of vcpu {event.vcpu}")

    def _consume(self, event: ApfStarted, used: int) -> None:
        due = self._next.get(event.vcpu, used if self.rules.partial else self._first_id)
        restarted = event.vcpu in self._fresh and used == self._first_id
        if used != due and not restarted:
            self.fail(event, f"id {used:#x} used where {due:#x} is due")
        self._fresh.discard(event.vcpu)
        self._next[event.vcpu] = (used + 1) % TOKEN_IDS or self._first_id

    def _not_present(self, event: PageNotPresent) -> None:
        told = event.delivery in ("injected", "untold")
        if told and event.token is None:
            self.fail(event, f"delivery {event.delivery} without a token")

    def _migrated(self, event: VmMigrated | VmRestored | KernelReplaced) -> None:
        self._fresh.update(self._next)
