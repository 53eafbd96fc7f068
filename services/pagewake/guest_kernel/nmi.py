"""NMIs on one CPU of a guest, and the reason that a page fault in their handler steals.

Semantics 2.2: the handler's own page fault goes through do_async_page_fault like any other.  If it
comes between the entry of an APF trap and the reset of the reason word, it reads that reason with
a CR2 of its own: it waits for a token that nobody will wake, halted in the NMI (preemption is off
there), or wakes one that nobody waits for, which leaves a dummy.  The APF trap below it reads 0
when it goes on, and becomes an ordinary page fault at its token.

What was under way when the NMI came is `suspended` meanwhile.  An NMI that comes then waits for the
IRET and takes no fault of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pagewake.guest_kernel import apf_handler
from pagewake.guest_kernel.overlays import IRET, NmiDone, Overlay, Trap
from pagewake.kvm.ports import Step

if TYPE_CHECKING:
    from pagewake.guest_kernel.vcpu import GuestCpu

CR2: Final = 0x7FFF_FFFF_EFF8
"""A user's stack, as a profiler's handler walks it; cut to 32 bits it is no vcpu's token."""


def take(cpu: GuestCpu, at_ns: int, faults: bool) -> Step:
    """An NMI: over a handler that is under way, or with time of its own over a task."""
    if cpu.suspended is not None:
        return cpu.resume(at_ns)
    if cpu.over is None:
        return cpu.overlay(at_ns, cpu.kernel.costs.irq_ns, NmiDone(faults))
    if not faults or not apf_handler.pending_reason(cpu):
        return cpu.resume(at_ns)
    cpu.suspended, cpu.over = cpu.over, None
    return _page_fault(cpu, at_ns)


def done(cpu: GuestCpu, at_ns: int, what: NmiDone) -> Step:
    """End of a handler that interrupted a task or the idle loop."""
    if not what.faults or not apf_handler.pending_reason(cpu):
        return cpu.iret(at_ns)
    cpu.suspended = Overlay(IRET, at_ns, 0)
    return _page_fault(cpu, at_ns)


def _page_fault(cpu: GuestCpu, at_ns: int) -> Step:
    cpu.if_flag, cpu.cpl = False, 0
    cpu.since_ns = at_ns
    cpu.fault_event(at_ns, "reason_stolen", f"reason {apf_handler.pending_reason(cpu)}")
    return apf_handler.trapped(cpu, at_ns, Trap(CR2, cpl=0))


def resume(cpu: GuestCpu, at_ns: int) -> Step:
    """IRET of the NMI: what it came upon goes on."""
    over, cpu.suspended = cpu.suspended, None
    assert over is not None
    return cpu.overlay(at_ns, over.left_ns, over.what)
