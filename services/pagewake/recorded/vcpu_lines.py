"""One vcpu's events as the lines that its thread would have left in a trace.

A log has what the protocol did, not every exit: of ticks and interrupts that nobody waits for it
knows nothing.  So an exit stands where something of the host's happens to a vcpu that was in its
guest, and an entry where the thread is done by the costs of the scenario, or where the guest is
next heard of, whichever comes first.  Pages count, bytes of an address do not: a fault is at the
first byte of its page.

The order is the kernel's, not the log's, where they differ: `kvm_async_pf_ready` before the
interrupt that it raises, and `kvm_msr` behind the READY that an acknowledgement lets through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from pagewake.events import types as ev
from pagewake.events.ids import Gfn
from pagewake.kvm.abi import BROADCAST_TOKEN
from pagewake.kvm.config import HostCosts
from pagewake.kvm.msr import MSR_KVM_ASYNC_PF_ACK, MSR_KVM_ASYNC_PF_INT
from pagewake.nested_svm import exit_codes
from pagewake.recorded.tracepoints import Value, reason_of

USER_RIP: Final = 0x401853
KERNEL_RIP: Final = 0xFFFFFFFF81073914
"""Where the guest is, as far as a log says: in user space, or in its kernel's half."""
TIMER_VECTOR: Final = 236
"""LOCAL_TIMER_VECTOR of Linux, for an interrupt of which a log only says that it ended a halt."""
APF_VECTOR: Final = 243
"""HYPERVISOR_CALLBACK_VECTOR, until the guest has written another one."""
NPF_FINAL: Final = 1 << 32
"""AMD's bit of a nested page fault on the guest's final address, not on its page tables."""
FAULT_USER: Final = 1 << 2
"""Every nested page fault is a user access to the host's table."""
FAULT_WRITE: Final = 1 << 1
ALL_ONES: Final = (1 << 64) - 1
"""As the posted series has it, `kvm_try_async_get_page` of a page that is not there."""
_LENGTH: Mapping[str, int] = {"msr": 2, "hlt": 1, "vmrun": 3}
"""Bytes of the instruction that an exit was for, behind which the guest goes on."""

_OF_A_FAULT: Final = frozenset(
    {
        ev.CpuAwaited,
        ev.CpuFound,
        ev.FrameAwaited,
        ev.FrameFound,
        ev.PageRequested,
        ev.ReadSubmitted,
        ev.ApfStarted,
        ev.PageNotPresent,
        ev.WorkerCompleted,
    }
)
"""What may stand between the beginning of a fault and what became of it."""


class Out(Protocol):
    """Takes the lines of a vcpu's thread, in its order."""

    def line(self, at_ns: int, kind: str, **values: Value) -> None:
        """A line of the thread itself."""

    def worker_line(self, at_ns: int, gfn: Gfn) -> None:
        """A page-in is complete, says the worker that did it."""


class Fault(NamedTuple):
    """A fault whose exit is not written yet, because what it was for is said later.

    `routed`: how a nested guest left for it.
    """

    at_ns: int
    gfn: Gfn
    then: list[tuple[int, str, dict[str, Value]]]
    routed: int | None = None


class VcpuLines:
    """What the thread of one vcpu says; `take` gets its events in their order.

    `entry_ns` is when the thread will be back in the guest if nothing else is heard: None where
    that is for others to say.
    """

    def __init__(
        self, vcpu: int, costs: HostCosts | None, broadcast: int, out: Out, *, begun: bool
    ) -> None:
        """`begun`: the guest has run before.  `costs` None: nobody knows what an exit takes."""
        self._vcpu = vcpu
        self._costs = costs
        self._broadcast = broadcast
        self._out = out
        self._inside = False
        self._entry_ns: int | None = None if begun else 0
        self._last_ns = 0
        self._rip = KERNEL_RIP
        self._fault: Fault | None = None
        self._found_ns: int | None = None
        self._reads: Gfn | None = None
        self._halted_ns: int | None = None
        self._left_ns: int | None = None
        self._vector = APF_VECTOR
        self._interrupt = False
        self._ready: tuple[int, int] | None = None
        self._excepts = False
        self._in_wrmsr = False
        self._refused = False
        self._msr: dict[str, Value] | None = None
        self._in_l2 = False
        self._handlers: Mapping[type[ev.Event], Callable[[Any], None]] = {
            ev.FrameAwaited: self._frame_awaited,
            ev.FrameFound: self._frame_found,
            ev.PageRequested: self._requested,
            ev.ReadSubmitted: self._frame_found,
            ev.CpuAwaited: self._cpu_awaited,
            ev.CpuFound: self._cpu_found,
            ev.ApfStarted: self._started,
            ev.PageNotPresent: self._not_present,
            ev.SyncFault: self._resolved,
            ev.WorkerCompleted: self._completed,
            ev.InterruptQueued: self._interrupt_queued,
            ev.ApfPresented: self._presented,
            ev.ExceptionQueued: self._queued,
            ev.ExceptionInjected: self._injected,
            ev.ExceptionDropped: self._dropped,
            ev.ClearBegun: self._clear_begun,
            ev.MsrWritten: self._written,
            ev.VcpuHalted: self._halted,
            ev.VcpuResumed: self._resumed,
            ev.ExitRouted: self._routed,
            ev.NestedVmexit: self._vmexit,
            ev.TrapTaken: self._guest_acts,
            ev.TaskSlept: self._guest_acts,
        }

    # ------------------------------------------------------------------ time

    def held_ns(self) -> int | None:
        """No line will come from before this instant; None: from any instant that is still ahead.

        What has an exit that is not written yet holds everything up that comes after it.
        """
        return None if self._fault is None else self._fault.at_ns

    def advance(self, until_ns: int) -> None:
        """All events before this instant were taken."""
        if self._fault is not None:
            if self._found_ns is None or self._found_ns >= until_ns:
                return
            self._close_fault()
        if not self._inside and self._entry_ns is not None and self._entry_ns < until_ns:
            self._enter(self._entry_ns)

    def finish(self) -> None:
        """There is nothing more to be said of what stands open."""
        self._close_fault()
        self._end_wrmsr(self._last_ns)

    def take(self, event: Any) -> None:  # noqa: ANN401 - any event of this vcpu
        """The next event of this vcpu."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            if type(event) not in _OF_A_FAULT:
                self._close_fault()
            handler(event)

    def page_ready(self, at_ns: int, gfn: int) -> None:
        """A page is in: a thread that waits for it itself goes on."""
        if gfn == self._reads:
            self._reads = None
            self._back(at_ns, wakes=1, faults=1)

    # ------------------------------------------------------------------ in and out of the guest

    def _say(self, at_ns: int, kind: str, **values: Value) -> None:
        self._last_ns = max(self._last_ns, at_ns)
        self._out.line(self._last_ns, kind, **values)

    def _back(self, at_ns: int, wakes: int = 0, faults: int = 0) -> None:
        """The thread will be in the guest again; not if it is halted.

        Behind it lie an exit and so many wake-ups and faults.  An entry that delivers an exception
        is said.
        """
        costs = self._costs
        if costs is not None and self._halted_ns is None and not self._excepts:
            took_ns = wakes * costs.wake_ns + faults * costs.fault_ns
            self._entry_ns = at_ns + took_ns + costs.exit_ns + costs.entry_ns

    def _enter(self, at_ns: int) -> None:
        self._end_wrmsr(at_ns)
        if self._refused:
            self._refused = False
            self._inject(at_ns, "#GP")
        self._say(at_ns, "entry", vcpu=self._vcpu, rip=self._rip, immediate="")
        self._inside = True
        self._entry_ns = None

    def _guest_runs(self, at_ns: int) -> None:
        """The guest is heard of, so the thread has entered by now."""
        if not self._inside:
            due_ns = at_ns if self._entry_ns is None else min(self._entry_ns, at_ns)
            self._enter(max(due_ns, self._last_ns))

    def _exit(
        self,
        at_ns: int,
        code: int,
        cpl: int = 0,
        info1: int = 0,
        info2: int = 0,
        *,
        nested: bool = False,
    ) -> None:
        """The guest leaves for this reason; `nested`: its own guest does."""
        self._guest_runs(at_ns)
        reason = reason_of(code)
        self._rip = USER_RIP if cpl else KERNEL_RIP
        for kind in ("exit", "nested_vmexit")[: 1 + nested]:
            self._say(
                at_ns,
                kind,
                vcpu=self._vcpu,
                reason=reason,
                rip=self._rip,
                info1=info1,
                info2=info2,
                intr_info=0,
                error_code=0,
            )
        self._rip += _LENGTH.get(reason, 0)
        self._inside = False
        self._entry_ns = None

    def _host_acts(self, at_ns: int) -> None:
        """Something is done that wants the vcpu out of its guest, whatever it left for."""
        if not self._inside and self._entry_ns is not None and self._entry_ns < at_ns:
            self._enter(self._entry_ns)
        if self._inside:
            self._exit(at_ns, exit_codes.INTR, cpl=3)

    def _cpu_awaited(self, event: ev.CpuAwaited) -> None:
        """What is left to do until the entry is done once the thread has a CPU again."""
        if self._fault is not None:
            if self._found_ns is None:
                return  # it goes on with its fault then
            self._close_fault()
        self._host_acts(event.at_ns)
        if event.preempted and self._entry_ns is None:
            self._back(event.at_ns)
        self._left_ns = None
        if self._entry_ns is not None:
            self._left_ns = self._entry_ns - event.at_ns
            self._entry_ns = None

    def _cpu_found(self, event: ev.CpuFound) -> None:
        if self._fault is not None:
            return
        if self._left_ns is not None and not event.given_up:
            self._entry_ns = event.at_ns + self._left_ns
        self._left_ns = None

    def _inject(self, at_ns: int, exception: str) -> None:
        self._say(at_ns, "inj_exception", exception=exception, error_code=0, reinjected="")

    # ------------------------------------------------------------------ a fault

    def _begin_fault(self, at_ns: int, gfn: Gfn) -> Fault:
        if self._found_ns is not None and self._found_ns < at_ns:
            self._close_fault()  # it needed nothing more
        if self._fault is None:
            self._guest_runs(at_ns)
            self._found_ns = None
            self._fault = Fault(at_ns, gfn, [])
        return self._fault

    def _close_fault(self, write: bool = False, cpl: int | None = None) -> None:
        """Write down the exit of a fault, from user mode if unknown, and what came of it since."""
        fault, self._fault = self._fault, None
        if fault is None:
            return
        address = fault.gfn << 12
        error_code = NPF_FINAL | FAULT_USER | (FAULT_WRITE if write else 0)
        code = exit_codes.NPF if fault.routed is None else fault.routed
        self._exit(
            fault.at_ns,
            code,
            3 if cpl is None else cpl,
            error_code,
            address,
            nested=fault.routed is not None,
        )
        self._say(
            fault.at_ns,
            "page_fault",
            vcpu=self._vcpu,
            rip=self._rip,
            address=address,
            error_code=error_code,
        )
        for at_ns, kind, values in fault.then:
            self._say(at_ns, kind, **values)
        self._back(max(self._last_ns, self._found_ns or 0), faults=1)

    def _frame_awaited(self, event: ev.FrameAwaited | ev.PageRequested) -> None:
        self._begin_fault(event.at_ns, event.gfn)
        self._found_ns = None

    def _requested(self, event: ev.PageRequested) -> None:
        if event.ahead:
            self._frame_awaited(event)

    def _frame_found(self, event: ev.FrameFound | ev.ReadSubmitted) -> None:
        self._found_ns = event.at_ns

    def _started(self, event: ev.ApfStarted) -> None:
        fault = self._begin_fault(event.at_ns, event.gfn)
        gva = event.gfn << 12
        of: dict[str, Value] = {"gva": gva, "gfn": event.gfn, "pfn": ALL_ONES}
        fault.then.append((event.at_ns, "try_async", of))
        if event.outcome == "queued":
            assert event.token is not None
            fault.then.append((event.at_ns, "not_present", {"token": event.token, "gva": gva}))
        elif event.outcome == "double_fault":
            fault.then.append((event.at_ns, "repeated_fault", of))
            self._close_fault()
            self._entry_ns = None  # a halt is asked for

    def _not_present(self, event: ev.PageNotPresent) -> None:
        self._begin_fault(event.at_ns, event.gfn)
        self._close_fault(event.access == "write", event.cpl)
        if event.delivery == "synchronous" and not event.served:
            self._reads = event.gfn
            self._entry_ns = None
        elif event.delivery in ("injected", "halted"):
            self._entry_ns = None  # the one or the other is said

    def reads(self, event: ev.SyncFault) -> None:
        """Of a recording: the thread begins to wait itself; to be told before what comes then."""
        self._begin_fault(event.at_ns - event.took_ns, event.gfn)
        self._close_fault(event.access == "write", event.cpl)

    def _resolved(self, event: ev.SyncFault) -> None:
        self._guest_runs(event.at_ns)

    # ------------------------------------------------------------------ completions

    def _completed(self, event: ev.WorkerCompleted) -> None:
        self._out.worker_line(event.at_ns, event.gfn)

    def _interrupt_queued(self, event: ev.InterruptQueued) -> None:
        """It is told before its READY in a log, and behind it in a recording, as here."""
        if self._ready == (event.at_ns, event.token):
            self._accept(event.at_ns, self._vector)
        else:
            self._interrupt = True

    def _presented(self, event: ev.ApfPresented) -> None:
        self._host_acts(event.at_ns)
        broadcast = event.token == BROADCAST_TOKEN and event.gfn is None
        self._say(
            event.at_ns,
            "ready",
            token=self._broadcast if broadcast else event.token,
            gva=(event.gfn or 0) << 12,
        )
        self._ready = event.at_ns, event.token
        if self._interrupt:
            self._interrupt = False
            self._ready = None
            self._accept(event.at_ns, self._vector)
        self._end_wrmsr(event.at_ns)
        if self._reads is None:
            self._back(event.at_ns)

    def _accept(self, at_ns: int, vector: int) -> None:
        self._say(
            at_ns,
            "accept_irq",
            apicid=self._vcpu,
            vec=vector,
            mode="Fixed",
            trigger="edge",
            coalesced="",
        )

    def _queued(self, event: ev.ExceptionQueued) -> None:
        self._host_acts(event.at_ns)
        self._excepts = True
        self._entry_ns = None

    def _injected(self, event: ev.ExceptionInjected) -> None:
        self._host_acts(event.at_ns)
        self._excepts = False
        self._end_wrmsr(event.at_ns)
        self._inject(event.at_ns, "#PF")
        self._enter(event.at_ns)

    def _dropped(self, event: ev.ExceptionDropped) -> None:
        self._excepts = False
        if not self._inside and self._reads is None:
            self._back(event.at_ns)

    # ------------------------------------------------------------------ MSRs

    def _clear_begun(self, event: ev.ClearBegun) -> None:
        if event.why == "msr-disable":
            self._exit(event.at_ns, exit_codes.MSR, info1=1)
            self._in_wrmsr = True
        else:
            self._host_acts(event.at_ns)
        self._entry_ns = None

    def _written(self, event: ev.MsrWritten) -> None:
        if event.msr == MSR_KVM_ASYNC_PF_INT and event.ok:
            self._vector = event.value & 0xFF
        if event.by == "host":
            return
        if not self._in_wrmsr:
            self._exit(event.at_ns, exit_codes.MSR, info1=1)
        self._in_wrmsr = False
        refused = "" if event.ok else " (#GP)"
        self._refused = not event.ok
        self._msr = {"access": "write", "msr": event.msr, "value": event.value, "refused": refused}
        if event.msr != MSR_KVM_ASYNC_PF_ACK:
            self._end_wrmsr(event.at_ns)
        self._back(event.at_ns)

    def _end_wrmsr(self, at_ns: int) -> None:
        """The write is handled, with all that it brought about: now it is traced."""
        if self._msr is not None:
            values, self._msr = self._msr, None
            self._say(at_ns, "msr", **values)

    # ------------------------------------------------------------------ halts

    def _halted(self, event: ev.VcpuHalted) -> None:
        if event.why in ("hlt", "offline"):
            self._exit(event.at_ns, exit_codes.HLT)
        else:
            self._host_acts(event.at_ns)
        self._halted_ns = event.at_ns
        self._entry_ns = None

    def _resumed(self, event: ev.VcpuResumed) -> None:
        if self._halted_ns is not None:
            waited_ns, self._halted_ns = event.at_ns - self._halted_ns, None
            costs = self._costs
            if costs is None or waited_ns > costs.exit_ns + costs.entry_ns:  # else it ran on
                self._say(event.at_ns, "wakeup", how="wait", ns=waited_ns, polling="valid")
        if event.why == "interrupt":
            self._accept(event.at_ns, TIMER_VECTOR)
        if not self._inside:
            self._back(event.at_ns)

    # ------------------------------------------------------------------ nested guests

    def _routed(self, event: ev.ExitRouted) -> None:
        """An exit of the nested guest, which L0 routes; what L1 routes L0 does not see."""
        if event.level:
            return
        if not self._in_l2:
            self._run_l2(event.at_ns)
        if event.exit_code in (exit_codes.NPF, exit_codes.EXCP_PF) and event.route == "host":
            self._guest_runs(event.at_ns)
            self._found_ns = event.at_ns  # whatever it comes to is said at this instant
            self._fault = Fault(event.at_ns, Gfn(event.info2 >> 12), [], event.exit_code)
        else:
            self._exit(event.at_ns, event.exit_code, 3, 0, event.info2, nested=True)
            self._back(event.at_ns)

    def _run_l2(self, at_ns: int) -> None:
        """L1 has run its guest since it was last heard of; nobody knows since when."""
        self._exit(at_ns, exit_codes.VMRUN)
        self._in_l2 = True
        self._say(
            at_ns,
            "nested_run",
            rip=KERNEL_RIP,
            vmcb=0,
            nested_rip=USER_RIP,
            int_ctl=0,
            event_inj=0,
            npt="on",
            root_of="nested_cr3",
            root=0,
        )
        self._enter(at_ns)

    def _vmexit(self, event: ev.NestedVmexit) -> None:
        if event.level != 1:
            return
        if self._inside:
            self._exit(event.at_ns, event.exit_code, cpl=3)
        self._in_l2 = False
        self._say(
            event.at_ns,
            "nested_inject",
            reason=reason_of(event.exit_code),
            info1=0,
            info2=event.info2,
            intr_info=0,
            error_code=0,
        )
        self._back(event.at_ns)

    def _guest_acts(self, event: ev.TrapTaken | ev.TaskSlept) -> None:
        if event.at_ns >= self._last_ns:
            self._guest_runs(event.at_ns)
