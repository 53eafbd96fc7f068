"""The run loop of a vcpu thread: exits, completion check, requests, entry, in the kernel's order.

One pass of the run loop is four separate instants (semantics 3.9):

    handle_exit ── exit cost ──► CHECK ──► LOOP (requests, or block) ──► ENTER (injection) ──► guest

Completions are noticed in CHECK only, so only after an exit that stays in the kernel; one READY per
pass while the MSR is on, because the queued exception makes `can_inject_present` false.  A running
vcpu is not kicked by a completion, a blocked one wakes.  From 5.8 (`completion_kicks`) completion
is a request: noticed in LOOP, behind APF_HALT, and again in ENTER, which it cancels; a running vcpu
is kicked.  What a fault becomes is decided in `fault.py`, what a completion becomes in
`completion.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mypy_extensions import mypyc_attr

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    ExceptionInjected,
    FrameFound,
    MsrWritten,
    ReadSubmitted,
    VcpuHalted,
    VcpuResumed,
)
from pagewake.kvm import completion, fault, injection
from pagewake.kvm.modes import BLACKOUT, GUEST, HOST, OFFLINE, WAKING
from pagewake.kvm.msr import MSR_KVM_ASYNC_PF_EN
from pagewake.kvm.ports import (
    OP_CHECK,
    OP_CLEARED,
    OP_ENTER,
    OP_FRAME,
    OP_GUEST,
    OP_GUEST_LATER,
    OP_HANDLER,
    OP_HOST_EXIT,
    OP_JOINED,
    OP_LOOKED,
    OP_LOOP,
    OP_PAGING_ON,
    OP_POLLED,
    OP_RESOLVED,
    OP_SCHED_IN,
    OP_SUBMITTED,
    OP_SYNC_DONE,
    OP_TIMER,
    OP_UNBLOCK,
    OP_WORKED,
    WAIT,
    FaultContext,
    Op,
    Step,
)
from pagewake.kvm.thread import Clearing, Unfinished, VcpuThread


@mypyc_attr(allow_interpreted_subclasses=True)
class Vcpu(VcpuThread):
    """A vcpu thread together with the rules that move it."""

    __slots__ = ()

    def execute(self, op: Op, at_ns: int, arg: Any) -> Step:  # noqa: ANN401 - see Vm.push
        """Do what was planned for this instant; `arg` is what it was planned with."""
        if op is OP_GUEST:
            return self.guest.step(at_ns)
        if op is OP_CHECK:
            return self.check(at_ns)
        if op is OP_LOOP:
            return self.loop(at_ns)
        if op is OP_ENTER:
            return self.enter(at_ns)
        if op is OP_UNBLOCK:
            return self.unblock(at_ns)
        if op is OP_SYNC_DONE:
            return self.sync_done(at_ns, arg)
        if op is OP_RESOLVED:
            return self.resolved(at_ns, arg)
        if op is OP_CLEARED:
            return self.workers_ended(at_ns)
        if op is OP_FRAME:
            return self.found(at_ns, arg)
        if op is OP_SUBMITTED:
            return self.submitted(at_ns, arg)
        if op is OP_SCHED_IN:
            self.become("run")
            return self.loop(at_ns)
        self._happens(op, at_ns, arg)
        return WAIT

    def _happens(self, op: Op, at_ns: int, arg: Any) -> None:  # noqa: ANN401 - see Vm.push
        """What comes to this vcpu whatever it does, planned apart from its own next step."""
        if op is OP_TIMER:
            self.timer(at_ns, arg)
        elif op is OP_HOST_EXIT:
            self.host_exit(at_ns, arg)
        elif op is OP_GUEST_LATER:
            self.vm.guest.later(self.id, at_ns, arg)
        elif op is OP_JOINED or op is OP_WORKED:
            self.joined(at_ns, arg)
        elif op is OP_LOOKED:
            self.back_from_workers(at_ns, arg)
        elif op is OP_POLLED:
            self.sleep(at_ns)
        elif op is OP_HANDLER:
            assert self.vm.handler is not None
            self.vm.handler.step(at_ns, arg)
        else:
            assert op is OP_PAGING_ON, f"{self}: {op.name} is no step of a vcpu"
            completion.paging_toggled(self, at_ns, True)

    # ------------------------------------------------------------------ exits that a rule answers

    def exit_wrmsr(self, at_ns: int, msr: int, value: int) -> Step:
        """WRMSR by the guest."""
        self.leave(at_ns)
        self.write_msr(at_ns, msr, value)
        if self.clearings:
            return WAIT
        return self.after_exit(at_ns, self.vm.costs.exit_ns)

    def write_msr(self, at_ns: int, msr: int, value: int) -> None:
        """WRMSR whose exit counts as part of the kernel path that it is on."""
        completion.write_msr(self, at_ns, msr, value, "guest")

    def exit_fault(self, at_ns: int, context: FaultContext) -> Step:
        """Nested page fault: `fault.py` decides; None means that this thread waits (blackout)."""
        self.leave(at_ns)
        cost_ns = fault.handle(self, at_ns, context)
        if cost_ns is None:
            return self._black_out(at_ns, context.gfn)
        return self.after_exit(at_ns, self.vm.costs.exit_ns + cost_ns)

    def _black_out(self, at_ns: int, gfn: Gfn) -> Step:
        """The thread waits for this page itself."""
        self.become("wait")
        self.blackout_gfn = gfn
        self.account(at_ns, "blackout")
        return WAIT

    def init_sipi(self, at_ns: int, irqs: int) -> None:
        """INIT and SIPI from another CPU, which has asked for these interrupts meanwhile."""
        self.note(VcpuResumed, at_ns, "online")
        assert not self.apf.halted, f"{self}: a parked vcpu was halted for a page"
        self.lapic_on = True  # the kernel sets it up before it enables APF
        self.become("init")
        self.account(at_ns, "exit")
        self.gen += 1
        self.irqs = irqs
        if completion.withdraw(self, at_ns, Clearing("reset")):
            self.vm.push(at_ns + self.vm.costs.exit_ns, self.id, self.gen, OP_CHECK)
        elif self.mode is HOST:  # behind what was put off while it was offline
            self.stand_still(at_ns)

    # ------------------------------------------------------------------ an emptied queue

    def workers_ended(self, at_ns: int) -> Step:
        """The thread runs again, and empties the queue."""
        self.become("run")
        self.account(at_ns, "exit")
        return self.cleared(at_ns)

    def cleared(self, at_ns: int) -> Step:
        """The queue is emptied, and what that was for is done: the exit it was part of ends."""
        return self.after_exit(max(at_ns, self._end_clearings(at_ns)), self.vm.costs.exit_ns)

    def _end_clearings(self, at_ns: int) -> int:
        """Until when the vcpu is in SMM, if it is."""
        until_ns = 0
        clearings, self.clearings = self.clearings, []
        for clearing in clearings:
            completion.end_clear(self, at_ns, clearing)
            until_ns = max(until_ns, clearing.until_ns)
            if clearing.why == "msr-disable":
                msr, value = MSR_KVM_ASYNC_PF_EN, clearing.value
                self.note(MsrWritten, at_ns, msr, value, True, True, clearing.by)
            elif clearing.why == "reset":
                if self.vm.switches.reset_drops_exception:
                    injection.drop_exception(self, at_ns, "reset")
                if self.mode is not OFFLINE:
                    self.resumed(at_ns, "reset")
            elif clearing.until_ns:
                self.resumed(at_ns, "smi")
        return until_ns

    def give_up_clearing(self, at_ns: int) -> None:
        """Nobody's end is waited for any more: the work was withdrawn otherwise."""
        if not self.clearings:
            return
        if self.mode in (BLACKOUT, WAKING) and self.blackout_gfn < 0:
            if self.mode is BLACKOUT:
                self.become("page")
            self.gen += 1
            step = self.workers_ended(at_ns)
            self.vm.push(step[0], self.id, self.gen, step[1])
        else:
            self._end_clearings(at_ns)

    def _worker_ended(self, at_ns: int) -> None:
        """Whoever waits for the last of them goes on."""
        if self.apf.running():
            return
        if self.mode is OFFLINE:
            self._end_clearings(at_ns)
        elif self.mode is BLACKOUT and self.blackout_gfn < 0:
            self.become("page")
            self.vm.push(at_ns + self.vm.costs.wake_ns, self.id, self.gen, OP_CLEARED)

    # ------------------------------------------------------------------ the loop

    def check(self, at_ns: int) -> Step:
        """check_completion(): the only place where completions are noticed, until 5.8."""
        half_ns = self.vm.costs.entry_ns // 2
        late = self.vm.switches.completion_kicks  # 5.8: a request, honoured behind APF_HALT
        if self.apf.done and not late:
            return self._complete(at_ns, half_ns, OP_LOOP)
        return at_ns + half_ns, OP_LOOP

    def _complete(self, at_ns: int, then_ns: int, then: Op) -> Step:
        """check_completion(), and in `then_ns` what follows: unless this thread reads first.

        It does where a page is gone again before its READY (3.13); then it comes here once more.
        """
        switches, done = self.vm.switches, self.apf.done
        due = len(done)
        cost_ns = completion.check(self, at_ns)
        while done and not switches.worker_pins and (switches.present_all or len(done) == due):
            work = completion.lost(self)
            if work is None or self.mode is not HOST:  # a READY too many, and the guest is dead
                break
            read_ns = fault.read_again(self, at_ns, work)
            if read_ns is None:
                self.stall_ns += cost_ns
                return self._black_out(at_ns, work.gfn)
            cost_ns += read_ns + completion.check(self, at_ns)
        return at_ns + then_ns + cost_ns, then

    def loop(self, at_ns: int) -> Step:
        """Top of the loop: block, or honour requests and enter."""
        if self.mp_halted or self.apf.halted:
            return self._block(at_ns)
        half_ns = self.vm.costs.entry_ns // 2
        if self.apf.halt_requested:
            self.note(VcpuHalted, at_ns, self.apf.halt())
            return at_ns + half_ns, OP_CHECK
        if self.apf.done and self.vm.switches.completion_kicks:
            return self._complete(at_ns, half_ns, OP_ENTER)
        return at_ns + half_ns, OP_ENTER

    def enter(self, at_ns: int) -> Step:
        """Entry: exception first, then NMI, then interrupts (semantics 3.9)."""
        if self.vm.switches.completion_kicks and completion.presentable(self):
            return self.loop(at_ns)  # a request came in: entry is cancelled
        assert self.mode is HOST, f"{self}, {self.mode.name}, cannot enter"
        self.mode = GUEST
        self.arm_host_exits(at_ns)
        guest = self.guest
        exc = self.exc
        if exc is not None:
            self.exc = None
            vm = self.vm
            vm.journal(
                ExceptionInjected(at_ns, vm.name, vm.n, self.id, exc.token, exc.kind, exc.level)
            )
            self.account(at_ns, "interrupt")
            step = guest.take_exception(at_ns, exc.token, exc.kind, exc.level)
            if self.nmi is not None and self.mode is GUEST:
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

    def _block(self, at_ns: int) -> Step:
        if self.runnable():
            return self._unhalt(at_ns)
        self.become("block")
        self.gen += 1
        if self.poll is not None:
            cpus = self.vm.cpus
            until_ns = self.poll.begin(at_ns, cpus is None or not cpus.waiting)
            if until_ns:
                self.account(at_ns, "polling")
                return until_ns, OP_POLLED
        self.account(at_ns, "halted" if self.apf.halted else "idle")
        return WAIT

    def unblock(self, at_ns: int) -> Step:
        """The thread runs again."""
        self.become("run")
        if self.poll is not None:
            self.poll.woken(at_ns)
        return self._unhalt(at_ns)

    def _unhalt(self, at_ns: int) -> Step:
        """Request UNHALT, then the rest of the iteration."""
        why: ev.ResumeWhy = "interrupt"
        if self.apf.done:
            why = "completion"
        elif self.nmi is not None:
            why = "nmi"
        self.resumed(at_ns, why)
        self.account(at_ns, "exit")
        return self.check(at_ns)

    # ------------------------------------------------------------------ page-ins

    def page_in_done(self, at_ns: int, gfn: Gfn, token: Token | None) -> None:
        """The worker finished, or the thread's own synchronous read did."""
        if token is not None:
            completion.worker_done(self, at_ns, gfn, token)
            if self.clearings:
                self._worker_ended(at_ns)
        elif self.mode is BLACKOUT and self.blackout_gfn == gfn:
            self.become("page")
            self.gen += 1
            self.vm.push(at_ns + self.vm.costs.wake_ns, self.id, self.gen, OP_SYNC_DONE, gfn)
        else:
            self.vm.pages.release(gfn)

    def sync_done(self, at_ns: int, gfn: Gfn) -> Step:
        """The blacked-out thread runs again and maps the page it waited for."""
        self.blackout_gfn = -1
        self.become("run")
        self.account(at_ns, "exit")
        vm = self.vm
        if vm.is_present(gfn):
            vm.map_page(gfn)
            if vm.switches.sync_writes:
                vm.pages.dirty[gfn] = 1
        vm.pages.release(gfn)
        return self._back(at_ns, vm.costs.fault_ns)

    def _back(self, at_ns: int, cost_ns: int) -> Step:
        """From a wait, in which something may have come that could not be done then."""
        if not self.clearings:
            return self.after_exit(at_ns, cost_ns)
        if self.clear_waits():
            self.stand_still(at_ns)
            return WAIT
        return self.cleared(at_ns)

    def frame_found(self, at_ns: int, waiting: Unfinished) -> None:
        """There may be a frame for what this thread waits with."""
        self.become("page")
        self.gen += 1
        self.vm.push(at_ns + self.vm.costs.wake_ns, self.id, self.gen, OP_FRAME, waiting)

    def found(self, at_ns: int, waiting: Unfinished) -> Step:
        """The thread that reclaimed tries again; if it needs no frame any more, others may."""
        self.note(FrameFound, at_ns, waiting.gfn)
        return self._fault_again(at_ns, waiting, fault.go_on)

    def submitted(self, at_ns: int, waiting: Unfinished) -> Step:
        """The thread has submitted its reads; as `found`."""
        self.note(ReadSubmitted, at_ns, waiting.gfn)
        self.become("page")
        return self._fault_again(at_ns, waiting, fault.look)

    def _fault_again(
        self,
        at_ns: int,
        waiting: Unfinished,
        go_on: Callable[[Vcpu, int, Unfinished], int | None],
    ) -> Step:
        self.blackout_gfn = -1
        self.works = False
        self.become("run")
        self.account(at_ns, "exit")
        cost_ns = None if self.clearings else go_on(self, at_ns, waiting)
        if cost_ns is None and not self.clearings:
            return self._black_out(at_ns, waiting.gfn)
        self.vm.give_room(at_ns, 0)
        return self._back(at_ns, cost_ns or 0)

    def resolved(self, at_ns: int, arg: tuple[Gfn, Token, int]) -> Step:
        """User space brought the page in this thread: as it comes back, its fault is complete."""
        gfn, token, epoch = arg
        vm = self.vm
        assert vm.handler is not None
        vm.handler.resolved(at_ns, gfn)
        vm.pages.hold(gfn)
        if epoch == vm.epoch:
            vm.pages.hold(gfn)
            completion.worker_done(self, at_ns, gfn, token)
        self.become("page")
        return self.sync_done(at_ns, gfn)

    def workers_looked(self, at_ns: int) -> int:
        """Workers queued on this CPU have run: how many of them found their page, and are done."""
        looks, self.looks = self.looks, {}
        found = [work for work in looks.values() if work is not None]
        for work in found:
            self.joined(at_ns, work)
        return len(found)

    def back_from_workers(self, at_ns: int, gen: int) -> None:
        """The thread has its CPU again, once those who found their page have said so."""
        hop_ns = self.vm.costs.worker_hop_ns
        back_ns = at_ns + self.workers_looked(at_ns) * hop_ns
        if gen == self.gen:
            self.vm.push(back_ns, self.id, gen, OP_SCHED_IN)

    def completion_ends_hlt(self) -> bool:
        """See `completion.ends_hlt`."""
        return completion.ends_hlt(self)

    def joined(self, at_ns: int, arg: tuple[Gfn, Token | None, int]) -> None:
        """A page that others waited for too has come: one hop later than for the first of them."""
        gfn, token, epoch = arg
        self.vm.joining -= 1
        if token is not None and epoch != self.vm.epoch:
            self.vm.pages.release(gfn)
        else:
            self.page_in_done(at_ns, gfn, token)
