"""Another kernel takes over the guest: after kexec, after a crash, or out of hibernation.

What the old one registered with the host may outlive it: the host then writes into memory that is
somebody else's by that time (semantics 2.1).

    kexec      tears APF down on every CPU (the reboot notifier, as for a reboot)
    crash      tears it down on the CPU that crashes, which is CPU 0 here, since 5.13; before, that
               stays registered with the old area until the new kernel writes the enable MSR; the
               others are reset by INIT as they come up
    hibernate  the machine is off, then a boot kernel, which registers CPU 0, loads the image and
               jumps into it; CPUs but 0 went down before and come up again.  The image tears CPU 0
               down and registers it again since 5.13; before, it keeps the boot kernel's area

A new kernel has areas of its own elsewhere and an empty table of sleepers; the tasks go on in it as
if it had started them there.  An image has everything that the kernel had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pagewake.events import types as ev
from pagewake.guest_kernel import apf_handler
from pagewake.guest_kernel.apf_area import ApfArea, area_gpa
from pagewake.guest_kernel.overlays import BOOT, Overlay, Switched
from pagewake.kvm.ports import IRQ_CALL

if TYPE_CHECKING:
    from pagewake.guest_kernel.kernel import GuestKernel
    from pagewake.guest_kernel.vcpu import GuestCpu

TORN_DOWN: Final = {
    "restart": ("kexec",),
    "suspend": ("kexec", "hibernate"),
    "crash": ("kexec", "hibernate", "crash"),
}
"""By `guest_teardown`, of which takeovers CPU 0 has APF off."""


def take_over(kernel: GuestKernel, event: ev.KernelReplaced) -> None:
    """Every vcpu has left its guest; what the host does to them is `kvm/restoring.py`."""
    torn_down = event.how in TORN_DOWN[kernel.switches.guest_teardown]
    if event.how == "hibernate":
        _resume_image(kernel, event.at_ns, torn_down)
    else:
        _start_another(kernel, event, torn_down)


def _resume_image(kernel: GuestKernel, at_ns: int, torn_down: bool) -> None:
    for cpu in kernel.cpus:
        if cpu.id or torn_down:
            cpu.area.enabled = 0
            if cpu.online:
                apf_handler.wake_all(cpu, at_ns, "offline")
                _boot(cpu, kernel.costs.irq_ns)
        elif cpu.area.enabled:
            gpa = area_gpa(cpu.id, 1 - kernel.place)
            kernel.areas[gpa] = ApfArea(foreign=True)
            apf_handler.register(cpu, at_ns, gpa)


def _start_another(kernel: GuestKernel, event: ev.KernelReplaced, torn_down: bool) -> None:
    if torn_down:
        for cpu in kernel.cpus if event.how == "kexec" else kernel.cpus[:1]:
            apf_handler.unregister(cpu, event.at_ns)
    for cpu in kernel.cpus:
        apf_handler.wake_all(cpu, event.at_ns, "offline")
    kernel.place = 1 - kernel.place
    for cpu in kernel.cpus:
        cpu.area.foreign = True
        cpu.area_gpa = area_gpa(cpu.id, kernel.place)
        cpu.area = kernel.areas[cpu.area_gpa] = ApfArea()
        if cpu.online:
            _boot(cpu, event.for_ns or kernel.costs.irq_ns)


def _boot(cpu: GuestCpu, for_ns: int) -> None:
    """Whatever ran on this CPU is gone; the kernel's start is what it runs from its next entry."""
    task = cpu.curr
    if task is not None and task.state == "new":
        assert cpu.over is None or isinstance(cpu.over.what, Switched)
        task.state = "runnable"
    cpu.suspended = None
    cpu.stopping = cpu.idle_halting = cpu.nmi_halting = cpu.ack_due = cpu.shadow = False
    cpu.over = Overlay(BOOT, 0, for_ns)
    cpu.if_flag = False
    cpu.cpl = 0
    if cpu.calls:
        cpu.thread.pend(IRQ_CALL)
