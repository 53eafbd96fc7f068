"""I3: one pending exception per vcpu, and a reason word that is read before it is written again.

A queued #PF leaves the slot by an entry that injects it, by being dropped, or, while a nested guest
runs, as a synthesized #VMEXIT (semantics 3.5, 3.7, 3.9, 4.7). The 4-byte reason word is non-zero
only between the host's write and the guest's read-and-reset (semantics 2.2, 4.2). An exception that
is dropped or lands in L2 (gap G1), or a vcpu that is reset, leaves an orphaned reason behind, which
the next trap may take or the next write may cover; an NMI handler that faults may steal it. With
page-ready by interrupt (5.8) the token slot obeys the same rule. In 4.14 a READY may come while an
exception is pending: it clears the reason of a NOT_PRESENT, or covers that of a READY, which ends
the VM. A nested L1 reads the word into a latch and acts on that later, if need be on another exit
(gap G3). The host writes where the vcpu's
MSR says, the guest reads the area of its CPU: what is written elsewhere nobody need read (semantics
1.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pagewake.events.types import (
    Event,
    ExceptionDropped,
    ExceptionInjected,
    ExceptionQueued,
    InterruptQueued,
    KernelReplaced,
    MsrWritten,
    NestedVmexit,
    ProtocolFault,
    ReasonLatched,
    ReasonWritten,
    TrapTaken,
    VcpuHalted,
    VcpuOffline,
    VcpuReset,
    VcpuResumed,
    VmMigrated,
    VmRestored,
)
from pagewake.guest_kernel.apf_area import PLACE_PAGES, area_gpa
from pagewake.kvm.msr import decode_enable
from pagewake.verify.invariants.base import (
    MSR_ASYNC_PF_EN,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules


class PendingException(Checker):
    """The exception slot of each vcpu holds at most one asynchronous page fault."""

    name = "I3"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._pending: dict[int, ExceptionQueued] = {}
        self._as_vmexit: dict[int, int] = {}

    def handlers(self) -> Mapping[type[Event], Handler]:
        return {
            ExceptionQueued: self._queued,
            ExceptionInjected: self._left,
            ExceptionDropped: self._left,
            NestedVmexit: self._vmexit,
        }

    def _queued(self, event: ExceptionQueued) -> None:
        pending = self._pending.get(event.vcpu)
        if pending is not None:
            self.fail(
                event,
                f"{event.kind} {token_name(event.token)} queued while {pending.kind} "
                f"{token_name(pending.token)} (n={pending.n}) is pending",
            )
        self._pending[event.vcpu] = event
        self._as_vmexit.pop(event.vcpu, None)

    def _left(self, event: ExceptionInjected | ExceptionDropped) -> None:
        pending = self._pending.pop(event.vcpu, None)
        if pending is None:
            if self._as_vmexit.pop(event.vcpu, None) != event.token:
                self.fail(event, f"{event.kind} {token_name(event.token)} was not pending")
        elif (pending.token, pending.kind) != (event.token, event.kind):
            self.fail(
                event,
                f"{event.kind} {token_name(event.token)} left the slot, which holds "
                f"{pending.kind} {token_name(pending.token)}",
            )

    def _vmexit(self, event: NestedVmexit) -> None:
        pending = self._pending.get(event.vcpu)
        if pending is None or event.reason != "apf" or event.level != 1:
            return
        del self._pending[event.vcpu]
        self._as_vmexit[event.vcpu] = pending.token


class _Area:
    """The shared area of one vcpu, as the events tell it."""

    __slots__ = ("enabled", "orphaned", "slot", "slot_orphaned", "stolen", "word")

    def __init__(self) -> None:
        self.word = 0
        self.orphaned = False
        self.stolen = 0
        self.slot: int | None = None
        self.slot_orphaned = False
        self.enabled: bool | None = None


class ReasonWord(Checker):
    """The reason word and, from 5.8, the token slot: written, read, written, read."""

    name = "I3"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._areas: dict[int, _Area] = {}
        self._told: dict[int, int] = {}
        self._place = 0
        self._slot_elsewhere: set[int] = set()
        self._had_zero: set[int] = set()
        self._leaving: set[int] = set()
        self._pending: set[int] = set()
        self._latches: Counter[int] = Counter()

    def handlers(self) -> Mapping[type[Event], Handler]:
        if self.rules.partial:
            return {}  # a recording shows neither writes nor reads of the area
        return {
            ReasonWritten: self._written,
            TrapTaken: self._trap,
            ReasonLatched: self._latched,
            ProtocolFault: self._stolen,
            InterruptQueued: self._slot_written,
            ExceptionQueued: self._exception_queued,
            ExceptionDropped: self._orphan,
            ExceptionInjected: self._injected,
            NestedVmexit: self._exited,
            VcpuReset: self._orphan,
            VcpuHalted: self._halted,
            VcpuOffline: self._told_to_leave,
            VcpuResumed: self._resumed,
            VmMigrated: self._orphan_all,
            VmRestored: self._orphan_all,
            KernelReplaced: self._replaced,
            MsrWritten: self._msr_written,
        }

    def _area(self, vcpu: int) -> _Area:
        """The vcpu's own area, which its guest CPU reads."""
        return self._areas.setdefault(area_gpa(vcpu, self._place), _Area())

    def _written_area(self, vcpu: int) -> tuple[_Area, bool]:
        """The area that the host writes for the vcpu, and whether it is not the vcpu's own."""
        own = area_gpa(vcpu, self._place)
        gpa = self._told.get(vcpu, own)
        return self._areas.setdefault(gpa, _Area()), gpa != own

    def _written(self, event: ReasonWritten) -> None:
        if not event.ok:
            return
        area, elsewhere = self._written_area(event.vcpu)
        over = event.vcpu in self._pending and not self.rules.pending_blocks_apf
        if area.word and not (area.orphaned or elsewhere or over):
            self.fail(event, f"reason {event.reason} written over {area.word}, which nobody read")
        area.word = event.reason
        area.orphaned = elsewhere

    def _trap(self, event: TrapTaken) -> None:
        if self.rules.ready_by_interrupt and event.handler == "wake":
            self._slot_read(event)
        elif event.level == 1:
            if not (self._from_theft(event) or self._from_latch(event)):
                self._read(event, event.vcpu, event.reason)
        elif event.reason:
            self.fail(event, f"level {event.level} has no shared area, yet read {event.reason}")

    def _from_theft(self, event: TrapTaken) -> bool:
        """The #PF of an NMI handler, right behind the note that it stole this reason."""
        area = self._area(event.vcpu)
        stolen, area.stolen = area.stolen, 0
        return stolen != 0 and stolen == event.reason

    def _from_latch(self, event: TrapTaken) -> bool:
        """pf_interception of a nested L1 acts on what it latched, not on the word."""
        if not self._latches[event.reason] or self._area(event.vcpu).word == event.reason:
            return False
        self._latches[event.reason] -= 1
        return True

    def _latched(self, event: ReasonLatched) -> None:
        if event.level == 1:
            self._read(event, event.vcpu, event.apf_reason)
            if event.apf_reason:
                self._latches[event.apf_reason] += 1
        elif event.apf_reason:
            self.fail(event, f"level {event.level} has no shared area, yet read {event.apf_reason}")

    def _read(self, event: Event, vcpu: int, reason: int) -> None:
        area = self._area(vcpu)
        off = area.enabled is False or vcpu in self._leaving
        if not reason and (off or not self.rules.guest_reads_reason):
            area.orphaned = area.word != 0
            return
        if reason != area.word:
            self.fail(event, f"read reason {reason}, but the word holds {area.word}")
        area.word = 0
        area.orphaned = False

    def _stolen(self, event: ProtocolFault) -> None:
        if event.what == "reason_stolen":
            reason = int(event.detail.rpartition(" ")[2])
            self._read(event, event.vcpu, reason)
            self._area(event.vcpu).stolen = reason

    def _slot_written(self, event: InterruptQueued) -> None:
        area, elsewhere = self._written_area(event.vcpu)
        if area.slot and not area.slot_orphaned and not elsewhere:  # 0: a free slot
            self.fail(
                event, f"token slot overwritten: it holds {token_name(area.slot)}, not yet read"
            )
        area.slot = event.token
        area.slot_orphaned = elsewhere
        if event.token == 0:
            self._had_zero.add(event.vcpu)
        if elsewhere:
            self._slot_elsewhere.add(event.vcpu)
        else:
            self._slot_elsewhere.discard(event.vcpu)

    def _slot_read(self, event: TrapTaken) -> None:
        area = self._area(event.vcpu)
        if event.cr2 == 0 and event.vcpu in self._had_zero:
            area.slot = None  # the token of 0, or what the handler of it left behind
            return
        if area.slot is None and event.cr2 == 0 and event.vcpu in self._slot_elsewhere:
            return
        if area.slot != event.cr2:
            self.fail(
                event, f"took {token_name(event.cr2)}, but the slot holds {token_name(area.slot)}"
            )
        area.slot = None

    def _exception_queued(self, event: ExceptionQueued) -> None:
        self._pending.add(event.vcpu)

    def _injected(self, event: ExceptionInjected) -> None:
        self._pending.discard(event.vcpu)
        if event.level > 1:
            area = self._area(event.vcpu)
            area.orphaned = area.word != 0

    def _exited(self, event: NestedVmexit) -> None:
        """L2 left for a kernel that latches no reason: the word stays as it is."""
        if event.reason == "apf" and not self.rules.guest_reads_reason:
            area = self._area(event.vcpu)
            area.orphaned = area.word != 0

    def _orphan(self, event: ExceptionDropped | VcpuReset) -> None:
        area = self._area(event.vcpu)
        area.orphaned = area.word != 0
        if isinstance(event, ExceptionDropped):
            self._pending.discard(event.vcpu)
        else:
            area.slot_orphaned = area.slot is not None

    def _halted(self, event: VcpuHalted) -> None:
        """Offline: a pending interrupt is gone, its token stays until the area is zeroed."""
        if event.why == "offline":
            area = self._area(event.vcpu)
            area.slot_orphaned = area.slot is not None

    def _told_to_leave(self, event: VcpuOffline) -> None:
        """The guest reads nothing from then on, whatever a task still writes to the MSR."""
        self._leaving.add(event.vcpu)

    def _resumed(self, event: VcpuResumed) -> None:
        if event.why == "online":
            self._leaving.discard(event.vcpu)

    def _replaced(self, event: KernelReplaced) -> None:
        """A kernel that is started has new areas; an image has its own, with what was unread."""
        if event.how == "hibernate":
            self._told.clear()
            for area in self._areas.values():
                area.slot_orphaned = self.rules.online_zeroes_slot
        else:
            self._place = 1 - self._place
            for gpa in [gpa for gpa in self._areas if self._is_own(gpa)]:
                del self._areas[gpa]
        self._orphan_all(event)

    def _is_own(self, gpa: int) -> bool:
        return area_gpa(0, self._place) <= gpa <= area_gpa(PLACE_PAGES - 1, self._place)

    def _orphan_all(self, event: VmMigrated | VmRestored | KernelReplaced) -> None:
        for area in self._areas.values():
            area.orphaned = area.word != 0

    def _msr_written(self, event: MsrWritten) -> None:
        if event.msr == MSR_ASYNC_PF_EN and event.stored:
            self._told[event.vcpu] = decode_enable(event.value).gpa
        if event.msr == MSR_ASYNC_PF_EN and event.by == "guest" and event.stored:
            self._area(event.vcpu).enabled = bool(event.value & 1) and event.ok
