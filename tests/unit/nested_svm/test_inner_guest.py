"""L0's nested SVM of one vcpu: an exception queued for it, the page table it shadows."""

from __future__ import annotations

import pytest

from pagewake.events import types as ev
from pagewake.events.ids import Token
from pagewake.guest_kernel.config import KernelCosts, SchedulerConfig
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.tasks import Task
from pagewake.kvm import injection
from pagewake.kvm.config import ExitRates
from pagewake.nested_svm.exit_codes import EXCP_PF, INTR, PF_VECTOR
from pagewake.nested_svm.hypervisor import Exit, NestedSvm
from pagewake.nested_svm.inner_guest import InnerGuests, VcpuNested
from pagewake.nested_svm.inner_memory import InnerMemory
from pagewake.nested_svm.inner_vcpu import DueExit, InnerVcpu
from pagewake.nested_svm.routing import Intercepts
from pagewake.simtime.randomness import Draws
from tests.unit.kvm.scripted import Machine


def test_a_dropped_exception_leaves_no_exit_owed() -> None:
    """check_exception runs at entry in the kernel, so what is dropped before then owes nothing."""
    machine = Machine()
    thread, guest = machine.vcpu, machine.guest
    svm = NestedSvm(machine.vm.switches)
    svm.guest_mode, svm.intercepts = True, Intercepts(exceptions=1 << PF_VECTOR)
    thread.nested = VcpuNested(thread, thread.guest, svm, l1_npt=False, masking=False)
    guest.guest_mode, guest.depth = True, 2

    injection.queue_exception(thread, 1_000, Token(0x1000), "not_present")
    assert thread.exc is not None
    assert (thread.exc.token, thread.exc.kind, thread.exc.level) == (0x1000, "not_present", 1)
    assert svm.owed == Exit(EXCP_PF, 0, 0x1000)

    machine.deliver(ev.RegistersSet(2_000, "vm", 0, 0))
    machine.vm.agenda.forget_own(2_000)
    machine.run(3_000)
    assert machine.vcpu.exc is None
    assert svm.owed is None


@pytest.mark.parametrize(
    ("l1_npt", "depth", "shadowed"),
    [(True, 2, "npt/2"), (True, 3, "npt/3"), (False, 2, "task:inner"), (False, 3, "task:inner")],
)
def test_what_l0_shadows_is_l1s_table_for_the_guest_or_its_process(
    l1_npt: bool, depth: int, shadowed: str
) -> None:
    machine = Machine()
    svm = NestedSvm(machine.vm.switches)
    kernel = GuestKernel(machine.vm, machine.vm.switches, KernelCosts(), SchedulerConfig())
    (cpu,) = kernel.cpus
    nested = VcpuNested(machine.vcpu, cpu, svm, l1_npt=l1_npt, masking=False)
    memory = InnerMemory(machine.vm.pages, 0, 16)
    inner = InnerGuests(kernel, memory, [nested])
    draws = Draws(1, "exits")
    vcpu = InnerVcpu(0, svm, memory, SchedulerConfig(), 0, draws, ExitRates())
    vcpu.curr = Task(0, "inner-0", "task:inner", 0, level=depth)
    cpu.curr = Task(0, "l2-vcpu-0", "l1", 0, inner=vcpu)
    cpu.enter_guest(depth, 3)
    assert inner.cr3(cpu) == shadowed


@pytest.mark.parametrize(("reason", "left"), [(1, 0), (2, 2)])
def test_what_ends_a_latched_token_leaves_an_exit_of_no_interest(reason: int, left: int) -> None:
    """READY stays: it is not waited for, and wakes somebody."""
    machine = Machine()
    svm = NestedSvm(machine.vm.switches)
    kernel = GuestKernel(machine.vm, machine.vm.switches, KernelCosts(), SchedulerConfig())
    memory = InnerMemory(machine.vm.pages, 0, 16)
    inner = InnerGuests(kernel, memory, [])
    vcpu = InnerVcpu(0, svm, memory, SchedulerConfig(), 0, Draws(1, "exits"), ExitRates())
    inner.vcpus.append(vcpu)
    vcpu.pending = DueExit(Exit(EXCP_PF, 0, 0x1000))
    svm.latch(EXCP_PF, lambda: reason)
    inner.end_latched()
    assert svm.apf_reason == left
    assert (vcpu.pending.exit.code == INTR) == (left == 0)
