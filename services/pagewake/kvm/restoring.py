"""A VM that goes on in new vcpu structures: migration, and a snapshot with a list of what it holds.

Both are save and restore on the same simulated host.  Residency stays, outstanding work is
cancelled, a new epoch begins.  Guest memory holds what it held: sleepers and dummies stand in their
table, an un-taken token in its slot.  Of KVM's own state only what userspace saved and restores is
there again (semantics 3.10):

    regs      KVM_SET_REGS, which drops an exception that is pending by then
    lapic     KVM_SET_LAPIC: whether it is on, interrupts that are pending, the timer
    int, en   MSR_KVM_ASYNC_PF_INT, MSR_KVM_ASYNC_PF_EN; the latter queues the broadcast
    events    KVM_SET_VCPU_EVENTS: a queued exception, a pending NMI
    mp_state  KVM_SET_MP_STATE: HLT; a vcpu but 0 that is made anew waits for INIT and SIPI

Nothing saves token counters, `pageready_pending`, `send_user_only` or the synthetic halt.
MSR_KVM_ASYNC_PF_ACK reads 0, so to restore it does nothing.  A vcpu does not run before all of it
is done, and READYs leave the queue only where it runs: `en`, `int` and `lapic` may come in any
order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from pagewake.events import types as ev
from pagewake.kvm import completion, injection
from pagewake.kvm.msr import MSR_KVM_ASYNC_PF_EN, MSR_KVM_ASYNC_PF_INT
from pagewake.kvm.thread import Clearing

if TYPE_CHECKING:
    from pagewake.kvm.thread import VcpuThread
    from pagewake.kvm.vm import Vm


def migrate(vm: Vm, event: ev.VmMigrated) -> None:
    """Everything is carried over that can be, and the enable MSR rewritten."""
    _withdraw(vm, event.at_ns)
    for vcpu in vm.vcpus:
        vcpu.apf.restore()
        _write_enable(vcpu, event.at_ns, vcpu.apf.msr_val)
        vcpu.revive(event.at_ns, "signal", event.pause_ns)


def restore(vm: Vm, event: ev.VmRestored) -> None:
    """What was saved is written in this order, the rest is that of a new vcpu."""
    _withdraw(vm, event.at_ns)
    for vcpu in vm.vcpus:
        enable, vector = vcpu.apf.msr_val, vcpu.apf.int_vector
        vcpu.apf.restore()
        vcpu.apf.forget_msrs()
        for saved, lose in LOST.items():
            if saved not in event.saves:
                lose(vcpu, event.at_ns)
        for saved in event.saves:
            if saved == "int":
                completion.write_msr(vcpu, event.at_ns, MSR_KVM_ASYNC_PF_INT, vector, "host")
            elif saved == "en":
                _write_enable(vcpu, event.at_ns, enable)
            elif saved == "regs" and "events" in event.saves[: event.saves.index(saved)]:
                injection.drop_exception(vcpu, event.at_ns, "registers_set")
        vcpu.revive(event.at_ns, "signal", event.pause_ns)


def replace_kernel(vm: Vm, event: ev.KernelReplaced) -> None:
    """Another kernel takes over; after hibernation in a machine that was off in between."""
    at_ns = event.at_ns
    hibernated = event.how == "hibernate"
    if hibernated:
        _withdraw(vm, at_ns)
    for vcpu in vm.vcpus:
        injection.drop_exception(vcpu, at_ns, "reset")
        vcpu.apf.halt_requested = False  # what stopped the old kernel's CPU ended its halt
        vcpu.resumed(at_ns, "signal")
        vcpu.revive(at_ns, "signal", event.for_ns if hibernated else 0)
        vcpu.lapic_on = True  # as a kernel sets it up, with nothing pending
        vcpu.irqs = 0
    if not hibernated:
        vm.guest.control(event)
        for vcpu in vm.vcpus[1:]:
            completion.withdraw(vcpu, at_ns, Clearing("reset"))
        return
    for vcpu in vm.vcpus:
        vcpu.apf.restore()
        vcpu.apf.forget_msrs()
        vcpu.nmi = None
    vm.guest.control(event)
    for vcpu in vm.vcpus:  # the broadcast of the boot kernel's registration was the boot kernel's
        completion.clear(vcpu, at_ns, "migration")


def _withdraw(vm: Vm, at_ns: int) -> None:
    for vcpu in vm.vcpus:
        completion.clear(vcpu, at_ns, "migration")
        vcpu.give_up_clearing(at_ns)
    vm.epoch += 1
    if vm.handler is not None:
        vm.handler.restart_rings()


def _write_enable(vcpu: VcpuThread, at_ns: int, value: int) -> None:
    if value or vcpu.vm.config.apf == "pv":
        completion.write_msr(vcpu, at_ns, MSR_KVM_ASYNC_PF_EN, value, "host")


def _lose_lapic(vcpu: VcpuThread, _: int) -> None:
    vcpu.lapic_on = False
    vcpu.irqs = 0
    vcpu.disarm_timer()


def _lose_events(vcpu: VcpuThread, at_ns: int) -> None:
    injection.drop_exception(vcpu, at_ns, "not_saved")
    vcpu.nmi = None


def _lose_mp_state(vcpu: VcpuThread, at_ns: int) -> None:
    vcpu.resumed(at_ns, "signal")
    if vcpu.id:
        vcpu.wait_for_sipi(at_ns)


LOST: Final[Mapping[ev.SavedState, Callable[[VcpuThread, int], None]]] = {
    "lapic": _lose_lapic,
    "events": _lose_events,
    "mp_state": _lose_mp_state,
}
"""What becomes of it in a new vcpu, if it was not saved; MSRs are 0 there."""
