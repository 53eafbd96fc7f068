"""Partial-order reduction: a step that commutes with all that others can do is taken at once.

Between an exit and the next entry a vcpu thread looks for completions, then at requests.  With
nothing outstanding for this vcpu, none of its halts asked for or in force, these two looks see
nothing and change nothing but where the thread stands.  From 5.8 completions are noticed as
requests, so the first of the two sees nothing whatever is outstanding.  What others can do
meanwhile neither sees that nor alters what they see: a completion is only queued, as a thread in
the host is not kicked, an interrupt or an NMI only stays pending, a failure only waits for its
victim.  So whether they come before or after makes no difference, and the order in which the look
comes first stands for all (a persistent set of one).

Nothing is put off for ever: looks lead into the guest or find something, and neither is taken
alone.  They write nothing down, so no property counts them.  Events that move the thread itself,
such as a migration, a reset or an SMI, do see it; while one of those may come nothing is left out.
"""

from __future__ import annotations

from typing import Final

from pagewake.events import types as ev
from pagewake.explore.machine import MAY, Choice, SmallMachine
from pagewake.guest_kernel.vcpu import GuestCpu
from pagewake.kvm.modes import HOST
from pagewake.kvm.ports import OP_CHECK, OP_ENTER, OP_LOOP, Op
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
        thread = machine.vm.vcpus[step.vcpu]
        if step.op is OP_ENTER:
            alone = quiet and _only_enters(thread, machine.kernel.cpus[step.vcpu])
        else:
            alone = step.op is OP_LOOP or step.op is OP_CHECK
        if alone and (_only_looks(thread, step.op) or _sees_nothing(thread)):
            return Choice("vcpu", step.vcpu)
    return None


def _only_enters(thread: VcpuThread, cpu: GuestCpu) -> bool:
    """It goes on with a handler, in which no interrupt is taken, so none makes it leave."""
    return cpu.over is not None and not cpu.guest_mode and not cpu.if_flag and thread.nmi is None


def _only_looks(thread: VcpuThread, op: Op) -> bool:
    """From 5.8 check_completion() is where requests are: what comes before it does nothing."""
    late = thread.vm.switches.completion_kicks
    return op is OP_CHECK and late and thread.mode is HOST and not thread.clearings


def _sees_nothing(thread: VcpuThread) -> bool:
    apf = thread.apf
    halts = apf.halted or apf.halt_requested or thread.mp_halted
    outstanding = apf.queue or apf.done or thread.clearings
    return thread.mode is HOST and not halts and not outstanding
