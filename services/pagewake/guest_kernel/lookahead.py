"""When may the host next hear from a VM, if nothing else reaches it? (design, "Windows")

A lower bound, and never an effect: simulating with any smaller bound gives the same run.  The only
things a VM says of its own accord are page requests and first touches, both caused by a touch that
misses.  While every vcpu is at rest or runs a task, and no completion waits, the next event of the
scheduler is a tick, so:

- a running task misses at the instant its stream says, exactly against the present mapping;
- a waiting task cannot run before a tick that ends the running task's slice, or a balancing tick.

In any other state the bound is the VM's next event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pagewake.events.ids import Gfn
from pagewake.kvm.modes import BLACKOUT, BLOCKED, GUEST, HLT, OFFLINE
from pagewake.simtime.ports import NEVER_NS

if TYPE_CHECKING:
    from pagewake.guest_kernel.kernel import GuestKernel
    from pagewake.guest_kernel.vcpu import GuestCpu
    from pagewake.kvm.thread import VcpuThread

HORIZON_NS: Final = 50_000_000


def next_event_ns(kernel: GuestKernel) -> int | None:
    """The VM's earliest own step that is still meant."""
    next_ns = kernel.vm.agenda.next_ns
    return None if next_ns == NEVER_NS else next_ns


def next_ns(kernel: GuestKernel) -> int | None:
    """Nothing for the host before this instant; None: never, of the VM's own accord."""
    vm = kernel.vm
    if vm.frozen_ns is not None:
        return None
    if not _quiet(kernel):
        return next_event_ns(kernel)
    if not _may_miss(kernel):
        return None
    bound = None
    for cpu in kernel.cpus:
        instant = _cpu_bound(vm.vcpus[cpu.id], cpu)
        if instant is not None:
            bound = _least(bound, instant)
    return bound


def _may_miss(kernel: GuestKernel) -> bool:
    """Is there a task that could run without an answer of the host, and miss?"""
    for task in kernel.tasks:
        if task.touches_memory and task.state not in ("finished", "killed", "asleep"):
            return True
    return False


def _quiet(kernel: GuestKernel) -> bool:
    """No handler under way, no completion waiting, nobody about to wake by a timer."""
    threads = kernel.vm.vcpus
    for cpu in kernel.cpus:
        thread = threads[cpu.id]
        mode = thread.mode
        if cpu.suspended is not None or cpu.stopping:
            return False
        if thread.apf.done or thread.apf.halt_requested or thread.exc or thread.nmi is not None:
            return False
        if mode is GUEST:
            if cpu.over is not None or cpu.curr is None or not cpu.if_flag or cpu.calls:
                return False
            if cpu.need_resched:  # honoured where the kernel section ends, before any tick
                return False
        elif mode is BLOCKED or mode is HLT:
            if thread.irqs or cpu.idle_halting:
                return False
        elif mode not in (BLACKOUT, OFFLINE):
            return False
    for task in kernel.tasks:
        if task.state in ("sleeping", "halting", "new") or task.script or task.inner is not None:
            return False
    handler = kernel.vm.handler
    return not kernel.vm.joining and (handler is None or not handler.awake)


def _cpu_bound(thread: VcpuThread, cpu: GuestCpu) -> int | None:
    if thread.mode is not GUEST:
        return _halted_bound(thread, cpu)
    task = cpu.curr
    assert task is not None
    assert task.stream is not None
    bound: int | None = None
    left_ns = task.stream.remaining_ns()
    if left_ns is not None:
        bound = cpu.since_ns + left_ns
    tick_ns = thread.timer_at
    waiting = cpu.rq.waiting
    if waiting and any(other.touches_memory for other in waiting):
        switch_ns = cpu.rq.earliest_switch_ns(tick_ns) if tick_ns else cpu.since_ns
        bound = _least(bound, switch_ns)
    if tick_ns:
        bound = _least(bound, max(tick_ns, cpu.next_balance_ns))
    if task.touches_memory:
        horizon_ns = HORIZON_NS if bound is None else min(HORIZON_NS, bound - cpu.since_ns)
        bound = cpu.since_ns + task.stream.cpu_until_miss(horizon_ns)
    return bound


def _halted_bound(thread: VcpuThread, cpu: GuestCpu) -> int | None:
    """At rest with its tick pending: the tick may run somebody else; else it waits for the host.

    Halted on a page in flight, the current task only faults on it again at every tick (double
    fault), and the host does not hear of that.  Of a stale gfn the page may be there by now.
    """
    tick_ns = thread.timer_at
    if thread.mode not in (BLOCKED, HLT) or not tick_ns:
        return None
    if thread.vm.handler is not None:  # who at the limit hears of such a fault all the same
        return tick_ns
    if thread.apf.halted and not any(other.touches_memory for other in cpu.rq.waiting):
        task = cpu.curr
        if task is not None and task.stream is not None and task.touches_memory:
            gfn = Gfn(task.stream.current()[0])
            missed = task.stream.cpu_until_miss(1) == 0 and not cpu.vm.is_present(gfn)
            if missed and thread.apf.gfn_hash.find(gfn):
                return max(tick_ns, cpu.next_balance_ns)
    return tick_ns


def _least(a: int | None, b: int) -> int:
    return b if a is None or b < a else a
