"""Asynchronous page faults in the guest's kernel: enabling, the #PF handler, waiting and waking.

Semantics 2.1 (enabling and disabling), 2.2 (dispatch), 2.3 and 2.4 (task_wait, task_wake and
wake_all), 5.8's page-ready interrupt from section 6.  The sleeper hash itself is `sleepers.py`, the
dispatch on the reason word `traps.py`; here is what they do to the tasks and the time of one CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagewake.events import types as ev
from pagewake.guest_kernel.sleepers import WakeResult
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.traps import dispatch
from pagewake.kvm import completion
from pagewake.kvm.async_pf import BROADCAST_TOKEN
from pagewake.kvm.msr import (
    ASYNC_PF_DELIVERY_AS_INT,
    ASYNC_PF_DELIVERY_AS_PF_VMEXIT,
    ASYNC_PF_ENABLED,
    ASYNC_PF_SEND_ALWAYS,
    MSR_KVM_ASYNC_PF_ACK,
    MSR_KVM_ASYNC_PF_EN,
    MSR_KVM_ASYNC_PF_INT,
)
from pagewake.kvm.ports import IRQ_CALL, IRQ_RESCHED, Step
from pagewake.kvm.run_loop import HOST, OFFLINE, OP_CHECK

if TYPE_CHECKING:
    from pagewake.guest_kernel.vcpu import GuestCpu

APF_VECTOR = 0xF3


def enable_value(cpu: GuestCpu) -> int:
    """What guest_cpu_init writes: the area's address and the bits of this kernel's generation."""
    switches = cpu.kernel.switches
    value = (cpu.id + 1) << 12 | ASYNC_PF_ENABLED
    always = switches.send_always == "always" or (
        switches.send_always == "auto" and switches.preempt
    )
    if always and switches.guest_wait != "user_only":
        value |= ASYNC_PF_SEND_ALWAYS
    if switches.ready_by_interrupt:
        value |= ASYNC_PF_DELIVERY_AS_INT
    reserved = switches.msr_reserved | cpu.vm.switches.msr_reserved  # CPUID bit 10 on both sides
    if cpu.kernel.inner is not None and not reserved & ASYNC_PF_DELIVERY_AS_PF_VMEXIT:
        value |= ASYNC_PF_DELIVERY_AS_PF_VMEXIT
    return value


def enable(cpu: GuestCpu, at_ns: int) -> Step:
    """guest_cpu_init on this CPU, with interrupts still off; then the scheduler starts."""
    needs_int = cpu.kernel.switches.ready_by_interrupt  # CPUID bit 14
    if cpu.vm.config.apf != "pv" or (needs_int and not cpu.vm.switches.ready_by_interrupt):
        return cpu.overlay(at_ns, cpu.vm.costs.irq_ns, "iret")
    if cpu.kernel.switches.ready_by_interrupt:
        completion.write_msr(cpu.thread, at_ns, MSR_KVM_ASYNC_PF_INT, APF_VECTOR, "guest")
    cpu.area.token = 0  # a zeroed area is part of the protocol, so the slot is free
    cpu.thread.apf.slot_busy = False
    cpu.area.enabled = 1
    cpu.overlay(at_ns, cpu.vm.costs.irq_ns, "booted")
    return cpu.thread.exit_wrmsr(at_ns, MSR_KVM_ASYNC_PF_EN, enable_value(cpu))


def booted(cpu: GuestCpu, at_ns: int) -> Step:
    """End of the CPU's start: interrupts on. An exit here lets the broadcast through."""
    cpu.restore_base()
    cpu.since_ns = at_ns
    return cpu.thread.exit_plain(at_ns)


# ---------------------------------------------------------------------- the trap


def trapped(cpu: GuestCpu, at_ns: int, cr2: int, cpl: int) -> Step:
    """do_async_page_fault: read and reset the reason, then wait, wake or an ordinary fault."""
    reason = cpu.area.reason if cpu.area.enabled else 0
    handler, token = dispatch(cpu.area, cr2, 0)
    vm = cpu.vm
    name = cpu.curr.name if cpu.curr is not None else None
    vm.journal(
        ev.TrapTaken(at_ns, vm.name, vm.take_n(), cpu.id, 1, reason, cr2, handler, cpl, name)
    )
    if handler == "wait":
        return task_wait(cpu, at_ns, token, cpl)
    if handler == "wake":
        return task_wake(cpu, at_ns, token, 0)
    return cpu.irq_exit(at_ns)


def nmi_steals(cpu: GuestCpu, at_ns: int) -> None:
    """An ordinary fault inside an NMI handler reads, and loses, a reason that was pending."""
    reason = cpu.area.reason if cpu.area.enabled else 0
    if reason == 0:
        return
    cpu.area.reason = 0
    vm = cpu.vm
    vm.journal(
        ev.ProtocolFault(at_ns, vm.name, vm.take_n(), cpu.id, "reason_stolen", f"reason {reason}")
    )


def ready_interrupt(cpu: GuestCpu, at_ns: int) -> Step:
    """5.8: take the token out of its slot, wake, acknowledge."""
    token = cpu.area.take_token()
    vm = cpu.vm
    vm.journal(
        ev.TrapTaken(at_ns, vm.name, vm.take_n(), cpu.id, 1, 2, token, "wake", cpu.cpl, None)
    )
    cpu.ack_due = True
    return task_wake(cpu, at_ns, token, 0)


def _wake_done(cpu: GuestCpu, at_ns: int) -> Step:
    """End of a wake; 5.8's handler then writes ACK, an exit that lets the next one through."""
    if not cpu.ack_due:
        return cpu.irq_exit(at_ns)
    cpu.ack_due = False
    cpu.overlay(at_ns, 0, "irq_exit")
    return cpu.thread.exit_wrmsr(at_ns, MSR_KVM_ASYNC_PF_ACK, 1)


# ---------------------------------------------------------------------- task_wait


def task_wait(cpu: GuestCpu, at_ns: int, token: int, cpl: int) -> Step:
    """Put the current task to sleep on the token, unless its wake came first."""
    task = cpu.curr
    halted = _waits_halted(cpu, at_ns, task, cpl)
    if wait_on(cpu, at_ns, cpu.task_name(), token, halted):
        return cpu.irq_exit(at_ns)
    if task is not None:
        task.slept_ns = at_ns
    if halted:
        if task is None:
            cpu.idle_halting = True
        else:
            task.state = "halting"
        return cpu.iret(at_ns)
    assert task is not None
    task.state = "asleep"
    return cpu.block(at_ns)


def wait_on(cpu: GuestCpu, at_ns: int, name: str, token: int, halted: bool) -> bool:
    """The table's part of task_wait, written down; True if the wait returns at once."""
    vm = cpu.vm
    result = cpu.kernel.sleepers.task_wait(name, cpu.id, token, halted)
    if result.slept:
        cpu.kernel.slept_at[name] = (at_ns, token)
        vm.journal(ev.TaskSlept(at_ns, vm.name, vm.take_n(), cpu.id, name, token, halted))
        return False
    if result.victim is None:
        vm.journal(ev.DummyConsumed(at_ns, vm.name, vm.take_n(), cpu.id, name, token))
    else:
        vm.journal(
            ev.SleeperFreed(at_ns, vm.name, vm.take_n(), cpu.id, name, token, str(result.victim))
        )
    return True


def _waits_halted(cpu: GuestCpu, at_ns: int, task: Task | None, cpl: int) -> bool:
    """By sti;hlt instead of schedule (semantics 2.4); the seed always schedules."""
    switches = cpu.kernel.switches
    unsafe = task is None or task.preempt_count > 0
    if switches.guest_wait == "user_only" and cpl == 0:
        cpu.fault_event(at_ns, "not_present_in_kernel", "host injected async #PF in kernel mode")
    elif switches.guest_wait == "halt_kernel":
        unsafe = unsafe or (cpl == 0 and not switches.preempt)
    elif switches.guest_wait == "schedule" and unsafe:
        what = "the idle task" if task is None else "a section with preemption off"
        cpu.fault_event(at_ns, "scheduling_while_atomic", f"task_wait schedules from {what}")
        return task is None  # idle cannot be taken off its CPU even here
    return unsafe


# ---------------------------------------------------------------------- task_wake


def task_wake(cpu: GuestCpu, at_ns: int, token: int, spins: int) -> Step:
    """One attempt of task_wake; without memory for a dummy it busy-waits, interrupts off."""
    kernel = cpu.kernel
    vm = cpu.vm
    if token == BROADCAST_TOKEN:
        wake_all(cpu, at_ns, "broadcast")
        return _wake_done(cpu, at_ns)
    result = kernel.sleepers.try_wake(cpu.id, token, kernel.can_allocate)
    if result is None:
        if spins == 0:
            vm.journal(ev.WakeSpun(at_ns, vm.name, vm.take_n(), cpu.id, token))
        return cpu.overlay(at_ns, vm.costs.spin_ns, "spin", token, spins + 1)
    _woke_one(cpu, at_ns, token, result, spins)
    return _wake_done(cpu, at_ns)


def spin(cpu: GuestCpu, at_ns: int, token: int, spins: int) -> Step:
    """Next attempt of a task_wake that found no memory."""
    return task_wake(cpu, at_ns, token, spins)


def _woke_one(cpu: GuestCpu, at_ns: int, token: int, result: WakeResult, spins: int) -> None:
    vm = cpu.vm
    if result.kind == "woke":
        _wake_sleeper(cpu, at_ns, str(result.task), token, "token")
    elif result.kind == "inserted-dummy":
        vm.journal(ev.DummyInserted(at_ns, vm.name, vm.take_n(), cpu.id, token, spins))
    else:
        vm.journal(ev.DummyUnlinked(at_ns, vm.name, vm.take_n(), cpu.id, token, "token"))


def wake_all(cpu: GuestCpu, at_ns: int, how: ev.WakeHow) -> None:
    """Unlink every node that was registered on this CPU (gap G7), dummies included."""
    kernel = cpu.kernel
    vm = cpu.vm
    result = kernel.sleepers.wake_all(cpu.id, everywhere=not kernel.switches.gap_g7)
    for name, token in result.woke:
        _wake_sleeper(cpu, at_ns, str(name), token, how)
    for token in result.dropped:
        vm.journal(ev.DummyUnlinked(at_ns, vm.name, vm.take_n(), cpu.id, token, how))


def _wake_sleeper(cpu: GuestCpu, at_ns: int, name: str, token: int, how: ev.WakeHow) -> None:
    kernel = cpu.kernel
    vm = cpu.vm
    waited_ns = at_ns - kernel.slept_at.pop(name)[0]
    vm.journal(ev.TaskWoken(at_ns, vm.name, vm.take_n(), cpu.id, name, token, how, waited_ns))
    task = kernel.by_name.get(name)
    if task is None:
        idle = kernel.idle_cpu(name)
        idle.idle_halting = False
        _prod(cpu, idle, at_ns)
    elif task.state == "halting":
        task.state = "runnable"
        _prod(cpu, kernel.cpus[task.cpu], at_ns)
    else:
        kernel.wake_up(at_ns, task, cpu)


def _prod(cpu: GuestCpu, other: GuestCpu, at_ns: int) -> None:
    """Reschedule IPI to a CPU that waits in sti;hlt."""
    if other is not cpu:
        other.thread.interrupt(at_ns, IRQ_RESCHED)


# ---------------------------------------------------------------------- calls by interrupt


def run_calls(cpu: GuestCpu, at_ns: int) -> Step:
    """Execute what was asked of this CPU: offline, an MSR write. One call an interrupt."""
    what, a, b = cpu.calls.pop(0)
    if cpu.calls:
        cpu.thread.irqs |= IRQ_CALL
    if what == "offline":
        return _go_offline(cpu, at_ns)
    if what == "wrmsr":
        cpu.overlay(at_ns, 0, "interrupted", 0)
        return cpu.thread.exit_wrmsr(at_ns, a, enable_value(cpu) if b < 0 else b)
    return cpu.irq_exit(at_ns)


def disable(cpu: GuestCpu, at_ns: int) -> None:
    """kvm_pv_disable_apf on this CPU."""
    if cpu.area.enabled:
        completion.write_msr(cpu.thread, at_ns, MSR_KVM_ASYNC_PF_EN, 0, "guest")
        cpu.area.enabled = 0


def _go_offline(cpu: GuestCpu, at_ns: int) -> Step:
    """DOWN_PREPARE: disable APF, wake_all; then the tasks move and the CPU stops."""
    if sum(other.online for other in cpu.kernel.cpus) == 1:
        return cpu.irq_exit(at_ns)  # cpu_down of the last CPU: -EBUSY
    disable(cpu, at_ns)
    wake_all(cpu, at_ns, "offline")
    cpu.online = False
    cpu.kernel.evacuate(at_ns, cpu)
    thread = cpu.thread
    vm = cpu.vm
    thread.leave(at_ns)
    thread.mode = OFFLINE
    thread.timer_at = 0
    thread.irqs = 0
    thread.account(at_ns, "offline")
    vm.journal(ev.VcpuHalted(at_ns, vm.name, vm.take_n(), cpu.id, "offline"))
    if cpu.calls:
        come_online(cpu, at_ns)
    return None


def come_online(cpu: GuestCpu, at_ns: int) -> None:
    """ONLINE: INIT/SIPI resets the vcpu's APF state, the CPU boots and enables it again.

    What was asked of the CPU before it came up is void: nothing runs there.
    """
    asked = [what for what, _, _ in cpu.calls]
    if "online" not in asked:
        return
    del cpu.calls[: asked.index("online") + 1]
    thread = cpu.thread
    vm = cpu.vm
    vm.journal(ev.VcpuResumed(at_ns, vm.name, vm.take_n(), cpu.id, "online"))
    completion.clear(thread, at_ns, "reset")
    thread.apf.gfn_hash.reset()
    thread.apf.msr_val = 0
    thread.apf.halted = False
    thread.mode = HOST
    thread.account(at_ns, "exit")
    thread.gen += 1
    cpu.overlay(at_ns, vm.costs.irq_ns, "boot")
    cpu.overlay_left_ns = vm.costs.irq_ns
    thread.irqs = IRQ_CALL if cpu.calls else 0
    vm.push(at_ns + vm.costs.exit_ns, cpu.id, thread.gen, OP_CHECK)
