"""State of one vcpu thread of L0: where it is, what is pending for it, what its time went to.

Here is what needs no rule: leaving the guest, waking up, timers, accounting.  The rules work on the
thread declared here (`fault.py`, `completion.py`, `injection.py`, `interventions.py`); the run loop
over them is `loop.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from mypy_extensions import mypyc_attr

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.events.types import ClearBegun, CpuAwaited, CpuFound, VcpuHalted, VcpuResumed
from pagewake.kvm.async_pf import AsyncPf
from pagewake.kvm.halt_poll import HaltPoll
from pagewake.kvm.modes import (
    BLACKOUT,
    BLOCKED,
    GUEST,
    HLT,
    HOST,
    OFFLINE,
    TRANSITIONS,
    WAKING,
    Change,
)
from pagewake.kvm.ports import (
    IRQ_TIMER,
    OP_CHECK,
    OP_ENTER,
    OP_HOST_EXIT,
    OP_LOOP,
    OP_TIMER,
    OP_UNBLOCK,
    OP_WAIT,
    WAIT,
    FaultContext,
    GuestCpuPort,
    NestedPort,
    Op,
    PendingException,
    Step,
    VcpuPort,
)
from pagewake.simtime.state import Saved

if TYPE_CHECKING:
    from pagewake.kvm.vm import Vm

Rest = ParamSpec("Rest")


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Spent(Saved):
    """Time of a vcpu that counts as one kind."""

    __slots__ = ("kind", "ns")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.ns = 0


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Clearing(Saved):
    """What the queue is emptied for.

    `value` and `by`: what is written into the enable MSR, by whom.  `until_ns`: the vcpu is in SMM
    until then; 0: it is not.
    """

    __slots__ = ("by", "until_ns", "value", "why")

    def __init__(
        self, why: ev.ClearingWhy, value: int = 0, by: ev.Side = "guest", until_ns: int = 0
    ) -> None:
        self.why = why
        self.value = value
        self.by = by
        self.until_ns = until_ns


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Unfinished(Saved):
    """A fault that this vcpu is in the middle of, to be handled again: see `FaultContext`.

    It waits for a frame, or submits reads, perhaps that of its own page: `late` are neighbours that
    are to be read with it and have no frame yet; `polls`, that it waits for its page then in any
    case (`swap_poll`).
    """

    __slots__ = ("cpl", "gfn", "late", "level", "polls", "task", "vcpu", "write")

    def __init__(
        self,
        vcpu: int,
        context: FaultContext,
        late: tuple[int, ...] = (),
        polls: bool = False,
    ) -> None:
        self.late = late
        self.polls = polls
        self.vcpu = vcpu
        self.gfn = context.gfn
        self.write = context.write
        self.cpl = context.cpl
        self.level = context.level
        self.task = context.task

    @property
    def context(self) -> FaultContext:
        """The fault."""
        return FaultContext(self.gfn, self.write, self.cpl, self.level, self.task)


@mypyc_attr(allow_interpreted_subclasses=True)
class VcpuThread(VcpuPort):
    """State of one vcpu that L0 keeps; `gen` voids planned steps that are no longer true.

    `clearings` are to be done once workers have ended, and once a page that the thread reads itself
    is in.  `works`: it does not run its guest and waits for nobody, as it reclaims or submits
    reads.  `looks`: work queued on its CPU whose worker has not run yet, by token; what is to be
    completed then, if the page has come meanwhile.
    """

    __slots__ = (
        "acct_since",
        "apf",
        "area_failures",
        "blackout_gfn",
        "clearings",
        "cpu",
        "exc",
        "gen",
        "guest",
        "host_exits",
        "lapic_on",
        "looks",
        "mp_halted",
        "nested",
        "poll",
        "spending",
        "stall_ns",
        "timers",
        "unpaged_until_ns",
        "vm",
        "works",
    )

    guest: GuestCpuPort

    def __init__(self, vm: Vm, index: int) -> None:
        self.vm = vm
        self.id = index
        self.gen = 0
        self.mode = HOST
        self.apf = AsyncPf(index, vm.switches)
        self.exc: PendingException | None = None
        self.nested: NestedPort | None = None
        self.nmi: bool | None = None
        self.irqs = 0
        self.mp_halted = False
        self.lapic_on = True
        self.timer_at = 0
        self.timers: set[int] = set()
        self.unpaged_until_ns = 0
        self.stall_ns = 0
        self.area_failures = 0
        self.blackout_gfn = -1
        self.clearings: list[Clearing] = []
        self.works = False
        self.looks: dict[Token, tuple[Gfn, Token, int] | None] = {}
        poll_ns = vm.config.halt_poll_ns
        self.poll = HaltPoll(poll_ns) if poll_ns else None
        periods = (vm.config.host_tick_ns, vm.config.background_exit_ns)
        self.host_exits: dict[int, bool] = {period: False for period in periods if period}
        self.spending = Spent("exit")
        self.acct_since = 0
        self.cpu = {self.spending.kind: self.spending}

    def __str__(self) -> str:
        return f"{self.vm.name}: vcpu {self.id}"

    def become(self, change: Change) -> None:
        """Go where `modes.TRANSITIONS` says; nowhere else."""
        mode = TRANSITIONS[self.mode].get(change)
        assert mode is not None, f"{self}, {self.mode.name}, cannot {change}"
        self.mode = mode

    # ------------------------------------------------------------------ what the rules do with it

    @abstractmethod
    def execute(self, op: Op, at_ns: int, arg: Any) -> Step:  # noqa: ANN401 - see Vm.push
        """Do what was planned for this instant; `arg` is what it was planned with."""

    @abstractmethod
    def page_in_done(self, at_ns: int, gfn: Gfn, token: Token | None) -> None:
        """The worker finished, or the thread's own synchronous read did."""

    @abstractmethod
    def frame_found(self, at_ns: int, waiting: Unfinished) -> None:
        """There may be a frame for what this thread waits with."""

    @abstractmethod
    def workers_looked(self, at_ns: int) -> int:
        """Workers queued on this CPU have run: how many of them found their page, and are done."""

    @abstractmethod
    def completion_ends_hlt(self) -> bool:
        """A completion waits that makes the vcpu runnable."""

    @abstractmethod
    def give_up_clearing(self, at_ns: int) -> None:
        """Nobody's end is waited for any more: the work was withdrawn otherwise."""

    # ------------------------------------------------------------------ what is written down

    def note(
        self,
        event: Callable[Concatenate[int, str, int, int, Rest], ev.Journal],
        at_ns: int,
        *args: Rest.args,
        **kwargs: Rest.kwargs,
    ) -> None:
        """Write down what happened on this vcpu; the VM's name and running number are filled in.

        What every fault says is built where it happens: passing arguments on costs a tenth of a
        microsecond.
        """
        vm = self.vm
        vm.journal(event(at_ns, vm.name, vm.n, self.id, *args, **kwargs))

    def account(self, at_ns: int, kind: str) -> None:
        """From now on this vcpu's time counts as `kind`."""
        self.spending.ns += at_ns - self.acct_since
        self.acct_since = at_ns
        if kind != self.spending.kind:
            spending = self.cpu.get(kind)
            if spending is None:
                spending = self.cpu[kind] = Spent(kind)
            self.spending = spending

    def freeze(self, at_ns: int) -> None:
        """The VM is over."""
        if self.mode is GUEST:
            self.guest.stop(at_ns)
        self.account(at_ns, "over")
        self.become("over")
        self.gen += 1

    # ------------------------------------------------------------------ leaving the guest

    def leave(self, at_ns: int) -> None:
        """An exit at this instant; whatever was planned in the guest is void."""
        assert self.mode is GUEST, f"{self}, {self.mode.name}, cannot exit"
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

    def exit_to_userspace(self, at_ns: int, for_ns: int) -> None:
        """KVM_RUN returns and is called again: no completion check in between (semantics 3.9)."""
        if self.mode is not GUEST:
            return
        if self.guest.guest_mode and self.nested is not None:
            self.nested.external_exit(at_ns)
        self.leave(at_ns)
        self.vm.push(at_ns + self.vm.costs.exit_ns + for_ns, self.id, self.gen, OP_LOOP)

    def exit_hlt(self, at_ns: int) -> Step:
        """HLT: mp_state HALTED; the completion check of the same exit comes first.

        Where it does not exit, the CPU itself waits for an interrupt, and KVM hears nothing of it.
        """
        if not self.vm.config.hlt_exits:
            return self._hlt_in_guest(at_ns)
        self.leave(at_ns)
        self.mp_halted = True
        vm = self.vm
        vm.journal(VcpuHalted(at_ns, vm.name, vm.n, self.id, "hlt"))
        return self.after_exit(at_ns, self.vm.costs.exit_ns)

    def _hlt_in_guest(self, at_ns: int) -> Step:
        if self.nmi is not None or (self.irqs and self.interrupt_allowed()):
            return self.exit_plain(at_ns)
        self.guest.stop(at_ns)
        self.become("halt")
        self.gen += 1
        self.account(at_ns, "idle")
        return WAIT

    def power_on(self) -> None:
        """The vcpu enters its guest for the first time, at 0."""
        self.account(0, "exit")
        self.vm.push(0, self.id, self.gen, OP_ENTER)

    def park(self, at_ns: int) -> None:
        """The guest's kernel stops on this CPU; only INIT brings the vcpu back."""
        self.leave(at_ns)
        self.become("park")
        self.timer_at = 0
        self.irqs = 0
        self.account(at_ns, "offline")
        self.note(VcpuHalted, at_ns, "offline")

    def wait_for_sipi(self, at_ns: int) -> None:
        """Made anew and not told its mp_state: the guest's kernel takes it for online all the same.

        A thread that is reading a page goes on, as userspace saves nothing before it has it.
        """
        if self.mode in (BLACKOUT, OFFLINE) or self.blackout_gfn >= 0:
            return
        if self.mode is GUEST:
            self.leave(at_ns)
        self.become("revive")
        self.become("park")
        self.gen += 1
        self.timer_at = 0
        self.irqs = 0
        self.account(at_ns, "offline")
        self.note(VcpuHalted, at_ns, "sipi")

    # ------------------------------------------------------------------ waiting for workers

    def clear_waits(self) -> bool:
        """cancel_work_sync() would have to wait."""
        return self.vm.switches.clear_waits and bool(self.apf.queue) and bool(self.apf.running())

    def await_workers(self, at_ns: int, clearing: Clearing) -> None:
        """Stand still until the workers that run have ended, from now on or as soon as that can be.

        Not while the thread reads a page itself; a CPU that is offline has nothing to stop.
        """
        self.clearings.append(clearing)
        if len(self.clearings) > 1 or self.mode in (BLACKOUT, OFFLINE) or self.blackout_gfn >= 0:
            return
        if self.mode is GUEST:
            if self.guest.guest_mode and self.nested is not None:
                self.nested.external_exit(at_ns)
            self.leave(at_ns)
        elif self.mode is HLT:
            self.become("exit")
        self.stand_still(at_ns)

    def stand_still(self, at_ns: int) -> None:
        """Outside of the guest: whatever the thread was to do next is put off."""
        self.become("clear")
        self.gen += 1
        self.account(at_ns, "blackout")
        self.note(ClearBegun, at_ns, [*self.apf.running()], self.clearings[0].why)

    # ------------------------------------------------------------------ halting and waking

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
            or (bool(self.apf.done) and (self.apf.halted or self.completion_ends_hlt()))
            or self.nmi is not None
            or (self.irqs != 0 and self.interrupt_allowed())
        )

    def resumed(self, at_ns: int, why: ev.ResumeWhy) -> None:
        """Clear whatever halted this vcpu, and say why."""
        halted = self.mp_halted or self.apf.halted
        self.mp_halted = False
        self.apf.unhalt()
        if halted:
            vm = self.vm
            vm.journal(VcpuResumed(at_ns, vm.name, vm.n, self.id, why))

    def poke(self, at_ns: int) -> None:
        """Something this thread waits for may have happened: completion, interrupt, NMI.

        A thread that polls has not to be put on a CPU.
        """
        if self.mode is BLOCKED and self.runnable():
            wake_ns = 0 if self.polls() else self.vm.costs.wake_ns
            self.become("event")
            self.gen += 1
            self.vm.push(at_ns + wake_ns, self.id, self.gen, OP_UNBLOCK)

    def polls(self) -> bool:
        """The thread looks for what it waits for, on its CPU."""
        poll = self.poll
        return poll is not None and poll.until_ns > 0 and self.mode in (BLOCKED, WAKING)

    def stop_poll(self, at_ns: int) -> bool:
        """Others want its CPU: a thread that polls sleeps; False: it does not poll."""
        if self.mode is not BLOCKED or not self.polls():
            return False
        self.gen += 1
        self.sleep(at_ns)
        return True

    def sleep(self, at_ns: int) -> None:
        """From now on it has to be woken."""
        if self.poll is not None:
            self.poll.until_ns = 0
        self.account(at_ns, "halted" if self.apf.halted else "idle")

    def preempted(self, at_ns: int) -> None:
        """The host's scheduler takes the CPU from a thread that is about to enter its guest."""
        self.become("preempt")
        self.gen += 1
        self.await_cpu(at_ns, preempted=True)

    def await_cpu(self, at_ns: int, *, preempted: bool = False) -> None:
        """It could run from now on, and has no CPU."""
        self.account(at_ns, "steal")
        self.note(CpuAwaited, at_ns, preempted)

    def find_cpu(self, at_ns: int) -> None:
        """It has one."""
        self.account(at_ns, "exit")
        self.note(CpuFound, at_ns)

    def kick(self, at_ns: int) -> None:
        """Make a running vcpu leave the guest for the host's attention."""
        if self.mode is GUEST:
            if self.guest.guest_mode and self.nested is not None:
                self.nested.external_exit(at_ns)
            step = self.exit_plain(at_ns)
            self.vm.push(step[0], self.id, self.gen, step[1])
        elif self.mode is HLT:
            self.become("exit")
            self.account(at_ns, "exit")
            self.gen += 1
            step = self.after_exit(at_ns, self.vm.costs.exit_ns)
            self.vm.push(step[0], self.id, self.gen, step[1])
        else:
            self.poke(at_ns)

    def pend(self, irqs: int) -> None:
        """Interrupts that stay pending until the next entry that may inject them."""
        self.irqs |= irqs

    def pend_nmi(self, faults: bool) -> None:
        """An NMI stays pending until the next entry."""
        self.nmi = faults

    def interrupt(self, at_ns: int, irq: int) -> None:
        """An interrupt for this vcpu; it leaves the guest only if it could take it."""
        if self.mode is OFFLINE or not self.lapic_on:
            return
        self.irqs |= irq
        if self.mode is GUEST or self.mode is HLT:
            if self.guest.if_flag or self.guest.guest_mode:
                self.kick(at_ns)
        else:
            self.poke(at_ns)

    def revive(self, at_ns: int, why: ev.ResumeWhy, pause_ns: int) -> None:
        """Migration or reset: out of the guest and out of apf.halted, on again after a pause."""
        if self.mode in (BLACKOUT, OFFLINE) or self.blackout_gfn >= 0 or self.clearings:
            return
        if self.mode is GUEST:
            self.leave(at_ns)
        elif self.mode is BLOCKED and self.mp_halted and not pause_ns and why != "reset":
            self.poke(at_ns)
            return
        if self.apf.halted or why == "reset":
            self.resumed(at_ns, why)
        self.become("revive")
        self.account(at_ns, "exit")
        self.gen += 1
        self.vm.push(at_ns + pause_ns + self.vm.costs.exit_ns, self.id, self.gen, OP_LOOP)

    # ------------------------------------------------------------------ timers and other exits

    def arm_timer(self, at_ns: int, period: int) -> None:
        """Guest timer: the next instant on this vcpu's grid after `at_ns` (grids are staggered).

        It is the LAPIC's, and masked while that is off.
        """
        if not period or not self.lapic_on:
            return
        offset = period * self.id // len(self.vm.vcpus)
        due_ns = self.timer_at = at_ns - (at_ns - offset) % period + period
        if due_ns not in self.timers:
            self.timers.add(due_ns)
            self.vm.push(due_ns, self.id, -1, OP_TIMER, due_ns)

    def disarm_timer(self) -> None:
        """Whatever the guest timer was armed for is void."""
        self.timer_at = 0

    def timer(self, at_ns: int, armed_for: int) -> None:
        """The guest timer fires; it is armed again when the guest handled it."""
        self.timers.discard(armed_for)
        if armed_for == self.timer_at:
            self.timer_at = 0
            self.interrupt(at_ns, IRQ_TIMER)

    def arm_host_exits(self, at_ns: int) -> None:
        """The host's tick and background exits, whose grids lie between those of guest timers."""
        for period, armed in self.host_exits.items():
            if not armed:
                self.host_exits[period] = True
                due = at_ns - (at_ns - period * (2 * self.id + 1) // 7) % period + period
                self.vm.push(due, self.id, -1, OP_HOST_EXIT, period)

    def host_exit(self, at_ns: int, period: int) -> None:
        """The host's own tick, or a background exit: leaves the guest if it runs."""
        self.host_exits[period] = False
        if self.mode is GUEST or self.mode is HLT:
            self.kick(at_ns)

    # ------------------------------------------------------------------ guest side

    def sync(self, at_ns: int) -> None:
        """Bring accessed and dirty bits up to date."""
        if self.mode is GUEST:
            self.guest.sync(at_ns)

    def replan(self, at_ns: int) -> None:
        """The page table lost entries: what this vcpu was going to do may not be true any more."""
        if self.mode is GUEST and self.guest.runs_memory_task():
            self.guest.stop(at_ns)
            self.gen += 1
            step = self.guest.resume(at_ns)
            if step[1] is not OP_WAIT:
                self.vm.push(step[0], self.id, self.gen, step[1])
