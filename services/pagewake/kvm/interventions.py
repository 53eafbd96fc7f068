"""Control events at L0: what the host, or a person at the host, does to a VM in mid-run.

Migration and the restore of a snapshot are `restoring.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pagewake.events import types as ev
from pagewake.kvm import completion, injection, restoring
from pagewake.kvm.modes import BLACKOUT, OFFLINE
from pagewake.kvm.ports import IRQ_DEVICE, Op
from pagewake.kvm.thread import Clearing

if TYPE_CHECKING:
    from pagewake.kvm.thread import VcpuThread
    from pagewake.kvm.vm import Vm


def apply(vm: Vm, event: ev.Control) -> None:
    """Carry out one control event; those about the guest's kernel are passed on to it."""
    handler = HANDLERS.get(type(event))
    if handler is not None:
        handler(vm, event)
    else:
        vm.guest.control(event)


def _reset(vm: Vm, event: ev.VcpuReset) -> None:
    vcpu = vm.vcpus[event.vcpu]
    if completion.withdraw(vcpu, event.at_ns, Clearing("reset")):
        if vm.switches.reset_drops_exception:
            injection.drop_exception(vcpu, event.at_ns, "reset")
        vcpu.revive(event.at_ns, "reset", 0)


def _cr0_pg(vm: Vm, event: ev.Cr0PgToggled) -> None:
    _unpage(vm.vcpus[event.vcpu], event.at_ns, event.for_ns, 0)


def _unpage(vcpu: VcpuThread, at_ns: int, for_ns: int, smm_until_ns: int) -> bool:
    """Paging off, and on again after a while; False as in `completion.withdraw`."""
    vcpu.unpaged_until_ns = at_ns + for_ns
    now = completion.paging_toggled(vcpu, at_ns, not for_ns, smm_until_ns)
    if for_ns:
        vcpu.vm.push(vcpu.unpaged_until_ns, vcpu.id, -1, Op.PAGING_ON)
    return now


def _smi(vm: Vm, event: ev.SmiArrived) -> None:
    """To SMM and back by RSM: paging off and on, and nothing of the guest in between.

    It is taken behind a request to halt for a page, and ends that halt (semantics 3.9).
    """
    vcpu = vm.vcpus[event.vcpu]
    if not vm.switches.smm or vcpu.mode is OFFLINE:
        return
    vcpu.apf.halt_requested = False
    now = _unpage(vcpu, event.at_ns, event.for_ns, event.at_ns + event.for_ns)
    if now and vcpu.mode is not BLACKOUT:
        vcpu.resumed(event.at_ns, "smi")
        vcpu.revive(event.at_ns, "smi", event.for_ns)


def _nmi(vm: Vm, event: ev.NmiArrived) -> None:
    vcpu = vm.vcpus[event.vcpu]
    vcpu.pend_nmi(event.faults)
    vcpu.kick(event.at_ns)


def _irq(vm: Vm, event: ev.IrqArrived) -> None:
    vm.vcpus[event.vcpu].interrupt(event.at_ns, IRQ_DEVICE)


def _stall(vm: Vm, event: ev.VcpuStalled) -> None:
    if event.where == "latch":
        vm.guest.control(event)
    else:
        vm.vcpus[event.vcpu].stall_ns = event.for_ns


def _registers(vm: Vm, event: ev.RegistersSet) -> None:
    injection.drop_exception(vm.vcpus[event.vcpu], event.at_ns, "registers_set")


def _user_exit(vm: Vm, event: ev.LeftForUserspace) -> None:
    vm.vcpus[event.vcpu].exit_to_userspace(event.at_ns, event.for_ns)


def _lapic(vm: Vm, event: ev.LapicSwitched) -> None:
    completion.lapic_switched(vm.vcpus[event.vcpu], event.at_ns, event.on)


def _area(vm: Vm, event: ev.AreaWriteFails) -> None:
    vm.vcpus[event.vcpu].area_failures = event.count


def _gup(vm: Vm, event: ev.WorkerGupFails) -> None:
    vm.gup_failures = event.count


def _alloc(vm: Vm, event: ev.AllocationFails) -> None:
    if event.where == "host":
        vm.host_alloc_failures = event.count
    else:
        vm.guest.control(event)


def _medium(vm: Vm, event: ev.MediumChanged) -> None:
    synchronous_ns = vm.config.media.get(event.medium)
    vm.synchronous = synchronous_ns is not None and vm.handler is None
    vm.medium_cost_ns = synchronous_ns or 0


def _handler_crash(vm: Vm, event: ev.HandlerCrashed) -> None:
    if vm.handler is not None:
        vm.handler.crash(event.at_ns, event.for_ns, event.keeps)


HANDLERS: dict[type[ev.Control], Callable[[Vm, Any], None]] = {
    ev.VcpuReset: _reset,
    ev.Cr0PgToggled: _cr0_pg,
    ev.SmiArrived: _smi,
    ev.VmMigrated: restoring.migrate,
    ev.VmRestored: restoring.restore,
    ev.KernelReplaced: restoring.replace_kernel,
    ev.NmiArrived: _nmi,
    ev.IrqArrived: _irq,
    ev.VcpuStalled: _stall,
    ev.RegistersSet: _registers,
    ev.LeftForUserspace: _user_exit,
    ev.LapicSwitched: _lapic,
    ev.AreaWriteFails: _area,
    ev.WorkerGupFails: _gup,
    ev.AllocationFails: _alloc,
    ev.MediumChanged: _medium,
    ev.HandlerCrashed: _handler_crash,
}
