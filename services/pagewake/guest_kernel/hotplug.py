"""CPUs of a guest going down and coming up, and what else is executed on a CPU by interrupt.

Down (semantics 2.1): DOWN_PREPARE runs on the CPU at once, by interrupt: APF off, wake_all.  Then
the stopper has to be scheduled there, so a task that cannot be preempted keeps the CPU up until it
can be, or leaves by itself; only then do the tasks move and does the CPU stop.  One CPU goes at a
time.  Up: INIT/SIPI resets the vcpu's APF state, the CPU boots and enables it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pagewake.guest_kernel import apf_handler
from pagewake.guest_kernel.overlays import BOOT, Interrupts
from pagewake.kvm.ports import IRQ_CALL, WAIT, Step

if TYPE_CHECKING:
    from pagewake.guest_kernel.vcpu import GuestCpu


class WriteMsr(NamedTuple):
    """`value` None: what this kernel writes when it enables APF."""

    msr: int
    value: int | None


Call = Literal["offline", "online"] | WriteMsr
"""What a CPU may be asked to execute, by interrupt."""


def run_calls(cpu: GuestCpu, at_ns: int) -> Step:
    """Execute what was asked of this CPU: offline, an MSR write. One call an interrupt.

    A CPU on its way down keeps what was asked of it from an `online` on for when it is up again.
    """
    if cpu.stopping and cpu.calls[0] == "online":
        return cpu.irq_exit(at_ns)
    what = cpu.calls.pop(0)
    if cpu.calls:
        cpu.thread.pend(IRQ_CALL)
    if what == "offline":
        return _go_offline(cpu, at_ns)
    if isinstance(what, WriteMsr):
        cpu.overlay(at_ns, 0, Interrupts(0))
        own = apf_handler.enable_value(cpu, cpu.area_gpa)
        value = own if what.value is None else what.value
        return cpu.thread.exit_wrmsr(at_ns, what.msr, value)
    return cpu.irq_exit(at_ns)


def _go_offline(cpu: GuestCpu, at_ns: int) -> Step:
    """DOWN_PREPARE: disable APF, wake_all; the stopper follows as soon as it can run."""
    staying = sum(other.online and not other.stopping for other in cpu.kernel.cpus)
    if cpu.stopping or staying == 1:
        return cpu.irq_exit(at_ns)  # cpu_down of the last CPU: -EBUSY
    cpu.stopping = True
    waits = apf_handler.disable(cpu, at_ns)
    return disabled(cpu, at_ns) if waits is None else waits


def disabled(cpu: GuestCpu, at_ns: int) -> Step:
    """APF is off: the rest of DOWN_PREPARE."""
    apf_handler.wake_all(cpu, at_ns, "offline")
    if cpu.may_preempt():
        return stop(cpu, at_ns)
    cpu.need_resched = True
    return cpu.irq_exit(at_ns)


def stop(cpu: GuestCpu, at_ns: int) -> Step:
    """The stopper runs: the tasks move, the CPU is gone."""
    cpu.stopping = False
    cpu.online = False
    cpu.shadow = False
    cpu.kernel.evacuate(at_ns, cpu)
    cpu.thread.park(at_ns)
    if cpu.calls:
        come_online(cpu, at_ns)
    return WAIT


def come_online(cpu: GuestCpu, at_ns: int) -> None:
    """ONLINE.  What was asked of the CPU before it came up is void: nothing runs there.

    A CPU that waits for a SIPI although the kernel thinks that it runs is not brought up.
    """
    if cpu.online or "online" not in cpu.calls:
        return
    del cpu.calls[: cpu.calls.index("online") + 1]
    cpu.thread.init_sipi(at_ns, IRQ_CALL if cpu.calls else 0)
    cpu.overlay(at_ns, cpu.kernel.costs.irq_ns, BOOT)
