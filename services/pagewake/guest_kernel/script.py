"""Script tasks: exact things at exact times, for putting a fault into one particular situation.

The language is documented in `scenario/script.py`.  Steps that take no time are executed on the
spot; `run`, touches and waits end in a step of the vcpu; `hlt`, `cpuid` and `wrmsr` are exits.

`sti` with interrupts off casts the interrupt shadow: nothing is delivered before the next step has
begun, or, if that is a touch, before it is done (semantics 3.2, I4).  So `sti`, `hlt` loses no
wake-up, and a touch right behind `sti` is synchronous.  The shadow of MOV SS is not modelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagewake.events.ids import Gfn
from pagewake.guest_kernel.config import ScriptStep
from pagewake.guest_kernel.tasks import Task
from pagewake.kvm.ports import OP_GUEST, Step

if TYPE_CHECKING:
    from pagewake.guest_kernel.vcpu import GuestCpu

FLAGS: dict[str, tuple[str, int | bool]] = {
    "kernel": ("cpl", 0),
    "user": ("cpl", 3),
    "cli": ("if_flag", False),
    "sti": ("if_flag", True),
    "preempt-off": ("preempt_count", 1),
    "preempt-on": ("preempt_count", 0),
}


def run_script(cpu: GuestCpu, at_ns: int, task: Task) -> Step:
    """Execute the script from where the task stands."""
    if task.left_ns:
        return at_ns + task.left_ns, OP_GUEST
    while task.pc < len(task.script):
        todo = task.script[task.pc]
        if todo.at_ns is not None and at_ns < todo.at_ns:
            if _leaves_shadow(cpu):
                return cpu.thread.exit_plain(at_ns)
            return _wait_until(cpu, at_ns, task, todo.at_ns)
        if todo.op in FLAGS:
            task.pc += 1
            name, value = FLAGS[todo.op]
            cpu.shadow = todo.op == "sti" and not task.if_flag
            setattr(task, name, value)
            cpu.restore_base()
            if cpu.shadow:
                continue
            if cpu.if_flag and cpu.thread.irqs:
                return cpu.thread.exit_plain(at_ns)
            if cpu.need_resched and cpu.may_preempt():
                return cpu.schedule(at_ns)
            continue
        return _timed_step(cpu, at_ns, task, todo)
    cpu.shadow = False
    return cpu.finish(at_ns, task)


def _leaves_shadow(cpu: GuestCpu) -> bool:
    """The instruction behind `sti` is through; whether an interrupt waited for that."""
    shadow, cpu.shadow = cpu.shadow, False
    return shadow and cpu.thread.irqs != 0


def _wait_until(cpu: GuestCpu, at_ns: int, task: Task, wake_ns: int) -> Step:
    """Sleep, or spin where a task may not sleep."""
    if task.if_flag and not task.preempt_count:
        return cpu.sleep_until(at_ns, task, wake_ns)
    task.left_ns = wake_ns - at_ns
    return wake_ns, OP_GUEST


def _timed_step(cpu: GuestCpu, at_ns: int, task: Task, todo: ScriptStep) -> Step:
    thread = cpu.thread
    if todo.op == "touch":
        return _touch(cpu, at_ns, task, todo)
    task.pc += 1
    due = _leaves_shadow(cpu)
    if todo.op == "run":
        task.left_ns = todo.ns
        return thread.exit_plain(at_ns) if due else (at_ns + todo.ns, OP_GUEST)
    if todo.op == "sleep":
        return cpu.sleep_until(at_ns, task, at_ns + todo.ns)
    if todo.op == "hlt":
        return thread.exit_hlt(at_ns)
    if todo.op == "cpuid":
        return thread.exit_plain(at_ns)
    if todo.op == "wrmsr":
        return thread.exit_wrmsr(at_ns, todo.msr, todo.value)
    return cpu.finish(at_ns, task)


def _touch(cpu: GuestCpu, at_ns: int, task: Task, todo: ScriptStep) -> Step:
    """One access: a fault until the page is mapped, then `touch_ns` of CPU time."""
    gfn = Gfn(task.base_gfn + todo.page)
    pages = cpu.vm.pages
    if not pages.mapped[gfn]:
        return cpu.fault(at_ns, task, gfn, todo.write)
    pages.accessed[gfn] = 1
    if todo.write:
        pages.dirty[gfn] = 1
    task.pc += 1
    task.left_ns = task.touch_ns
    if _leaves_shadow(cpu):
        return cpu.thread.exit_plain(at_ns)
    return at_ns + task.touch_ns, OP_GUEST
