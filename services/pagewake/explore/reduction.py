"""Partial-order reduction: a step that commutes with all that others can do is taken at once.

Between an exit and the next entry a vcpu thread looks for completions, then at requests.  With
nothing outstanding for this vcpu, none of its halts asked for or in force, these two looks see
nothing and change nothing but where the thread stands.  What others can do meanwhile neither sees
that nor alters what they see: an interrupt or an NMI only stays pending, a failure only waits for
its victim.  So whether they come before or after makes no difference, and the order in which the
look comes first stands for all (a persistent set of one).  Events that move the thread itself, such
as a migration, a reset or an SMI, do see it; while one of those may come nothing is left out.
"""

from __future__ import annotations

from typing import Final

from pagewake.events import types as ev
from pagewake.explore.machine import MAY, Choice, SmallMachine
from pagewake.guest_kernel.vcpu import GuestCpu
from pagewake.kvm.modes import HOST
from pagewake.kvm.ports import OP_CHECK, OP_ENTER, OP_LOOP
from pagewake.kvm.thread import VcpuThread

NMI: Final = MAY.index("nmi")
BLIND: Final = (
    ev.VcpuOffline, ev.VcpuOnline, ev.MsrWriteRequested, ev.NmiArrived, ev.IrqArrived,
    ev.AllocationFails, ev.AreaWriteFails, ev.WorkerGupFails,
)  # fmt: skip
"""Events that do nothing to a thread on its way back into the guest but leave something pending."""


def first(machine: SmallMachine) -> Choice | None:
    """The step that may be taken before everything else; None: all have to be tried."""
    quiet = not machine.budget[NMI]
    for number, event in enumerate(machine.events):
        if machine.left >> number & 1:
            if not isinstance(event, BLIND):
                return None
            quiet &= not isinstance(event, ev.NmiArrived)
    for step in machine.own:
        if step is None:
            continue
        if step.op in (OP_CHECK, OP_LOOP) or (quiet and step.op is OP_ENTER):
            thread = machine.vm.vcpus[step.vcpu]
            cpu = machine.kernel.cpus[step.vcpu]
            if _sees_nothing(thread) and (step.op is not OP_ENTER or _only_enters(thread, cpu)):
                return Choice("vcpu", step.vcpu)
    return None


def _only_enters(thread: VcpuThread, cpu: GuestCpu) -> bool:
    """It goes on with a handler, in which no interrupt is taken, so none makes it leave."""
    return cpu.over is not None and not cpu.guest_mode and not cpu.if_flag and thread.nmi is None


def _sees_nothing(thread: VcpuThread) -> bool:
    apf = thread.apf
    halts = apf.halted or apf.halt_requested or thread.mp_halted
    outstanding = apf.queue or apf.done or thread.clearings
    return thread.mode is HOST and not halts and not outstanding
