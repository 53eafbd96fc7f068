"""One CPU of a guest's kernel: what runs on it, interrupts, traps, the scheduler's decisions.

Two layers of execution.  The *base* is the current task (user or kernel mode) or the idle task.  On
top there may be one *overlay*: kernel code with interrupts off for a fixed time (`overlays.py`:
exception handler, interrupt handler, context switch).  Only the base can be interrupted (the
gates are interrupt gates: IF=0 on entry, semantics 2.1), except by an NMI (`nmi.py`).

Every method that the vcpu thread calls returns the next step of this vcpu, `(at_ns, op)`, or None
if there is none until somebody interferes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.events.types import ProtocolFault, TaskFinished
from pagewake.guest_kernel import apf_handler, hotplug, nmi
from pagewake.guest_kernel.apf_area import ApfArea, area_gpa
from pagewake.guest_kernel.overlays import (
    SWITCHED,
    Boot,
    Booted,
    Disabled,
    InnerLatch,
    Interrupts,
    Iret,
    IrqExit,
    NmiDone,
    Overlay,
    Spin,
    Switched,
    Trap,
    What,
)
from pagewake.guest_kernel.scheduler import RunQueue
from pagewake.guest_kernel.script import run_script
from pagewake.guest_kernel.serving import next_request
from pagewake.guest_kernel.tasks import Task
from pagewake.kvm.modes import OFFLINE
from pagewake.kvm.ports import (
    IRQ_APF,
    IRQ_CALL,
    IRQ_RESCHED,
    IRQ_TIMER,
    OP_GUEST,
    OP_GUEST_LATER,
    WAIT,
    FaultContext,
    GuestCpuPort,
    Step,
    VcpuPort,
)

if TYPE_CHECKING:
    from pagewake.guest_kernel.kernel import GuestKernel, InnerGuestsPort

PLAN_NS: Final = 4_000_000
EXIT_NMI: Final = 0x061


@mypyc_attr(allow_interpreted_subclasses=True)
class GuestCpu(GuestCpuPort):
    """See the module."""

    __slots__ = (
        "ack_due",
        "area",
        "area_gpa",
        "calls",
        "curr",
        "id",
        "idle_halting",
        "kernel",
        "mm",
        "need_resched",
        "next_balance_ns",
        "nmi_halting",
        "online",
        "over",
        "rq",
        "since_ns",
        "stopping",
        "suspended",
        "thread",
        "vm",
    )

    def __init__(self, kernel: GuestKernel, thread: VcpuPort) -> None:
        self.kernel = kernel
        self.vm = kernel.vm
        self.thread = thread
        self.id = thread.id
        self.area_gpa = area_gpa(thread.id)
        self.area = kernel.areas[self.area_gpa]
        self.rq = RunQueue(kernel.scheduler)
        self.curr: Task | None = None
        self.apf_vector = apf_handler.APF_VECTOR
        self.if_flag = True
        self.cpl = 0
        self.shadow = False
        self.guest_mode = False
        self.depth = 1
        self.over: Overlay | None = None
        self.since_ns = 0
        self.need_resched = False
        self.online = True
        self.stopping = False
        self.mm = ""
        self.idle_halting = False
        self.nmi_halting = False
        self.suspended: Overlay | None = None
        self.ack_due = False
        self.calls: list[hotplug.Call] = []
        self.next_balance_ns = kernel.scheduler.balance_ns * (1 + thread.id) // 4

    # ------------------------------------------------------------------ clockwork

    def boot(self, at_ns: int) -> Step:
        """The CPU starts: enable APF on it, then run whatever there is."""
        self.online = True
        self.need_resched = bool(self.rq.waiting)
        return apf_handler.enable(self, at_ns)

    @property
    def cr3(self) -> str:
        """Of the process that ran last (idle keeps it), or what a nested guest has loaded."""
        return self.inner.cr3(self) if self.guest_mode else self.mm

    @property
    def inner(self) -> InnerGuestsPort:
        """The guests that run in this one."""
        assert self.kernel.inner is not None, f"{self.vm.name}: no guest runs in this one"
        return self.kernel.inner

    def area_at(self, gpa: int) -> ApfArea:
        """The 64 bytes of guest memory at `gpa`, as far as anybody wrote reasons there."""
        if gpa == self.area_gpa:
            return self.area
        area = self.kernel.areas.get(gpa)
        if area is None:
            area = self.kernel.areas[gpa] = ApfArea()
        return area

    @property
    def idle_name(self) -> str:
        """The name under which this CPU's idle task waits."""
        return f"idle/{self.id}"

    @property
    def nmi_name(self) -> str:
        """The name under which an NMI handler on this CPU waits."""
        return f"nmi/{self.id}"

    def task_name(self) -> str:
        """Name of what is current, the idle task included."""
        return self.curr.name if self.curr is not None else self.idle_name

    def fault_event(self, at_ns: int, what: ev.ProtocolFaultWhat, detail: str) -> None:
        """Write down something that the protocol forbids."""
        self.thread.note(ProtocolFault, at_ns, what, detail)

    def stop(self, at_ns: int) -> None:
        """The vcpu leaves the guest."""
        over = self.over
        if over is not None:
            over.left_ns = over.end_ns - at_ns
        else:
            self.charge(at_ns)

    def sync(self, at_ns: int) -> None:
        """Accessed and dirty bits become current."""
        if self.over is None:
            self.charge(at_ns)

    def charge(self, at_ns: int) -> None:
        """The current task consumed the CPU since `since_ns`."""
        ran_ns = at_ns - self.since_ns
        self.since_ns = at_ns
        task = self.curr
        if task is None or not ran_ns:
            return
        task.cpu_ns += ran_ns
        if task.inner is not None:
            task.inner.ran(ran_ns)
        elif task.stream is not None:
            task.stream.advance(ran_ns)
        elif task.left_ns:
            task.left_ns -= ran_ns

    def resume(self, at_ns: int) -> Step:
        """Entered with nothing injected."""
        over = self.over
        if over is not None:
            over.end_ns = at_ns + over.left_ns
            self.thread.account(at_ns, "interrupt")
            return over.end_ns, OP_GUEST
        return self.run_base(at_ns)

    def overlay(self, at_ns: int, for_ns: int, what: What) -> Step:
        """Kernel code with interrupts off for `for_ns`, from this instant or the next entry on."""
        self.if_flag = False
        self.cpl = 0
        end_ns = at_ns + for_ns
        self.over = Overlay(what, end_ns, for_ns)
        self.thread.account(at_ns, "interrupt")
        return end_ns, OP_GUEST

    def step(self, at_ns: int) -> Step:
        """What was planned is due: the end of an overlay, or something in the base."""
        over = self.over
        if over is not None:
            self.over = None
            self.since_ns = at_ns
            return self._over(at_ns, over.what)
        return self._base_event(at_ns)

    def _over(self, at_ns: int, what: What) -> Step:
        """See `ENDS`; what every fault has is called without it, which compiled costs a tenth."""
        if isinstance(what, Trap):
            return apf_handler.trapped(self, at_ns, what)
        if isinstance(what, Switched):
            return self.switched(at_ns, what)
        if isinstance(what, Interrupts):
            return self.interrupted(at_ns, what)
        return ENDS[type(what)](self, at_ns, what)

    # ------------------------------------------------------------------ base: tasks and idle

    def restore_base(self) -> None:
        """Interrupt flag and privilege level of what runs below the overlay."""
        task = self.curr
        if task is None or self.nmi_halting:
            self.if_flag, self.cpl = True, 0
        else:
            self.if_flag, self.cpl = task.if_flag, task.cpl

    def iret(self, at_ns: int) -> Step:
        """Back to the base; an interrupt that waited for IF=1 makes the vcpu leave at once."""
        if self.suspended is not None and not self.nmi_halting:
            return nmi.resume(self, at_ns)
        self.restore_base()
        if self.thread.nmi is not None or (self.thread.irqs and self.if_flag):
            self.since_ns = at_ns
            return self.thread.exit_plain(at_ns)
        return self.run_base(at_ns)

    def irq_exit(self, at_ns: int) -> Step:
        """End of a handler: schedule if it is due and allowed here, else return."""
        if self.need_resched and self.may_preempt():
            return self.schedule(at_ns)
        return self.iret(at_ns)

    def may_preempt(self) -> bool:
        """Return to user mode or idle; in kernel mode only on a preemptible kernel."""
        task = self.curr
        if self.suspended is not None:
            return False
        if task is None:
            return not self.idle_halting
        if task.state == "halting" or task.preempt_count:
            return False
        return task.cpl == 3 or task.inner is not None or self.kernel.switches.preempt

    def run_base(self, at_ns: int) -> Step:
        """Run the current task, or idle."""
        self.since_ns = at_ns
        task = self.curr
        if self.nmi_halting:
            if not self.thread.timer_at:
                self.thread.arm_timer(at_ns, self.vm.config.tick_ns)
            return self.thread.exit_hlt(at_ns)
        if task is None:
            if (self.rq.waiting or self.stopping) and not self.idle_halting:
                return self.schedule(at_ns)
            if not self.thread.timer_at:
                self.thread.arm_timer(at_ns, self.vm.config.idle_tick_ns)
            return self.thread.exit_hlt(at_ns)
        if not self.thread.timer_at:
            self.thread.arm_timer(at_ns, self.vm.config.tick_ns)
        if task.state == "halting":
            return self.thread.exit_hlt(at_ns)
        self.thread.account(at_ns, task.group)
        if task.script:
            return run_script(self, at_ns, task)
        if task.inner is not None:
            return self.inner.run(self, at_ns, task)
        return self._run_stream(at_ns, task)

    def enter_guest(self, depth: int, cpl: int) -> None:
        """VMRUN: what runs from now on is a guest of this one; L0 sees its flags."""
        self.guest_mode = True
        self.depth = depth
        self.cpl = cpl
        self.if_flag = True

    def leave_guest(self) -> None:
        """#VMEXIT: this guest's kernel goes on."""
        self.guest_mode = False
        self.depth = 1

    def limit_ns(self, at_ns: int) -> int:
        """How far ahead it is worth planning: the next tick, if there is one."""
        timer_ns = self.thread.timer_at
        return timer_ns - at_ns if timer_ns > at_ns else PLAN_NS

    def _run_stream(self, at_ns: int, task: Task) -> Step:
        stream = task.stream
        assert stream is not None
        limit_ns = self.limit_ns(at_ns)
        left_ns = task.section_left_ns()
        stop_ns = limit_ns if left_ns is None or left_ns > limit_ns else left_ns
        remaining_ns = stream.remaining_ns()
        if remaining_ns is not None and remaining_ns < stop_ns:
            stop_ns = remaining_ns
        stop_ns = stream.cpu_until_miss(stop_ns)
        if stop_ns >= limit_ns and self.thread.timer_at and self.if_flag:
            return WAIT  # the tick comes first
        return at_ns + stop_ns, OP_GUEST

    def _base_event(self, at_ns: int) -> Step:
        self.charge(at_ns)
        task = self.curr
        assert task is not None
        if task.script:
            return run_script(self, at_ns, task)
        if task.inner is not None:
            return self.inner.event(self, at_ns, task)
        stream = task.stream
        assert stream is not None
        if stream.remaining_ns() == 0:
            if task.requests is not None:
                return next_request(self, at_ns, task)
            return self.finish(at_ns, task)
        if task.sections is not None:
            task.enter_section()
            self.cpl = task.cpl
            if self.need_resched and self.may_preempt():
                return self.schedule(at_ns)
        if stream.cpu_until_miss(1) == 0:
            gfn, write = stream.current()
            return self.fault(at_ns, task, Gfn(gfn), write)
        return self.run_base(at_ns)

    def fault(self, at_ns: int, task: Task, gfn: Gfn, write: bool) -> Step:
        """A touch of a page that is not mapped: nested page fault."""
        return self.thread.exit_fault(at_ns, FaultContext(gfn, write, self.cpl, 1, task.name))

    def runs_memory_task(self) -> bool:
        """A stream or a nested guest is running right now."""
        return self.over is None and self.curr is not None

    # ------------------------------------------------------------------ scheduling

    def finish(self, at_ns: int, task: Task) -> Step:
        """The task is done; the VM freezes at its last one."""
        self.thread.note(TaskFinished, at_ns, task.name)
        task.state = "finished"
        if self.kernel.finished(at_ns):
            return WAIT
        return self.block(at_ns)

    def block(self, at_ns: int) -> Step:
        """The current task leaves the run queue."""
        self.rq.update(at_ns)
        self.rq.curr = None
        return self.schedule(at_ns)

    def sleep_until(self, at_ns: int, task: Task, wake_ns: int) -> Step:
        """The current task sleeps by a timer of its own."""
        task.state = "sleeping"
        self.vm.push(wake_ns, self.id, -1, OP_GUEST_LATER, task.index)
        return self.block(at_ns)

    def schedule(self, at_ns: int) -> Step:
        """Pick the next task; a change of task costs a context switch."""
        self.need_resched = False
        if self.stopping:
            return hotplug.stop(self, at_ns)
        rq = self.rq
        prev = self.curr
        rq.update(at_ns)
        rq.put_back()
        if not rq.waiting:
            self.kernel.pull_task(at_ns, self, "idle")
        task = rq.pick(at_ns)
        self.curr = task
        if task is not None:
            self.mm = task.group
        if task is prev:
            return self.iret(at_ns)
        if task is None or prev is None:
            self.thread.disarm_timer()  # the idle tick is another one
        return self.overlay(at_ns, self.kernel.costs.context_switch_ns, SWITCHED)

    def switched(self, at_ns: int, _: Switched) -> Step:
        """End of a context switch."""
        task = self.curr
        if task is not None and task.state == "new":
            task.state = "runnable"
        if self.need_resched:
            return self.schedule(at_ns)
        return self.iret(at_ns)

    # ------------------------------------------------------------------ interrupts and exceptions

    def take_interrupts(self, at_ns: int, irqs: int) -> Step:
        """Interrupt handlers, one after the other in one overlay; they are L1's."""
        if self.guest_mode:
            self.thread.pend(irqs)
            return self.inner.interrupt(self, at_ns)
        costs = self.kernel.costs
        for_ns = costs.tick_ns if irqs & IRQ_TIMER else 0
        if irqs & ~IRQ_TIMER:
            for_ns += costs.irq_ns
        return self.overlay(at_ns, for_ns, Interrupts(irqs))

    def interrupted(self, at_ns: int, what: Interrupts) -> Step:
        """End of the handlers."""
        irqs = what.irqs
        if irqs & IRQ_TIMER:
            self._tick(at_ns)
        if irqs & IRQ_RESCHED:
            self.need_resched = True
        if irqs & IRQ_CALL and self.calls:
            self.thread.pend(irqs & IRQ_APF)  # taken when the call is done
            return hotplug.run_calls(self, at_ns)
        if irqs & IRQ_APF:
            return apf_handler.ready_interrupt(self, at_ns)
        return self.irq_exit(at_ns)

    def _tick(self, at_ns: int) -> None:
        self.thread.disarm_timer()
        rq = self.rq
        rq.update(at_ns)
        if at_ns >= self.next_balance_ns:
            self.next_balance_ns = at_ns + self.kernel.scheduler.balance_ns
            self.kernel.pull_task(at_ns, self, "periodic")
        if rq.tick_preempts(at_ns):
            self.need_resched = True
        if self.curr is not None:
            self.thread.arm_timer(at_ns, self.vm.config.tick_ns)

    def take_exception(self, at_ns: int, token: Token, kind: ev.ApfKind, level: int) -> Step:
        """#PF with CR2 = token; while a nested guest runs its hypervisor has a say."""
        if self.guest_mode:
            return self.inner.exception(self, at_ns, token, kind, level)
        return self.overlay(at_ns, self.kernel.costs.trap_ns, Trap(token, self.cpl))

    def take_nmi(self, at_ns: int, faults: bool) -> Step:
        """NMI; its handler may take a page fault and so steal a pending reason."""
        if self.guest_mode:
            self.thread.pend_nmi(faults)
            return self.inner.interrupt(self, at_ns, EXIT_NMI)
        return nmi.take(self, at_ns, faults)

    def call(self, at_ns: int, what: hotplug.Call) -> None:
        """Have something executed on this CPU, by interrupt."""
        self.calls.append(what)
        if self.thread.mode is OFFLINE:
            hotplug.come_online(self, at_ns)
        else:
            self.thread.interrupt(at_ns, IRQ_CALL)


ENDS: Final[Mapping[type[What], Callable[[GuestCpu, int, Any], Step]]] = {
    Trap: apf_handler.trapped,
    Interrupts: GuestCpu.interrupted,
    Switched: GuestCpu.switched,
    Spin: apf_handler.spin,
    NmiDone: nmi.done,
    Iret: lambda cpu, at_ns, _: cpu.iret(at_ns),
    IrqExit: lambda cpu, at_ns, _: cpu.irq_exit(at_ns),
    Boot: lambda cpu, at_ns, _: cpu.boot(at_ns),
    Booted: lambda cpu, at_ns, _: apf_handler.booted(cpu, at_ns),
    Disabled: lambda cpu, at_ns, _: hotplug.disabled(cpu, at_ns),
    InnerLatch: lambda cpu, at_ns, _: cpu.inner.latch(cpu, at_ns),
}
"""What is done at the end of each kind of overlay."""
