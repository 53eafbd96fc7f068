"""Sleepers that nothing is on its way to wake: what a result calls `unresolved`.

A sleeper is not lost while its page-in is under way, waits in the done list of a vcpu that can be
told, or has been presented to a vcpu that is still to take it.  Each of these ends is checked,
because each has a defect that loses it: a vcpu that sleeps in HLT with READY pending (semantics
3.7), a reason that was stolen or written elsewhere (semantics 2.2), a token slot of 5.8 whose
interrupt went to another vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pagewake.guest_kernel.apf_handler import pending_reason
from pagewake.guest_kernel.overlays import Interrupts, Trap, What
from pagewake.kvm.abi import REASON_READY
from pagewake.kvm.injection import token_slot_free
from pagewake.kvm.ports import IRQ_APF

if TYPE_CHECKING:
    from pagewake.guest_kernel.kernel import GuestKernel
    from pagewake.guest_kernel.vcpu import GuestCpu
    from pagewake.kvm.thread import VcpuThread


def unresolved(kernel: GuestKernel) -> list[str]:
    """Names of the tasks, in the order in which they fell asleep."""
    due = {
        token
        for thread, cpu in zip(kernel.vm.vcpus, kernel.cpus, strict=True)
        for token in _due(thread, cpu)
    }
    if kernel.inner is not None:
        due.update(kernel.inner.tokens_taken())
    return [name for name, (_, token) in kernel.slept_at.items() if token not in due]


def _due(thread: VcpuThread, cpu: GuestCpu) -> Iterator[int]:
    apf = thread.apf
    taking = _takes_interrupt(cpu)
    stuck = not token_slot_free(thread) and not taking and not cpu.ack_due
    for token, work in apf.queue.items():
        if not (work.lost or (work.done and stuck)):
            yield token
    if taking:
        yield cpu.area.token
    if pending_reason(cpu) == REASON_READY:
        yield from _exceptions(thread, cpu)


def _takes_interrupt(cpu: GuestCpu) -> bool:
    """5.8: the page-ready interrupt is pending, or its handler is under way."""
    if cpu.thread.irqs & IRQ_APF:
        return True
    return any(isinstance(what, Interrupts) and what.irqs & IRQ_APF for what in _under_way(cpu))


def _exceptions(thread: VcpuThread, cpu: GuestCpu) -> Iterator[int]:
    """READY as #PF: queued for a vcpu that runs and for its own kernel, or its trap taken."""
    queued = thread.exc
    to_itself = queued is not None and queued.level == 1 and not thread.mp_halted
    if queued is not None and to_itself and queued.kind == "ready":
        yield queued.token
    for what in _under_way(cpu):
        if isinstance(what, Trap):
            yield what.cr2


def _under_way(cpu: GuestCpu) -> Iterator[What]:
    """Handlers, the one below an NMI included."""
    return (over.what for over in (cpu.over, cpu.suspended) if over is not None)
