"""`user`: where user space brings pages, it completes what it took, once, and rings have room.

A fault is told by an entry of its vcpu's ring, or in an exit if that is full.  What is accepted is
taken once and completed after that; what is not accepted is never taken, and complete as the vcpu
runs again.  What a crash lost stays lost (semantics 6.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pagewake.events.types import (
    ApfCleared,
    Event,
    KernelReplaced,
    PageRequested,
    UserFault,
    UserFaultLost,
    VmMigrated,
    VmRestored,
    WorkerCompleted,
)
from pagewake.verify.invariants.base import Checker, Handler, Reporter, token_name
from pagewake.verify.invariants.rules import Rules


class _Told:
    """A fault that user space knows of."""

    __slots__ = ("event", "lost", "taken")

    def __init__(self, event: UserFault) -> None:
        self.event = event
        self.taken = False
        self.lost = False


class UserFaults(Checker):
    """Every fault told to user space, until it is complete, withdrawn or lost."""

    name = "user"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._told: dict[int, _Told] = {}
        self._in_ring: Counter[int] = Counter()
        self._untaken: dict[int, int] = {}
        self._epoch = 0

    def handlers(self) -> Mapping[type[Event], Handler]:
        return {
            UserFault: self._fault,
            PageRequested: self._requested,
            WorkerCompleted: self._completed,
            UserFaultLost: self._lost,
            ApfCleared: self._cleared,
            VmMigrated: self._new_vcpus,
            VmRestored: self._new_vcpus,
            KernelReplaced: self._replaced,
        }

    def _fault(self, event: UserFault) -> None:
        used = self._in_ring[event.vcpu]
        room = self.rules.user_apf == "ring" and used < self.rules.user_apf_room
        if event.ring != room:
            how = "in the ring" if event.ring else "in an exit"
            self.fail(event, f"told {how}, with {used} entries in it")
        if event.ring:
            self._in_ring[event.vcpu] += 1
            self._untaken[event.token] = event.vcpu
            if not event.accepted:
                self.fail(event, "an entry of the ring is accepted as it is written")
        self._told[event.token] = _Told(event)

    def _requested(self, event: PageRequested) -> None:
        if event.token is None or event.epoch != self._epoch:
            return
        if event.token in self._untaken:
            self._in_ring[self._untaken.pop(event.token)] -= 1
        told = self._told.get(event.token)
        if told is None:
            return  # withdrawn meanwhile
        if told.taken:
            self.fail(event, f"{token_name(event.token)} was taken twice")
        told.taken = True

    def _completed(self, event: WorkerCompleted) -> None:
        told = self._told.pop(event.token, None)
        if told is None:
            return  # the kernel's own
        if told.lost:
            self.fail(event, f"{token_name(event.token)} completed, which a crash had lost")
        elif not told.taken:
            self.fail(event, f"{token_name(event.token)} completed before user space took it")

    def _lost(self, event: UserFaultLost) -> None:
        told = self._told.get(event.token)
        if told is None or not told.taken:
            self.fail(event, f"{token_name(event.token)} is lost, but nobody had taken it")
        else:
            told.lost = True

    def _cleared(self, event: ApfCleared) -> None:
        for token in event.tokens:
            self._told.pop(token, None)

    def _replaced(self, event: KernelReplaced) -> None:
        if event.how == "hibernate":
            self._new_vcpus(event)

    def _new_vcpus(self, event: VmMigrated | VmRestored | KernelReplaced) -> None:
        self._told.clear()
        self._in_ring.clear()
        self._untaken.clear()
        self._epoch += 1
