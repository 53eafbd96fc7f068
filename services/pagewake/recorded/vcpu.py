"""What a vcpu thread logs, line by line, as events.

What the guest was told of an absent page is seen when the vcpu enters the guest again: an
exception with error code 0 before that is the NOT_PRESENT, none means that the vcpu was halted.  A
READY is told by the interrupt that its thread accepts next (from 5.8), or by another such
exception.  The line of an MSR write is logged when the write has been handled; an ACK stands where
its exit does, before the READY that it brought about.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    ApfStarted,
    BroadcastQueued,
    DoubleFault,
    Event,
    ExceptionInjected,
    ExceptionQueued,
    InterruptQueued,
    MsrWritten,
    NestedVmexit,
    PageNotPresent,
    SyncFault,
    VcpuHalted,
    VcpuResumed,
    WorkerCompleted,
)
from pagewake.kvm.msr import (
    ASYNC_PF_DELIVERY_AS_INT,
    MSR_KVM_ASYNC_PF_ACK,
    MSR_KVM_ASYNC_PF_EN,
    MSR_KVM_ASYNC_PF_INT,
)
from pagewake.nested_svm import exit_codes
from pagewake.recorded import names
from pagewake.recorded.order import Held
from pagewake.recorded.page_ins import Apf, PageIns
from pagewake.recorded.placed import Draft, Finding, Place
from pagewake.recorded.sight import Sight
from pagewake.recorded.tracepoints import SVM_REASONS
from pagewake.recorded.vm import Vm

BROADCAST = 0xFFFFFFFF
ASYNC_PF_PER_VCPU = 64
RESERVED_BIT = 8
"""Of an error code: the address is one of MMIO, which no page-in resolves."""
WRITE_BIT = 2
AS_VMEXIT_BIT = 4
EARLY_MAX = 16
"""So many page-ready interrupts are kept until it is known whether the recording has READY."""
USER_EXITS, HLT_EXITS = 8, 4
"""A guest in user mode, or in HLT, has taken its interrupts; in recordings it has acknowledged one
after one exit from there at most.  More of them at the end of a recording are no delay."""
_SIGNS = {"4b564d07": {"msr ack"}, "4b564d06": {"msr int"}}
"""What a kernel is told by: `era`."""
_EXIT_CODES = {name: code for code, name in SVM_REASONS.items()}
_APF_MSRS = (MSR_KVM_ASYNC_PF_EN, MSR_KVM_ASYNC_PF_INT, MSR_KVM_ASYNC_PF_ACK)


class _Fault:
    """A page fault of the guest that the host works on."""

    __slots__ = ("access", "asynchronous", "at_ns", "cpl", "gfn", "off_cpu_ns", "reclaim_ns")

    def __init__(self, gfn: int, access: str, cpl: int | None, at_ns: int) -> None:
        self.gfn = gfn
        self.access = access
        self.cpl = cpl
        self.at_ns = at_ns
        self.asynchronous = False
        self.off_cpu_ns = 0
        self.reclaim_ns = 0


class _Undecided(NamedTuple):
    """A NOT_PRESENT or READY of which the next lines say what the guest was told."""

    held: Held
    at_ns: int
    place: Place
    token: int
    gfn: int
    apf: Apf | None
    cpl: int | None = None
    access: str = "read"


class _Tried(NamedTuple):
    """A try_async_get_page whose outcome has not been seen; `again`: its gfn is outstanding."""

    held: Held
    at_ns: int
    place: Place
    gfn: int
    outstanding: int
    again: bool


class Vcpu:
    """One vcpu thread.  All that it says of a vcpu may be unknown."""

    def __init__(self, vm: Vm[Vcpu], number: int, sight: Sight, page_ins: PageIns[Vcpu]) -> None:
        self.vm = vm
        self.number = number
        self.started: dict[int, Apf] = {}
        self.first_id: int | None = None
        self._sight = sight
        self._page_ins = page_ins
        self._told: deque[_Undecided] = deque()
        self._ready: _Undecided | None = None
        self._ack: Held | None = None
        self._msr_exit = False
        self._nested = False
        self._tried: _Tried | None = None
        self._fault: _Fault | None = None
        self._cpl: int | None = None
        self._exits = 0
        self._halted = ""
        self._woken_by = "signal"
        self._enabled: bool | None = None
        self._unacked: _Undecided | None = None
        self._any_ready = False
        self._early: list[tuple[int, Place]] = []
        self._seen_since = [0, 0, 0]
        self._unacked_since = 0
        self._ack_ns = 0
        self._ack_known = False
        self._switched_ns: int | None = None
        self._reclaims_ns: int | None = None

    # ------------------------------------------------------------------ in and out of the guest

    def exit(self, at_ns: int, place: Place, text: str) -> None:
        self._give_up(at_ns, place)
        self._resume(at_ns, place)
        found = names.EXIT_REASON.search(text)
        if found is None:
            return
        self._exits += 1
        self._fault = None
        self._cpl = 0 if int(found[3], 16) >= names.KERNEL_HALF else 3
        reason = found[2]
        if self._unacked is not None:
            self._goes_on(reason)
        self._msr_exit = reason in names.MSR_EXITS
        if self._msr_exit:
            self._hold_ack(at_ns)
        elif reason in names.HLT_EXITS:
            self._halt(at_ns, place, "hlt")

    def entry(self, at_ns: int, place: Place, text: str) -> None:
        self._give_up(at_ns, place)
        self._resume(at_ns, place)
        fault = self._fault
        if fault is not None:
            self._fault = None
            took_ns = at_ns - fault.at_ns
            if took_ns >= self._sight.sync_fault_ns and not fault.asynchronous:
                self._sync_fault(at_ns, place, fault, took_ns)
        if self.started:
            self._overdue(at_ns, place)

    def _sync_fault(self, at_ns: int, place: Place, fault: _Fault, took_ns: int) -> None:
        lines = self._sight.lines
        off_cpu = fault.off_cpu_ns if "switch" in self._sight.signs else None
        reclaims = any(lines[name] for name in names.RECLAIM_BEGIN)
        self._add(
            SyncFault, at_ns, place, fault.gfn, fault.access, fault.cpl, took_ns,
            off_cpu, fault.reclaim_ns if reclaims else None,
        )  # fmt: skip

    def _give_up(self, at_ns: int, place: Place) -> None:
        """The vcpu goes on: what nothing was seen of did not happen."""
        if self._tried is not None:
            self._fell_through()
        if self._ready is not None:
            self._unsaid()
        while self._told:
            self._halted_for(self._told.popleft())
        if self._ack is not None:
            self._no_ack()

    def _goes_on(self, reason: str) -> None:
        """What the guest does with an interrupt pending shows whether it can have taken it."""
        self._seen_since[1 if self._cpl else 0] += 1
        self._seen_since[2] += reason in names.HLT_EXITS

    def _halt(self, at_ns: int, place: Place, why: str) -> None:
        self._halted = why
        self._woken_by = "signal"
        self._add(VcpuHalted, at_ns, place, why)

    def _resume(self, at_ns: int, place: Place) -> None:
        if self._halted:
            self._add(VcpuResumed, at_ns, place, self._woken_by)
            self._halted = ""

    def irq_arrived(self) -> None:
        if self._woken_by == "signal":
            self._woken_by = "interrupt"

    # ------------------------------------------------------------------ page faults

    def page_fault(self, at_ns: int, place: Place, text: str) -> None:
        found = names.FAULT.search(text)
        if found is None or self._fault is not None:
            return
        error = int(found[4], 16)
        if error & RESERVED_BIT:
            return
        cpl = self._cpl
        if found[2] is not None and int(found[2], 16) >= names.KERNEL_HALF:
            cpl = 0
        access = "write" if error & WRITE_BIT else "read"
        self._fault = _Fault(int(found[3], 16) >> 12, access, cpl, at_ns)

    def try_async(self, at_ns: int, place: Place, text: str) -> None:
        found = names.GVA_GFN.search(text)
        if self._tried is not None:
            self._fell_through()
        if found is not None:
            held = self.vm.order.hold(self._fell_through)
            gfn = int(found[2], 16)
            again = any(apf.gva >> 12 == gfn for apf in self.started.values())
            self._tried = _Tried(held, at_ns, place, gfn, len(self.started), again)

    def _fell_through(self) -> None:
        """Nothing was started: 64 items were outstanding, or there was no memory for one more."""
        tried = self._outcome()
        assert tried is not None, "asked by who knows"
        if not self._sight.lines[names.NOT_PRESENT]:  # it may be what is not recorded
            return
        outcome = "limit" if tried.outstanding >= ASYNC_PF_PER_VCPU else "no_memory"
        lines = self._sight.lines
        if tried.again and not (lines[names.REPEATED_FAULT] or lines[names.DOUBLEFAULT]):
            outcome = "double_fault"  # of which this recording has no lines
        tried.held.close(self._draft(ApfStarted, tried.at_ns, tried.place, tried.gfn, outcome))

    def _outcome(self) -> _Tried | None:
        """What was tried, now that it is known what came of it."""
        tried, self._tried = self._tried, None
        if tried is not None:
            tried.held.close()
        return tried

    def repeated_fault(self, at_ns: int, place: Place, text: str) -> None:
        found = names.GVA_GFN.search(text)
        self._outcome()
        if found is None:
            return
        gfn = int(found[2], 16)
        self._asynchronous()
        self._add(ApfStarted, at_ns, place, gfn, "double_fault")
        self._add(DoubleFault, at_ns, place, gfn)
        self._resume(at_ns, place)
        self._halt(at_ns, place, "double_fault")

    def not_present(self, at_ns: int, place: Place, text: str) -> None:
        found = names.TOKEN_GVA.search(text)
        tried = self._outcome()
        if found is None:
            return
        token, gva = int(found[1], 16), int(found[2], 16)
        gfn = gva >> 12
        if tried is not None and tried.gfn != gfn:
            self._find(
                "I2", at_ns, place,
                f"an item for gfn {gfn:#x} was started, where gfn {tried.gfn:#x} was tried",
            )  # fmt: skip
        self._asynchronous()
        while self._told:
            self._halted_for(self._told.popleft())
        self._resume(at_ns, place)
        self._woken_by = "signal"
        apf = Apf(token, gva, place)
        self._end(self.started.get(token))
        self.started[token] = apf
        self._page_ins.start(self, apf)
        if self.first_id is None:
            self.first_id = token >> 12
        self._add(ApfStarted, at_ns, place, gfn, "queued", token)
        fault = self._fault
        held = self.vm.order.hold(self._too_long)
        self._told.append(
            _Undecided(
                held, at_ns, place, token, gfn, apf,
                self._cpl if fault is None else fault.cpl,
                "read" if fault is None else fault.access,
            )
        )  # fmt: skip

    def _asynchronous(self) -> None:
        if self._fault is not None:
            self._fault.asynchronous = True

    def _halted_for(self, told: _Undecided) -> None:
        self._matches(told, injected=False)
        if not self._sight.lines[names.INJECTED]:
            told.held.close()
            return
        why = "unknown"
        if self._enabled is False:
            why = "apf_off"
        elif self._nested:
            why = "nested"
        elif self._enabled and told.cpl == 0:
            why = "kernel_mode"
        self._halted = why
        told.held.close(
            self._not_present(told, "halted", why),
            self._draft(VcpuHalted, told.at_ns, told.place, why),
        )

    def _too_long(self) -> None:
        """So much happened meanwhile that it was halted, or is not seen any more."""
        self._halted_for(self._told.popleft())

    def _not_present(self, told: _Undecided, delivery: str, why: str | None) -> Draft:
        return self._draft(
            PageNotPresent, told.at_ns, told.place, told.gfn, told.access, told.cpl, 1, 0,
            delivery, told.token, why,
        )  # fmt: skip

    # ------------------------------------------------------------------ what the guest is told

    def injected(self, at_ns: int, place: Place, text: str) -> None:
        found = names.EXCEPTION.search(text)
        if found is None or found[2] or int(found[1], 16):
            return
        if self._told:
            told = self._told.popleft()
            kind = "not_present"
            self._enabled = True
            self._matches(told, injected=True)
            drafts = [self._not_present(told, "injected", None)]
        elif self._ready is not None and not self.vm.by_interrupt:
            told, self._ready = self._ready, None
            kind = "broadcast" if told.token == BROADCAST else "ready"
            drafts = [self._presented(told, "token" if kind == "ready" else kind)]
            self.vm.by_interrupt = False
            self._sight.signs.add("exception")
        else:
            self._sight.counts["exceptions of another cause"] += 1
            return
        self._resume(at_ns, place)
        queued = (told.token, kind, 1, told.cpl, None, None, None)
        told.held.close(*drafts, self._draft(ExceptionQueued, told.at_ns, told.place, *queued))
        self._add(ExceptionInjected, at_ns, place, told.token, kind, 1)

    def ready(self, at_ns: int, place: Place, text: str) -> None:
        found = names.TOKEN_GVA.search(text)
        if found is None:
            return
        token, gva = int(found[1], 16), int(found[2], 16)
        if token == BROADCAST:
            self._sight.signs.add("broadcast")
        elif not (token or gva or token in self.started):
            self._sight.signs.add("broadcast of 0")
            token = BROADCAST
        if self._ready is not None and self._ready.token == token:  # what follows tells the first
            self._add(ApfPresented, at_ns, place, "silent", token, gva >> 12)
            return
        if self._ready is not None:
            self._unsaid()
        while self._told and self.vm.by_interrupt is False:  # nothing waited for entry
            self._halted_for(self._told.popleft())
        apf = self.started.pop(token, None)
        self._end(apf)
        if token == BROADCAST and not self._sight.lines[names.MSR]:
            self._add(BroadcastQueued, at_ns, place)  # by a write of which there are no lines
        if apf is None:
            self._adopt(token)
        elif apf.completed is None:
            self._add(WorkerCompleted, at_ns, place, gva >> 12, token, True, "unseen")
        if not self._sight.lines[names.EXIT]:
            self._hold_ack(at_ns)
        self._any_ready = True
        self._woken_by = "completion"
        held = self.vm.order.hold(self._unsaid)
        self._ready = _Undecided(held, at_ns, place, token, gva >> 12, apf)

    def _end(self, apf: Apf | None) -> None:
        if apf is not None:
            self._page_ins.end(apf)

    def _adopt(self, token: int) -> None:
        """A READY of a page fault from before the recording began."""
        first = self.first_id
        used = token >> 12
        if token != BROADCAST and (first is None or (first - used) % (1 << 20) < 1 << 19):
            self._sight.counts["outstanding at the beginning"] += 1

    def irq_accepted(self, at_ns: int, place: Place, vector: int) -> None:
        """This thread gave a vcpu an interrupt; page-ready it gives itself."""
        if vector != self.vm.vector:
            return
        ready, self._ready = self._ready, None
        if ready is None:
            self._unexplained(at_ns, place)
            return
        self.vm.by_interrupt = True
        self._matches(ready, interrupted=True)
        self._sight.signs.add("interrupt")
        self._unacked, self._unacked_since = ready, self._exits
        self._seen_since = [0, 0, 0]
        kind = "broadcast" if ready.token == BROADCAST else "ready"
        ready.held.close(
            self._presented(ready, "token" if kind == "ready" else kind),
            self._draft(InterruptQueued, ready.at_ns, place, ready.token, kind),
        )

    def _unexplained(self, at_ns: int, place: Place) -> None:
        """The vector of page-ready, and no READY before it, where one would have been seen."""
        if not (self._exits or self._any_ready):
            return
        if self._sight.lines[names.READY]:
            self._no_ready(at_ns, place)
        elif len(self._early) < EARLY_MAX:
            self._early.append((at_ns, place))

    def _no_ready(self, at_ns: int, place: Place) -> None:
        self._find(
            "I6", at_ns, place,
            f"the interrupt of page-ready (vector {self.vm.vector:#x}) was queued, and no READY",
        )  # fmt: skip

    def _unsaid(self, *, cut: bool = False) -> None:
        """The guest was told nothing; or by what this recording leaves out, or ends before.

        `cut`: what comes next is not seen.
        """
        ready, self._ready = self._ready, None
        assert ready is not None, "asked by who knows"
        told = "silent"
        lines = self._sight.lines
        unseen = self.vm.by_interrupt is not False and (cut or not lines[names.ACCEPT_IRQ])
        if unseen and ready.apf is not None and ready.apf.injected:
            told = "token"
        if ready.token == BROADCAST:
            told = "broadcast"
        if not cut and lines[names.ACCEPT_IRQ] and self.vm.by_interrupt and self._enabled:
            self._matches(ready, interrupted=False)
        ready.held.close(self._presented(ready, told))

    def _matches(
        self, of: _Undecided, injected: bool | None = None, interrupted: bool | None = None
    ) -> None:
        """READY is told by interrupt if NOT_PRESENT was told, and only then (from 5.8)."""
        apf = of.apf
        if apf is None:
            return
        apf.injected = apf.injected if injected is None else injected
        apf.interrupted = apf.interrupted if interrupted is None else interrupted
        if not self._sight.lines[names.INJECTED] or None in {apf.injected, apf.interrupted}:
            return
        if apf.injected and not apf.interrupted:
            what = "was told to be absent, and no interrupt told that it is ready"
        elif apf.interrupted and not apf.injected:
            what = "was told to be ready, and not that it is absent"
        else:
            return
        self._find("I6", of.at_ns, of.place, f"token {apf.token:#x} {what}", apf.token)

    def _presented(self, ready: _Undecided, told: str) -> Draft:
        gfn = None if ready.token == BROADCAST else ready.gfn
        why = None
        if told == "silent":
            why = "msr_off" if self._enabled is False else "not_due"
        return self._draft(
            ApfPresented, ready.at_ns, ready.place, told, ready.token, gfn, False, False, why
        )

    # ------------------------------------------------------------------ MSRs

    def msr(self, at_ns: int, place: Place, text: str) -> None:
        found = names.MSR_WRITE.search(text)
        if found is None:
            return
        self._sight.signs |= _SIGNS.get(found[1], frozenset())
        msr, value, ok = int(found[1], 16), int(found[2], 16), found[3] is None
        if msr not in _APF_MSRS:
            return
        by = "guest" if self._msr_exit or not self._sight.lines[names.EXIT] else "host"
        write = (msr, value, ok, ok and msr != MSR_KVM_ASYNC_PF_ACK, by)
        if msr == MSR_KVM_ASYNC_PF_ACK:
            self._acked(at_ns, place, write, ok and bool(value & 1))
            return
        self._add(MsrWritten, at_ns, place, *write)
        if msr == MSR_KVM_ASYNC_PF_INT:
            self.vm.vector = value & 0xFF
        elif ok:
            if value & AS_VMEXIT_BIT:
                self._sight.signs.add("as_vmexit")
            as_interrupt = value & ASYNC_PF_DELIVERY_AS_INT or not self.vm.by_interrupt
            self._enable(at_ns, place, bool(value & 1 and as_interrupt))

    def _acked(self, at_ns: int, place: Place, write: tuple[Any, ...], frees: bool) -> None:
        if self._ack is None:
            self._add(MsrWritten, at_ns, place, *write)
        else:
            self._ack.close(self._draft(MsrWritten, self._ack_ns, place, *write))
            self._ack = None
        if frees:
            self._ack_known = True
            if self._unacked_since < self._exits:
                self._unacked = None

    def _hold_ack(self, at_ns: int) -> None:
        if self._ack is not None:
            self._no_ack()
        self._ack = self.vm.order.hold(self._no_ack)
        self._ack_ns = at_ns

    def _no_ack(self) -> None:
        assert self._ack is not None, "asked by who knows"
        self._ack.close()
        self._ack = None

    def _enable(self, at_ns: int, place: Place, enabled: bool) -> None:
        self._enabled = enabled
        self._never_acknowledged(at_ns)
        self._unacked = None
        if not enabled:
            if self.started:
                self._add(ApfCleared, at_ns, place, 0, list(self.started), "msr-disable")
            for apf in self.started.values():
                self._end(apf)
            self.started.clear()
        elif all(apf.completed is None for apf in self.started.values()):
            self._add(BroadcastQueued, at_ns, place)

    # ------------------------------------------------------------------ a guest hypervisor's guest

    def nested_run(self, at_ns: int, place: Place, text: str) -> None:
        self._nested = True

    def nested_exit(self, at_ns: int, place: Place, text: str) -> None:
        """An exit of the nested guest that its hypervisor is told of, as SVM names it."""
        self._nested = False
        found = names.NESTED_REASON.search(text)
        code = None if found is None else _EXIT_CODES.get(found[1])
        if found is not None and code is not None:
            reason = "intercept"
            if code == exit_codes.EXCP_PF and self._told:  # so L1 is told
                told, reason = self._told.popleft(), "apf"
                self._matches(told, injected=True)
                told.held.close(self._not_present(told, "injected", None))
            self._add(NestedVmexit, at_ns, place, 1, code, reason, int(found[3], 16))

    # ------------------------------------------------------------------ what else the thread does

    def _overdue(self, at_ns: int, place: Place) -> None:
        """A done item is presented before the next entry, unless a READY is unacknowledged.

        From 5.8: a worker, and the write of an ACK, ask for it before the vcpu goes on.
        """
        if not (self._ack_known and self._unacked is None and self.vm.by_interrupt):
            return
        for apf in self.started.values():
            done = apf.completed is not None and apf.completed < self._exits
            if done and apf.doubt is None and not apf.overdue:
                apf.overdue = True
                self._find(
                    "I5", at_ns, place,
                    f"token {apf.token:#x} is done since the exit before, its slot is free, and "
                    "the vcpu goes on without its READY",
                    apf.token,
                )  # fmt: skip

    def completed(self, at_ns: int, place: Place, apf: Apf) -> None:
        """A worker says that this item is done."""
        apf.completed = self._exits
        values = (apf.gva >> 12, apf.token, True, apf.doubt)
        self._add(WorkerCompleted, at_ns, place, *values)

    def switched_out(self, at_ns: int) -> None:
        self._switched_ns = at_ns

    def switched_in(self, at_ns: int) -> None:
        if self._fault is not None and self._switched_ns is not None:
            self._fault.off_cpu_ns += at_ns - self._switched_ns
        self._switched_ns = None

    def reclaims(self, at_ns: int) -> None:
        self._reclaims_ns = at_ns

    def reclaimed(self, at_ns: int) -> None:
        if self._fault is not None and self._reclaims_ns is not None:
            self._fault.reclaim_ns += at_ns - self._reclaims_ns
        self._reclaims_ns = None

    def finish(self, at_ns: int) -> None:
        """There are no more lines."""
        self.forget()
        if self._sight.lines[names.READY]:
            for early in self._early:
                self._no_ready(*early)
        self._never_acknowledged(at_ns)

    def _never_acknowledged(self, at_ns: int) -> None:
        """No ACK comes any more for the last READY, though the guest has had its interrupts on."""
        kernel, user, halts = self._seen_since
        if self._unacked is None or "msr ack" not in self._sight.signs or not kernel:
            return
        if user >= USER_EXITS or halts >= HLT_EXITS:
            self._find(
                "ack", at_ns, self._unacked.place,
                f"token {self._unacked.token:#x} was never acknowledged, though the guest has had "
                f"its interrupts on since: it left user mode {user} times, and halted {halts} "
                "times",
                self._unacked.token,
            )  # fmt: skip

    def forget(self) -> None:
        """Lines are lost, or there are no more: what is undecided stays unknown."""
        self._outcome()
        if self._ready is not None:
            self._unsaid(cut=True)
        for told in self._told:
            told.held.close()
        self._told.clear()
        if self._ack is not None:  # the line of its ACK, if it is one, comes behind the interrupt
            self.vm.order.take_back(self._ack, InterruptQueued, self.number)
            self._no_ack()

    def _add(self, kind: type[Event], at_ns: int, place: Place, *values: Any) -> None:  # noqa: ANN401
        self.vm.order.add(self._draft(kind, at_ns, place, *values))

    def _draft(self, kind: type[Event], at_ns: int, place: Place, *values: Any) -> Draft:  # noqa: ANN401
        return Draft(kind, at_ns, (self.number, *values), place)

    def _find(
        self, rule: str, at_ns: int, place: Place, what: str, token: int | None = None
    ) -> None:
        self.vm.order.add(Finding(rule, at_ns, self.vm.name, self.number, what, *place, token))
