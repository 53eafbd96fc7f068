"""A vcpu thread of L0: exits, completion check, requests, entry, in the kernel's order.

One pass of the run loop is four separate instants (semantics 3.9):

    handle_exit ── exit cost ──► CHECK ──► LOOP (requests, or block) ──► ENTER (injection) ──► guest

Completions are noticed in CHECK only, so only after an exit that stays in the kernel; one READY per
pass while the MSR is on, because the queued exception makes `can_inject_present` false.  A running
vcpu is not kicked by a completion, a blocked one wakes.  From 5.8 (`completion_kicks`) completion
is a request: noticed in LOOP, behind APF_HALT, and again in ENTER, which it cancels; a running vcpu
is kicked.  What a fault becomes is decided in `fault.py`, what a completion becomes in
`completion.py`; both work on the thread declared here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pagewake.events import types as ev
from pagewake.kvm import completion, fault
from pagewake.kvm.async_pf import AsyncPf
from pagewake.kvm.ports import (
    IRQ_TIMER,
    FaultContext,
    GuestCpuPort,
    NestedPort,
    Step,
)

if TYPE_CHECKING:
    from pagewake.kvm.vm import Vm

GUEST, HOST, BLACKOUT, BLOCKED, WAKING, OFFLINE = range(6)
(
    OP_CHECK,
    OP_LOOP,
    OP_ENTER,
    OP_UNBLOCK,
    OP_SYNC_DONE,
    OP_TIMER,
    OP_HOST_EXIT,
) = range(7)


class VcpuThread:
    """State of one vcpu that L0 keeps; `gen` voids planned steps that are no longer true."""

    __slots__ = (
        "acct_kind",
        "acct_since",
        "apf",
        "area_failures",
        "blackout_gfn",
        "cpu",
        "exc",
        "gen",
        "guest",
        "halt_why",
        "host_exits",
        "id",
        "irqs",
        "mode",
        "mp_halted",
        "nested",
        "nmi",
        "stall_ns",
        "timer_at",
        "timers",
        "unpaged_until_ns",
        "vm",
        "why",
    )

    guest: GuestCpuPort

    def __init__(self, vm: Vm, index: int) -> None:
        self.vm = vm
        self.id = index
        self.gen = 0
        self.mode = HOST
        self.apf = AsyncPf(index, vm.switches)
        self.exc: tuple[int, ev.ApfKind, int] | None = None
        self.nested: NestedPort | None = None
        self.nmi: bool | None = None
        self.irqs = 0
        self.mp_halted = False
        self.halt_why: ev.HaltWhy | None = None
        self.why = ""
        self.timer_at = 0
        self.timers: set[int] = set()
        self.unpaged_until_ns = 0
        self.stall_ns = 0
        self.area_failures = 0
        self.blackout_gfn = -1
        self.host_exits: dict[int, bool] = {}
        self.acct_kind = "exit"
        self.acct_since = 0
        self.cpu: dict[str, int] = {}

    # ------------------------------------------------------------------ accounting

    def account(self, at_ns: int, kind: str) -> None:
        """From now on this vcpu's time counts as `kind`."""
        spent = at_ns - self.acct_since
        if spent:
            self.cpu[self.acct_kind] = self.cpu.get(self.acct_kind, 0) + spent
            self.acct_since = at_ns
        self.acct_kind = kind

    def freeze(self, at_ns: int) -> None:
        """The VM is over."""
        if self.mode == GUEST:
            self.guest.stop(at_ns)
        self.account(at_ns, "over")
        self.mode = OFFLINE
        self.gen += 1

    # ------------------------------------------------------------------ leaving the guest

    def leave(self, at_ns: int) -> None:
        """An exit at this instant; whatever was planned in the guest is void."""
        self.guest.stop(at_ns)
        self.mode = HOST
        self.account(at_ns, "exit")
        self.gen += 1

    def after_exit(self, at_ns: int, cost_ns: int) -> Step:
        """handle_exit is done; the completion check follows, later if the host took the CPU."""
        stalled, self.stall_ns = self.stall_ns, 0
        return at_ns + cost_ns + stalled, OP_CHECK

    def exit_plain(self, at_ns: int) -> Step:
        """An exit that only costs time: interrupt, irq window, CPUID, port I/O."""
        self.leave(at_ns)
        return self.after_exit(at_ns, self.vm.costs.exit_ns)

    def exit_hlt(self, at_ns: int) -> Step:
        """HLT: mp_state HALTED; the completion check of the same exit comes first."""
        self.leave(at_ns)
        self.mp_halted = True
        self.vm.journal(ev.VcpuHalted(at_ns, self.vm.name, self.vm.take_n(), self.id, "hlt"))
        return self.after_exit(at_ns, self.vm.costs.exit_ns)

    def exit_wrmsr(self, at_ns: int, msr: int, value: int) -> Step:
        """WRMSR by the guest."""
        self.leave(at_ns)
        completion.write_msr(self, at_ns, msr, value, "guest")
        return self.after_exit(at_ns, self.vm.costs.exit_ns)

    def exit_fault(self, at_ns: int, context: FaultContext) -> Step:
        """Nested page fault: `fault.py` decides; None means that this thread waits (blackout)."""
        self.leave(at_ns)
        cost_ns = fault.handle(self, at_ns, context)
        if cost_ns is None:
            self.mode = BLACKOUT
            self.blackout_gfn = context.gfn
            self.account(at_ns, "blackout")
            return None
        return self.after_exit(at_ns, self.vm.costs.exit_ns + cost_ns)

    # ------------------------------------------------------------------ the loop

    def check(self, at_ns: int, _: object) -> Step:
        """check_completion(): the only place where completions are noticed, until 5.8."""
        late = self.vm.switches.completion_kicks  # 5.8: a request, honoured behind APF_HALT
        cost_ns = completion.check(self, at_ns) if self.apf.done and not late else 0
        return at_ns + self.vm.costs.entry_ns // 2 + cost_ns, OP_LOOP

    def loop(self, at_ns: int, _: object) -> Step:
        """Top of the loop: block, or honour requests and enter."""
        if self.mp_halted or self.apf.halted:
            return self._block(at_ns)
        half_ns = self.vm.costs.entry_ns // 2
        if self.apf.halt_requested:
            self.apf.halt_requested = False
            self.apf.halted = True
            why: ev.HaltWhy = (self.halt_why or "stale") if self.apf.queued else "stale"
            self.vm.journal(ev.VcpuHalted(at_ns, self.vm.name, self.vm.take_n(), self.id, why))
            return at_ns + half_ns, OP_CHECK
        cost_ns = 0
        if self.apf.done and self.vm.switches.completion_kicks:
            cost_ns = completion.check(self, at_ns)
        return at_ns + half_ns + cost_ns, OP_ENTER

    def enter(self, at_ns: int, _: object) -> Step:
        """Entry: exception first, then NMI, then interrupts (semantics 3.9)."""
        if self.vm.switches.completion_kicks and completion.presentable(self):
            return self.loop(at_ns, None)  # a request came in: entry is cancelled
        self.mode = GUEST
        self._arm_host_exits(at_ns)
        guest = self.guest
        if self.exc is not None:
            (token, kind, level), self.exc = self.exc, None
            vm = self.vm
            vm.journal(
                ev.ExceptionInjected(at_ns, vm.name, vm.take_n(), self.id, token, kind, level)
            )
            self.account(at_ns, "interrupt")
            step = guest.take_exception(at_ns, token, kind, level)
            if self.nmi is not None and self.mode == GUEST:
                return self.exit_plain(at_ns)  # NMI window
            return step
        if self.nmi is not None:
            faults, self.nmi = self.nmi, None
            self.account(at_ns, "interrupt")
            return guest.take_nmi(at_ns, faults)
        if self.irqs and (guest.guest_mode or self.interrupt_allowed()):
            irqs, self.irqs = self.irqs, 0
            self.account(at_ns, "interrupt")
            return guest.take_interrupts(at_ns, irqs)
        return guest.resume(at_ns)

    # ------------------------------------------------------------------ blocking

    def interrupt_allowed(self) -> bool:
        """GIF, IF, no shadow; in guest mode L1 with V_INTR_MASKING hides IF (gap G0)."""
        guest = self.guest
        if guest.guest_mode and self.nested is not None and self.nested.masks_interrupts():
            return False
        return guest.if_flag and not guest.shadow

    def runnable(self) -> bool:
        """kvm_arch_vcpu_runnable()."""
        return (
            not (self.mp_halted or self.apf.halted)
            or bool(self.apf.done)
            or self.nmi is not None
            or (self.irqs != 0 and self.interrupt_allowed())
        )

    def _block(self, at_ns: int) -> Step:
        if self.runnable():
            return self.unblock(at_ns, None)
        self.mode = BLOCKED
        self.account(at_ns, "halted" if self.apf.halted else "idle")
        self.gen += 1
        return None

    def unblock(self, at_ns: int, _: object) -> Step:
        """The thread runs again: request UNHALT, then the rest of the iteration."""
        why: ev.ResumeWhy = "interrupt"
        if self.apf.done:
            why = "completion"
        elif self.nmi is not None:
            why = "nmi"
        self.resumed(at_ns, why)
        self.mode = HOST
        self.account(at_ns, "exit")
        return self.check(at_ns, None)

    def resumed(self, at_ns: int, why: ev.ResumeWhy) -> None:
        """Clear whatever halted this vcpu, and say why."""
        self.resumed_from(at_ns, self.mp_halted or self.apf.halted, why)

    def resumed_from(self, at_ns: int, halted: bool, why: ev.ResumeWhy) -> None:
        """As `resumed`, when the caller knows whether the vcpu was halted."""
        self.mp_halted = False
        self.apf.halted = False
        if halted:
            self.vm.journal(ev.VcpuResumed(at_ns, self.vm.name, self.vm.take_n(), self.id, why))

    def poke(self, at_ns: int) -> None:
        """Something this thread waits for may have happened: completion, interrupt, NMI."""
        if self.mode == BLOCKED and self.runnable():
            self.mode = WAKING
            self.gen += 1
            self.vm.push(at_ns + self.vm.costs.wake_ns, self.id, self.gen, OP_UNBLOCK)

    def revive(self, at_ns: int, why: ev.ResumeWhy, pause_ns: int) -> None:
        """Migration or reset: out of the guest and out of apf.halted, on again after a pause."""
        if self.mode in (BLACKOUT, OFFLINE) or self.blackout_gfn >= 0:
            return
        if self.mode == GUEST:
            self.leave(at_ns)
        elif self.mode == BLOCKED and self.mp_halted and not pause_ns and why != "reset":
            self.poke(at_ns)
            return
        halted = self.apf.halted
        if halted or why == "reset":
            self.resumed_from(at_ns, halted or self.mp_halted, why)
        self.mode = HOST
        self.account(at_ns, "exit")
        self.gen += 1
        self.vm.push(at_ns + pause_ns + self.vm.costs.exit_ns, self.id, self.gen, OP_LOOP)

    def kick(self, at_ns: int) -> None:
        """Make a running vcpu leave the guest for the host's attention."""
        if self.mode == GUEST:
            if self.guest.guest_mode and self.nested is not None:
                self.nested.external_exit(at_ns)
            step = self.exit_plain(at_ns)
            assert step is not None
            self.vm.push(step[0], self.id, self.gen, step[1])
        else:
            self.poke(at_ns)

    def interrupt(self, at_ns: int, irq: int) -> None:
        """An interrupt for this vcpu; it leaves the guest only if it could take it."""
        if self.mode == OFFLINE:
            return
        self.irqs |= irq
        if self.mode == GUEST:
            if self.guest.if_flag or self.guest.guest_mode:
                self.kick(at_ns)
        else:
            self.poke(at_ns)

    # ------------------------------------------------------------------ page-ins

    def page_in_done(self, at_ns: int, gfn: int, token: int | None) -> None:
        """The worker finished, or the thread's own synchronous read did."""
        if token is not None:
            completion.worker_done(self, at_ns, gfn, token)
        elif self.mode == BLACKOUT and self.blackout_gfn == gfn:
            self.mode = WAKING
            self.gen += 1
            self.vm.push(at_ns + self.vm.costs.wake_ns, self.id, self.gen, OP_SYNC_DONE, gfn)
        else:
            self.vm.pages.release(gfn)

    def sync_done(self, at_ns: int, gfn: int) -> Step:
        """The blacked-out thread runs again and maps the page it waited for."""
        self.blackout_gfn = -1
        self.mode = HOST
        self.account(at_ns, "exit")
        if self.vm.is_present(gfn):
            self.vm.map_page(gfn)
        self.vm.pages.release(gfn)
        return self.after_exit(at_ns, self.vm.costs.fault_ns)

    # ------------------------------------------------------------------ timers and other exits

    def arm_timer(self, at_ns: int, period: int) -> None:
        """Guest timer: the next instant on this vcpu's grid after `at_ns` (grids are staggered)."""
        if not period:
            return
        offset = period * self.id // len(self.vm.vcpus)
        due_ns = self.timer_at = at_ns - (at_ns - offset) % period + period
        if due_ns not in self.timers:
            self.timers.add(due_ns)
            self.vm.push(due_ns, self.id, -1, OP_TIMER, due_ns)

    def timer(self, at_ns: int, armed_for: int) -> None:
        """The guest timer fires; it is armed again when the guest handled it."""
        self.timers.discard(armed_for)
        if armed_for == self.timer_at:
            self.timer_at = 0
            self.interrupt(at_ns, IRQ_TIMER)

    def _arm_host_exits(self, at_ns: int) -> None:
        config = self.vm.config
        for period in (config.host_tick_ns, config.background_exit_ns):
            if period and not self.host_exits.get(period):
                self.host_exits[period] = True
                due = at_ns - (at_ns - period * (2 * self.id + 1) // 7) % period + period
                self.vm.push(due, self.id, -1, OP_HOST_EXIT, period)

    def host_exit(self, at_ns: int, period: int) -> None:
        """The host's own tick, or a background exit: leaves the guest if it runs."""
        self.host_exits[period] = False
        if self.mode == GUEST:
            self.kick(at_ns)

    # ------------------------------------------------------------------ guest side

    def sync(self, at_ns: int) -> None:
        """Bring accessed and dirty bits up to date."""
        if self.mode == GUEST:
            self.guest.sync(at_ns)

    def replan(self, at_ns: int) -> None:
        """The page table lost entries: what this vcpu was going to do may not be true any more."""
        if self.mode == GUEST and self.guest.runs_memory_task():
            self.guest.stop(at_ns)
            self.gen += 1
            step = self.guest.resume(at_ns)
            if step is not None:
                self.vm.push(step[0], self.id, self.gen, step[1])

    def guest_step(self, at_ns: int, _: object) -> Step:
        """A step planned by the guest."""
        return self.guest.step(at_ns)

    def paging_toggled(self, at_ns: int, _: object) -> None:
        """CR0.PG changed (semantics 3.11)."""
        completion.clear(self, at_ns, "cr0-pg")
        if self.vm.switches.pg_resets_hash:
            self.apf.gfn_hash.reset()

    def guest_later(self, at_ns: int, arg: int) -> None:
        """A guest timer that is not tied to what the vcpu does now."""
        self.vm.guest.later(self.id, at_ns, arg)


OPS: list[Callable[[VcpuThread, int, Any], Step | None]] = [
    VcpuThread.check,
    VcpuThread.loop,
    VcpuThread.enter,
    VcpuThread.unblock,
    VcpuThread.sync_done,
    VcpuThread.timer,
    VcpuThread.host_exit,
    VcpuThread.guest_step,  # ports.OP_GUEST
    VcpuThread.guest_later,  # ports.OP_GUEST_LATER
    VcpuThread.paging_toggled,  # ports.OP_PAGING_ON
]
