"""Runs the L2 (and L3) guests of one VM whose kernel is a hypervisor; both sides of svm.c.

L0 routes every exit taken in guest mode (`VcpuNested`, its reason always 0).  Where it says done,
L1 gets a #VMEXIT: L1's KVM latches its reason word with interrupts off, then, preemptible, handles
the exit, again by `NestedSvm`, which is in guest mode only while an L3 runs.  A wait or a wake in
that handler is the one of L1's own kernel: the L2 vcpu thread sleeps in L1's sleeper hash
(semantics 4.1 to 4.8).  The handler holds the vcpu for the whole wait (G4), and L2 gets no
interrupt meanwhile (G8); VMX is another matter (G9).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.guest_kernel import apf_handler
from pagewake.guest_kernel.kernel import GuestKernel, InnerGuestsPort
from pagewake.guest_kernel.overlays import INNER_LATCH, InnerLatch
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.vcpu import GuestCpu
from pagewake.kvm.abi import REASON_NOT_PRESENT, REASON_READY
from pagewake.kvm.ports import (
    OP_GUEST,
    WAIT,
    FaultContext,
    GuestCpuPort,
    NestedPort,
    Step,
    VcpuPort,
)
from pagewake.nested_svm.exit_codes import EXCP_PF, HLT, INTR, NPF, PF_VECTOR
from pagewake.nested_svm.hypervisor import Disposition, Exit, NestedSvm
from pagewake.nested_svm.inner_memory import InnerMemory
from pagewake.nested_svm.inner_vcpu import DueExit, InnerVcpu

PAGE_SHIFT: Final = 12
PROCESS_CONTEXT: Final = 3
"""pf_interception calls task_wait itself: no kernel code was interrupted by the fault."""


@mypyc_attr(allow_interpreted_subclasses=True)
class VcpuNested(NestedPort):
    """L0's nested SVM for one vcpu."""

    __slots__ = ("guest", "l1_npt", "masking", "svm", "thread")

    def __init__(
        self, thread: VcpuPort, guest: GuestCpuPort, svm: NestedSvm, l1_npt: bool, masking: bool
    ) -> None:
        self.thread = thread
        self.guest = guest
        self.svm = svm
        self.l1_npt = l1_npt
        self.masking = masking

    def masks_interrupts(self) -> bool:
        """G0, where the gap is there and L1 sets V_INTR_MASKING."""
        return self.masking

    def queue_exception(self, token: Token) -> bool:
        """check_exception for #PF, error code 0, CR2 = token."""
        return self.svm.queue_exception(PF_VECTOR, 0, token, nested_apf=True)

    def drop_exception(self) -> None:
        """check_exception runs at entry in the kernel: nothing is owed for what was dropped."""
        self.svm.owed = None

    def same_mmu(self, level: int) -> bool:
        """Direct for L1, and for L2 if L1 shadows; a shadow of L1's table if L1 uses NPT."""
        now = self.guest.depth if self.guest.guest_mode else 1
        return self._direct(now) == self._direct(level)

    def _direct(self, level: int) -> bool:
        return level == 1 or not self.l1_npt

    def external_exit(self, at_ns: int) -> None:
        """A physical interrupt took the vcpu out of guest mode: L0's own business."""
        route_exit(self.thread, at_ns, self.svm, 0, DueExit(Exit(INTR)))


def route_exit(
    thread: VcpuPort, at_ns: int, svm: NestedSvm, level: int, due: DueExit
) -> Disposition:
    """handle_exit of the hypervisor at `level`, written down if the exit was routed."""
    left = due.exit
    reason = svm.apf_reason
    done = svm.handle_exit(left.code, left.info1, left.info2, due.rcx)
    if done.route is not None:
        thread.note(ev.ExitRouted, at_ns, level, left.code, done.route, reason, left.info2)
    return done


def inner_vcpu(task: Task) -> InnerVcpu:
    """The vcpu whose thread this task of L1 is."""
    assert isinstance(task.inner, InnerVcpu), f"{task.name} runs no guest"
    return task.inner


@mypyc_attr(allow_interpreted_subclasses=True)
class InnerGuests(InnerGuestsPort):
    """The nested guests of one VM."""

    __slots__ = ("kernel", "latch_stall_ns", "memory", "nested", "vcpus", "vm")

    def __init__(self, kernel: GuestKernel, memory: InnerMemory, nested: list[VcpuNested]) -> None:
        self.kernel = kernel
        self.vm = kernel.vm
        self.memory = memory
        self.nested = nested
        self.vcpus: list[InnerVcpu] = []
        self.latch_stall_ns: dict[int, int] = {}

    def inner_tasks(self) -> list[Task]:
        """Tasks of the L2 and L3 guests."""
        return [task for vcpu in self.vcpus for task in vcpu.tasks]

    # ------------------------------------------------------------------ running

    def run(self, cpu: GuestCpu, at_ns: int, task: Task) -> Step:
        """The L2 vcpu thread has the CPU."""
        vcpu = inner_vcpu(task)
        if vcpu.phase == "l1":
            cpu.thread.account(at_ns, "l1")
            return at_ns + vcpu.left_ns, OP_GUEST
        inside = vcpu.current()
        self._enter_guest_mode(cpu, vcpu, inside)
        if vcpu.phase == "vmrun":
            vcpu.phase = "run"
            return cpu.thread.exit_plain(at_ns)
        if inside is None:
            return self._exit(cpu, at_ns, vcpu, vcpu.idle_exit())
        cpu.thread.account(at_ns, inside.group)
        limit_ns = cpu.limit_ns(at_ns)
        stop_ns = vcpu.plan_ns(inside, limit_ns)
        if stop_ns >= limit_ns and cpu.thread.timer_at:
            return WAIT  # the tick comes first
        return at_ns + stop_ns, OP_GUEST

    def cr3(self, cpu: GuestCpu) -> str:
        """What L0 shadows: L1's nested page table for a guest, or the L2 process's own."""
        if self.nested[cpu.id].l1_npt:
            return f"npt/{cpu.depth}"
        task = cpu.curr
        inside = inner_vcpu(task).curr if task is not None else None
        return inside.group if inside is not None else ""

    def _enter_guest_mode(self, cpu: GuestCpu, vcpu: InnerVcpu, inside: Task | None) -> None:
        if inside is not None:
            cpu.enter_guest(inside.level, inside.cpl)
        else:
            cpu.enter_guest(2, 0)
        self.nested[cpu.id].svm.guest_mode = True
        vcpu.svm.guest_mode = cpu.depth == 3

    def event(self, cpu: GuestCpu, at_ns: int, task: Task) -> Step:
        """What was planned inside is due."""
        vcpu = inner_vcpu(task)
        if vcpu.phase == "l1":
            return self._l1_handle_exit(cpu, at_ns, task, vcpu)
        inside = vcpu.current()
        assert inside is not None
        assert inside.stream is not None
        if vcpu.cpu_ns >= vcpu.next_exit_ns:
            return self._exit(cpu, at_ns, vcpu, vcpu.take_exit())
        if inside.stream.remaining_ns() == 0:
            return self._finished(cpu, at_ns, vcpu, inside)
        if vcpu.cpu_ns >= vcpu.next_tick_ns:
            vcpu.tick()
        elif inside.stream.cpu_until_miss(1) == 0:
            return self._miss(cpu, at_ns, vcpu, inside, *inside.stream.current())
        return cpu.run_base(at_ns)

    def _finished(self, cpu: GuestCpu, at_ns: int, vcpu: InnerVcpu, inside: Task) -> Step:
        cpu.thread.note(ev.TaskFinished, at_ns, inside.name)
        inside.state = "finished"
        vcpu.remove_current()
        if self.kernel.finished(at_ns):
            return WAIT
        return cpu.run_base(at_ns)

    # ------------------------------------------------------------------ exits of the nested guest

    def _exit(self, cpu: GuestCpu, at_ns: int, vcpu: InnerVcpu, due: DueExit) -> Step:
        """An exit that has nothing to do with memory: L0 routes it."""
        thread = cpu.thread
        thread.leave(at_ns)
        done = route_exit(thread, at_ns, self.nested[cpu.id].svm, 0, due)
        if done.todo == "vmexit":
            self._vmexit_to_l1(cpu, at_ns, vcpu, due, done.why or "intercept")
        return thread.after_exit(at_ns, self.vm.costs.exit_ns)

    def _miss(
        self, cpu: GuestCpu, at_ns: int, vcpu: InnerVcpu, inside: Task, gfn: int, write: bool
    ) -> Step:
        """L1's table first (no I/O), then L0's."""
        memory = self.memory
        nested = self.nested[cpu.id]
        write_bit = 2 if write else 0
        address = gfn << PAGE_SHIFT
        if not memory.present[gfn]:
            code = NPF if nested.l1_npt else EXCP_PF
            vcpu.fault_gfn = gfn
            return self._l1_fault(cpu, at_ns, vcpu, DueExit(Exit(code, write_bit, address)))
        code = NPF if nested.svm.npt else EXCP_PF
        due = DueExit(Exit(code, write_bit, (gfn + memory.base) << PAGE_SHIFT))
        cpu.stop(at_ns)
        route_exit(cpu.thread, at_ns, nested.svm, 0, due)
        context = FaultContext(Gfn(gfn + memory.base), write, cpu.cpl, cpu.depth, inside.name)
        return cpu.thread.exit_fault(at_ns, context)

    def _l1_fault(self, cpu: GuestCpu, at_ns: int, vcpu: InnerVcpu, due: DueExit) -> Step:
        """Absent in L1's table: L1 gets the exit, if need be from inside L0's MMU."""
        thread = cpu.thread
        thread.leave(at_ns)
        done = route_exit(thread, at_ns, self.nested[cpu.id].svm, 0, due)
        why = done.why if done.todo == "vmexit" else None
        self._vmexit_to_l1(cpu, at_ns, vcpu, due, why or "intercept")
        return thread.after_exit(at_ns, self.vm.costs.exit_ns)

    def _vmexit_to_l1(
        self, cpu: GuestCpu, at_ns: int, vcpu: InnerVcpu, due: DueExit, why: ev.VmexitReason
    ) -> None:
        """nested_vmexit: L1 continues behind its VMRUN, interrupts off."""
        vm = self.vm
        left = due.exit
        cpu.thread.note(ev.NestedVmexit, at_ns, 1, left.code, why, left.info2)
        self.nested[cpu.id].svm.guest_mode = False
        cpu.leave_guest()
        vcpu.exit_to_l1(due, vm.costs.fault_ns)
        cpu.overlay(at_ns, self.kernel.costs.irq_ns, INNER_LATCH)

    # ------------------------------------------------------------------ L1's KVM

    def latch(self, cpu: GuestCpu, at_ns: int) -> Step:
        """End of L1's svm_vcpu_run: the reason word is read for an exit by #PF only."""
        task = cpu.curr
        assert task is not None
        vcpu = inner_vcpu(task)
        left = vcpu.pending.exit
        if vcpu.svm.latch(left.code, cpu.area.read_and_reset_reason) and vcpu.svm.apf_reason:
            cpu.thread.note(ev.ReasonLatched, at_ns, 1, vcpu.svm.apf_reason, Token(left.info2))
        vcpu.left_ns += self.latch_stall_ns.pop(cpu.id, 0)
        return cpu.iret(at_ns)

    def end_latched(self) -> None:
        """No kernel's rule: what is latched and not waited for is no NOT_PRESENT any more."""
        for vcpu in self.vcpus:
            if vcpu.svm.apf_reason == REASON_NOT_PRESENT:
                vcpu.svm.apf_reason = 0
                vcpu.pending = DueExit(Exit(INTR))

    def _l1_handle_exit(self, cpu: GuestCpu, at_ns: int, task: Task, vcpu: InnerVcpu) -> Step:
        """L1's handle_exit; the thread enters again afterwards."""
        vcpu.phase = "vmrun"
        due = vcpu.pending
        done = route_exit(cpu.thread, at_ns, vcpu.svm, 1, due)
        if done.todo == "vmexit":
            self._vmexit_to_l2(cpu, at_ns, vcpu, done)
            if self.vm.frozen_ns is not None:
                return WAIT
        elif done.interception is not None and done.todo == "wait":
            self._trap_event(cpu, at_ns, due.exit, "wait")
            return apf_handler.task_wait(
                cpu, at_ns, Token(done.interception.address), PROCESS_CONTEXT
            )
        elif done.interception is not None and done.todo == "wake":
            self._trap_event(cpu, at_ns, due.exit, "wake")
            return apf_handler.task_wake(cpu, at_ns, Token(done.interception.address), 0)
        elif done.todo == "fault" and vcpu.fault_gfn >= 0:
            self.memory.allow(vcpu.fault_gfn)
        elif due.exit.code == HLT:
            return self._l2_halts(cpu, at_ns, task)
        vcpu.fault_gfn = -1
        return cpu.run_base(at_ns)

    def _trap_event(self, cpu: GuestCpu, at_ns: int, left: Exit, handler: ev.TrapHandler) -> None:
        reason = REASON_NOT_PRESENT if handler == "wait" else REASON_READY
        cpu.thread.note(
            ev.TrapTaken,
            at_ns,
            level=1,
            reason=reason,
            cr2=left.info2,
            handler=handler,
            cpl=0,
            task=cpu.task_name(),
        )

    def _l2_halts(self, cpu: GuestCpu, at_ns: int, task: Task) -> Step:
        """The L2 vcpu thread blocks in L1 until L2's next timer interrupt."""
        return cpu.sleep_until(at_ns, task, at_ns + (self.vm.config.tick_ns or 1_000_000))

    def _vmexit_to_l2(self, cpu: GuestCpu, at_ns: int, vcpu: InnerVcpu, done: Disposition) -> None:
        """L1 hands an exit of L3 on to L2; if it is L1's own APF, L2 knows no such token (G2)."""
        left = done.exit
        why = done.why or "intercept"
        cpu.thread.note(ev.NestedVmexit, at_ns, 2, left.code, why, left.info2)
        if why == "apf":
            self._kill(cpu, at_ns, vcpu, Token(left.info2))

    # ------------------------------------------------------------------ events while inside

    def exception(
        self, cpu: GuestCpu, at_ns: int, token: Token, kind: ev.ApfKind, level: int
    ) -> Step:
        """Entry with an APF #PF in guest mode: owed to L1 as #VMEXIT, or delivered into L2 (G1)."""
        task = cpu.curr
        assert task is not None
        vcpu = inner_vcpu(task)
        svm = self.nested[cpu.id].svm
        if level == 1:
            owed = svm.handle_exit(EXCP_PF)
            self._vmexit_to_l1(cpu, at_ns, vcpu, DueExit(owed.exit), owed.why or "apf")
            return cpu.resume(at_ns)
        self._kill(cpu, at_ns, vcpu, token)
        if self.vm.frozen_ns is not None:
            return WAIT
        return cpu.run_base(at_ns)

    def interrupt(self, cpu: GuestCpu, at_ns: int, code: int = INTR) -> Step:
        """An interrupt or NMI for L1 while its guest runs: #VMEXIT, taken once L1 allows it."""
        task = cpu.curr
        assert task is not None
        self._vmexit_to_l1(cpu, at_ns, inner_vcpu(task), DueExit(Exit(code)), "intercept")
        return cpu.resume(at_ns)

    def _kill(self, cpu: GuestCpu, at_ns: int, vcpu: InnerVcpu, token: Token) -> None:
        """An ordinary #PF at an address that the current inner task has not mapped."""
        inside = vcpu.current()
        if inside is None:
            return
        cpu.thread.note(ev.TaskKilled, at_ns, inside.name, inside.level, token)
        inside.state = "killed"
        vcpu.remove_current()
        self.kernel.finished(at_ns)

    # ------------------------------------------------------------------ memory and control

    def mapped(self, gfn: Gfn) -> None:
        """L0 mapped a gfn of L1."""
        self.memory.l0_mapped(gfn)

    def unmapped(self, gfns: Sequence[int]) -> None:
        """L0 unmapped gfns of L1."""
        inner = self.memory.l0_unmapped(gfns)
        if inner:
            for vcpu in self.vcpus:
                vcpu.unmapped(inner)

    def control(self, event: ev.Control) -> bool:
        """A stall between L1's latch and its handler."""
        if isinstance(event, ev.VcpuStalled):
            self.latch_stall_ns[event.vcpu] = event.for_ns
            return True
        return False

    def tokens_taken(self) -> Iterator[int]:
        """READYs that L1 got as #VMEXIT and whose handler has not run yet, latched or not."""
        for vcpu in self.vcpus:
            due = vcpu.pending.exit
            if vcpu.phase == "l1" and due.code == EXCP_PF and self._is_ready(vcpu):
                yield due.info2

    def _is_ready(self, vcpu: InnerVcpu) -> bool:
        if vcpu.svm.apf_reason == REASON_READY:
            return True
        return any(
            cpu.over is not None
            and isinstance(cpu.over.what, InnerLatch)
            and cpu.curr is not None
            and cpu.curr.inner is vcpu
            and apf_handler.pending_reason(cpu) == REASON_READY
            for cpu in self.kernel.cpus
        )
