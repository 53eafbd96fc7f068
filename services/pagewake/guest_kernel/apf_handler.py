"""Asynchronous page faults in the guest's kernel: enabling, the #PF handler, waiting and waking.

Semantics 2.1 (enabling and disabling), 2.2 (dispatch), 2.3 and 2.4 (task_wait, task_wake and
wake_all); semantics 6 for 5.8's page-ready interrupt.  The sleeper hash itself is `sleepers.py`,
the dispatch on the reason word `traps.py`; here is what they do to the tasks and the time of one
CPU.  Without PV support (`kernel.apf = "nonpv"`, the kernel's no-kvmapf) the MSR is never written
and `enabled` stays 0, so every reason reads as 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pagewake.events import types as ev
from pagewake.events.ids import Token
from pagewake.events.types import (
    DummyConsumed,
    DummyInserted,
    DummyUnlinked,
    SleeperFreed,
    TaskSlept,
    TaskWoken,
    TrapTaken,
    WakeSpun,
)
from pagewake.guest_kernel.overlays import BOOTED, DISABLED, IRET, IRQ_EXIT, Spin, Trap
from pagewake.guest_kernel.sleepers import WakeResult
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.traps import dispatch
from pagewake.kvm.abi import BROADCAST_TOKEN, REASON_READY
from pagewake.kvm.msr import (
    ASYNC_PF_DELIVERY_AS_PF_VMEXIT,
    MSR_KVM_ASYNC_PF_ACK,
    MSR_KVM_ASYNC_PF_EN,
    MSR_KVM_ASYNC_PF_INT,
    EnableValue,
    encode_enable,
)
from pagewake.kvm.ports import IRQ_RESCHED, WAIT, Step

if TYPE_CHECKING:
    from pagewake.guest_kernel.vcpu import GuestCpu

APF_VECTOR: Final = 0xF3


def enable_value(cpu: GuestCpu, gpa: int) -> int:
    """What guest_cpu_init writes: the area's address and the bits of this kernel's generation."""
    switches = cpu.kernel.switches
    always = switches.send_always == "always" or (
        switches.send_always == "auto" and switches.preempt
    )
    reserved = switches.msr_reserved | cpu.vm.switches.msr_reserved  # known on both sides
    runs_guests = cpu.kernel.inner is not None and "async_pf_vmexit" in cpu.vm.config.cpuid
    value = EnableValue(
        enabled=True,
        send_always=always and switches.guest_wait != "user_only",
        as_vmexit=runs_guests and not reserved & ASYNC_PF_DELIVERY_AS_PF_VMEXIT,
        as_interrupt=switches.guest_takes_interrupt,
        gpa=gpa,
    )
    return encode_enable(value)


def enable(cpu: GuestCpu, at_ns: int) -> Step:
    """guest_cpu_init on this CPU, with interrupts still off; then the scheduler starts."""
    config = cpu.vm.config
    shown = cpu.vm.switches.ready_by_interrupt and "async_pf_int" in config.cpuid
    needs_int = cpu.kernel.switches.guest_takes_interrupt
    if config.apf != "pv" or (needs_int and not shown):
        return cpu.overlay(at_ns, cpu.kernel.costs.irq_ns, IRET)
    if needs_int:
        cpu.thread.write_msr(at_ns, MSR_KVM_ASYNC_PF_INT, APF_VECTOR)
    if cpu.kernel.switches.online_zeroes_slot:
        cpu.area.token = Token(0)
    cpu.area.enabled = 1
    cpu.overlay(at_ns, cpu.kernel.costs.irq_ns, BOOTED)
    return cpu.thread.exit_wrmsr(at_ns, MSR_KVM_ASYNC_PF_EN, enable_value(cpu, cpu.area_gpa))


def register(cpu: GuestCpu, at_ns: int, gpa: int) -> None:
    """What a boot kernel wrote before it jumped into the image of this one."""
    if cpu.kernel.switches.guest_takes_interrupt:
        cpu.thread.write_msr(at_ns, MSR_KVM_ASYNC_PF_INT, APF_VECTOR)
    cpu.thread.write_msr(at_ns, MSR_KVM_ASYNC_PF_EN, enable_value(cpu, gpa))


def unregister(cpu: GuestCpu, at_ns: int) -> None:
    """What the old kernel does before another takes over; the host may wait for workers in it."""
    if cpu.area.disable():
        cpu.thread.write_msr(at_ns, MSR_KVM_ASYNC_PF_EN, 0)


def disable(cpu: GuestCpu, at_ns: int) -> Step | None:
    """kvm_pv_disable_apf on this CPU; a step where the host waits for workers in that write."""
    if not cpu.area.disable():
        return None
    if cpu.thread.clear_waits():
        cpu.overlay(at_ns, 0, DISABLED)
        return cpu.thread.exit_wrmsr(at_ns, MSR_KVM_ASYNC_PF_EN, 0)
    cpu.thread.write_msr(at_ns, MSR_KVM_ASYNC_PF_EN, 0)
    return None


def booted(cpu: GuestCpu, at_ns: int) -> Step:
    """End of the CPU's start: interrupts on. An exit here lets the broadcast through."""
    cpu.restore_base()
    cpu.since_ns = at_ns
    return cpu.thread.exit_plain(at_ns)


# ---------------------------------------------------------------------- the trap


def pending_reason(cpu: GuestCpu) -> int:
    """What the next #PF on this CPU will read."""
    return cpu.area.reason if cpu.area.enabled else 0


def trapped(cpu: GuestCpu, at_ns: int, trap: Trap) -> Step:
    """do_async_page_fault: read and reset the reason, then wait, wake or an ordinary fault."""
    reason = pending_reason(cpu)
    handler, token = dispatch(cpu.area, trap.cr2, 0)
    vm = cpu.vm
    name = cpu.curr.name if cpu.curr is not None else None
    vm.journal(
        TrapTaken(
            at_ns,
            vm.name,
            vm.n,
            cpu.id,
            level=1,
            reason=reason,
            cr2=trap.cr2,
            handler=handler,
            cpl=trap.cpl,
            task=name,
        )
    )
    if handler == "wait":
        if trap.cpl == 0 and cpu.kernel.switches.kernel_mode_panics:
            _told_in_kernel_mode(cpu, at_ns)
            vm.panic(at_ns, cpu.id, "not_present_in_kernel")
            return WAIT
        return task_wait(cpu, at_ns, Token(token), trap.cpl)
    if handler == "wake":
        return task_wake(cpu, at_ns, Token(token), 0)
    return cpu.irq_exit(at_ns)


def _told_in_kernel_mode(cpu: GuestCpu, at_ns: int) -> None:
    cpu.fault_event(at_ns, "not_present_in_kernel", "host injected async #PF in kernel mode")


def ready_interrupt(cpu: GuestCpu, at_ns: int) -> Step:
    """5.8: wake, free the token's slot, acknowledge; nothing on a CPU that is not enabled.

    A token that comes while its CPU goes offline stays in the slot, for nothing zeroes it as the
    CPU comes back (`online_zeroes_slot`): no READY can be written there any more.  The slot is 0 if
    the host was told to write elsewhere: a dummy for token 0 stays.
    """
    if not cpu.area.enabled:
        return cpu.irq_exit(at_ns)
    token = cpu.area.token
    cpu.thread.note(
        TrapTaken, at_ns, level=1, reason=REASON_READY, cr2=token, handler="wake", cpl=cpu.cpl
    )
    cpu.ack_due = True
    return task_wake(cpu, at_ns, token, 0)


def _wake_done(cpu: GuestCpu, at_ns: int) -> Step:
    """End of a wake; 5.8's handler then writes ACK, an exit that lets the next one through."""
    if not cpu.ack_due:
        return cpu.irq_exit(at_ns)
    cpu.ack_due = False
    cpu.area.token = Token(0)
    cpu.overlay(at_ns, 0, IRQ_EXIT)
    return cpu.thread.exit_wrmsr(at_ns, MSR_KVM_ASYNC_PF_ACK, 1)


# ---------------------------------------------------------------------- task_wait


def task_wait(cpu: GuestCpu, at_ns: int, token: Token, cpl: int) -> Step:
    """Put the current task to sleep on the token, unless its wake came first."""
    task = cpu.curr
    halted = _waits_halted(cpu, at_ns, task, cpl)
    if cpu.suspended is not None:
        cpu.nmi_halting = not wait_on(cpu, at_ns, cpu.nmi_name, token, True)
        return cpu.iret(at_ns)
    if wait_on(cpu, at_ns, cpu.task_name(), token, halted):
        return cpu.irq_exit(at_ns)
    if halted:
        if task is None:
            cpu.idle_halting = True
        else:
            task.state = "halting"
        return cpu.iret(at_ns)
    assert task is not None
    task.state = "asleep"
    return cpu.block(at_ns)


def wait_on(cpu: GuestCpu, at_ns: int, name: str, token: Token, halted: bool) -> bool:
    """The table's part of task_wait, written down; True if the wait returns at once."""
    vm = cpu.vm
    result = cpu.kernel.sleepers.task_wait(name, cpu.id, token, halted)
    if result.slept:
        cpu.kernel.slept_at[name] = (at_ns, token)
        vm.journal(TaskSlept(at_ns, vm.name, vm.n, cpu.id, name, token, halted))
        return False
    if result.victim is None:
        cpu.thread.note(DummyConsumed, at_ns, name, token)
    else:
        cpu.thread.note(SleeperFreed, at_ns, name, token, str(result.victim))
    return True


def _waits_halted(cpu: GuestCpu, at_ns: int, task: Task | None, cpl: int) -> bool:
    """By sti;hlt instead of schedule (semantics 2.4); 631bc4878220, the first, always schedules."""
    switches = cpu.kernel.switches
    in_nmi = cpu.suspended is not None
    unsafe = task is None or task.preempt_count > 0 or in_nmi
    if switches.guest_wait == "user_only" and cpl == 0:
        _told_in_kernel_mode(cpu, at_ns)
    elif switches.guest_wait == "halt_kernel":
        unsafe = unsafe or (cpl == 0 and not switches.preempt)
    elif switches.guest_wait == "schedule" and unsafe:
        what = "the idle task" if task is None else "a section with preemption off"
        what = "an NMI" if in_nmi else what
        cpu.fault_event(at_ns, "scheduling_while_atomic", f"task_wait schedules from {what}")
        return task is None or in_nmi  # neither can be taken off its CPU even here
    return unsafe


# ---------------------------------------------------------------------- task_wake


def task_wake(cpu: GuestCpu, at_ns: int, token: Token, spins: int) -> Step:
    """One attempt of task_wake; without memory for a dummy it busy-waits, interrupts off."""
    kernel = cpu.kernel
    if token == BROADCAST_TOKEN:
        wake_all(cpu, at_ns, "broadcast")
        return _wake_done(cpu, at_ns)
    result = kernel.sleepers.try_wake(cpu.id, token, kernel.can_allocate)
    if result is None:
        if spins == 0:
            cpu.thread.note(WakeSpun, at_ns, token)
        return cpu.overlay(at_ns, kernel.costs.spin_ns, Spin(token, spins + 1))
    _woke_one(cpu, at_ns, token, result, spins)
    return _wake_done(cpu, at_ns)


def spin(cpu: GuestCpu, at_ns: int, what: Spin) -> Step:
    """Next attempt of a task_wake that found no memory."""
    return task_wake(cpu, at_ns, what.token, what.spins)


def _woke_one(cpu: GuestCpu, at_ns: int, token: Token, result: WakeResult, spins: int) -> None:
    if result.kind == "woke":
        _wake_sleeper(cpu, at_ns, str(result.task), token, "token")
    elif result.kind == "inserted-dummy":
        cpu.thread.note(DummyInserted, at_ns, token, spins)
    else:
        cpu.thread.note(DummyUnlinked, at_ns, token, "token")


def wake_all(cpu: GuestCpu, at_ns: int, how: ev.WakeHow) -> None:
    """Unlink every node that was registered on this CPU (gap G7), dummies included."""
    kernel = cpu.kernel
    result = kernel.sleepers.wake_all(cpu.id, everywhere=not kernel.switches.gap_g7)
    for name, token in result.woke:
        _wake_sleeper(cpu, at_ns, str(name), token, how)
    for token in result.dropped:
        cpu.thread.note(DummyUnlinked, at_ns, token, how)
    if kernel.switches.broadcast_ends_latched and kernel.inner is not None:
        kernel.inner.end_latched()


def _wake_sleeper(cpu: GuestCpu, at_ns: int, name: str, token: Token, how: ev.WakeHow) -> None:
    kernel = cpu.kernel
    vm = cpu.vm
    waited_ns = at_ns - kernel.slept_at.pop(name)[0]
    vm.journal(TaskWoken(at_ns, vm.name, vm.n, cpu.id, name, token, how, waited_ns))
    waiter = kernel.waiters[name]
    if not isinstance(waiter, Task):
        other = kernel.cpus[waiter.cpu]
        if waiter.in_nmi:
            other.nmi_halting = False
        else:
            other.idle_halting = False
        _prod(cpu, other, at_ns)
    elif waiter.state == "halting":
        waiter.state = "runnable"
        _prod(cpu, kernel.cpus[waiter.cpu], at_ns)
    else:
        kernel.wake_up(at_ns, waiter, cpu)


def _prod(cpu: GuestCpu, other: GuestCpu, at_ns: int) -> None:
    """Reschedule IPI to a CPU that waits in sti;hlt."""
    if other is not cpu:
        other.thread.interrupt(at_ns, IRQ_RESCHED)
