"""Page-ready interrupts and their acknowledgements, from 5.8 on (semantics 3.6, 3.7).

    interrupts queued = acknowledged + open, at most one open per vcpu

The guest's handler takes the token, zeroes the slot, and writes ACK before it takes another.  The
host writes a slot that reads 0; that it does without an ACK in between takes a token of 0 (before
5.17), a slot that a CPU zeroes as it comes online, or an area that is not the vcpu's own.  A
migrated or restored vcpu forgets what was not acknowledged.  Version 0.1.0 did not write ACKs down.
"""

from __future__ import annotations

from collections.abc import Mapping

from pagewake.events.types import (
    Event,
    InterruptQueued,
    KernelReplaced,
    MsrWritten,
    TrapTaken,
    VcpuResumed,
    VmMigrated,
    VmRestored,
)
from pagewake.guest_kernel.apf_area import area_gpa
from pagewake.kvm.msr import decode_enable
from pagewake.verify.invariants.base import (
    MSR_ASYNC_PF_ACK,
    MSR_ASYNC_PF_EN,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules


class Acks(Checker):
    """One un-acknowledged READY per vcpu, one ACK per handler."""

    name = "ack"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._open: dict[int, InterruptQueued] = {}
        self._due: dict[int, TrapTaken] = {}
        self._elsewhere: set[int] = set()
        self._told: dict[int, int] = {}
        self._place = 0
        self._seen: set[int] = set()

    def handlers(self) -> Mapping[type[Event], Handler]:
        if not (self.rules.ready_by_interrupt and self.rules.acks_in_log):
            return {}
        return {
            InterruptQueued: self._queued,
            TrapTaken: self._trap,
            MsrWritten: self._msr_written,
            VcpuResumed: self._resumed,
            VmMigrated: self._forget,
            VmRestored: self._forget,
            KernelReplaced: self._replaced,
        }

    def _queued(self, event: InterruptQueued) -> None:
        before = self._open.get(event.vcpu)
        if before is not None and before.token and event.vcpu not in self._elsewhere:
            self.fail(
                event,
                f"{token_name(event.token)} queued, but nobody acknowledged "
                f"{token_name(before.token)} (n={before.n})",
            )
        self._open[event.vcpu] = event
        if self.rules.partial:
            self._seen.add(event.vcpu)

    def _trap(self, event: TrapTaken) -> None:
        if event.handler != "wake":
            return
        before = self._due.get(event.vcpu)
        if before is not None:
            self.fail(event, f"no ACK was written for {token_name(before.cr2)} (n={before.n})")
        self._due[event.vcpu] = event

    def _msr_written(self, event: MsrWritten) -> None:
        vcpu = event.vcpu
        if event.msr == MSR_ASYNC_PF_EN and event.stored:
            gpa = decode_enable(event.value).gpa
            if gpa != self._told.get(vcpu, gpa) or self.rules.partial:
                self._open.pop(vcpu, None)
                self._seen.discard(vcpu)  # it may be acknowledged all the same
            self._told[vcpu] = gpa
            own = self.rules.partial or gpa in {0, area_gpa(vcpu, self._place)}
            (self._elsewhere.discard if own else self._elsewhere.add)(vcpu)
        elif event.msr == MSR_ASYNC_PF_ACK and event.ok and event.value & 1:
            if self._open.pop(vcpu, None) is None and vcpu in self._seen:
                self.fail(event, "an ACK was written, and no READY is unacknowledged")
            self._due.pop(vcpu, None)

    def _resumed(self, event: VcpuResumed) -> None:
        if event.why == "online" and self.rules.online_zeroes_slot:
            self._open.pop(event.vcpu, None)

    def _replaced(self, event: KernelReplaced) -> None:
        """What was not acknowledged never is; a new kernel's slot is free."""
        self._place ^= event.how != "hibernate"
        self._open.clear()
        self._due.clear()

    def _forget(self, _: VmMigrated | VmRestored) -> None:
        self._open.clear()
