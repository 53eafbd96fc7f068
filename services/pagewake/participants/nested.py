"""Builds the nested guests of a VM whose kernel is a hypervisor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.tasks import Task
from pagewake.kvm.config import NestedConfig
from pagewake.nested_svm.exit_codes import CPUID, HLT, INTR, IOIO, MISC_BASE, MSR, PF_VECTOR, VMRUN
from pagewake.nested_svm.hypervisor import NestedSvm
from pagewake.nested_svm.inner_guest import InnerGuests, VcpuNested
from pagewake.nested_svm.inner_memory import InnerMemory
from pagewake.nested_svm.inner_vcpu import MSR_INTERCEPTED, InnerVcpu, enable_apf
from pagewake.nested_svm.routing import Intercepts, PermissionMap, msr_word_offset
from pagewake.participants.regions import Layout
from pagewake.participants.tasks import build_tasks
from pagewake.scenario import model
from pagewake.simtime.randomness import Draws


def intercepts_of_kvm(npt: bool) -> Intercepts:
    """The intercepts of a KVM in L1; #PF is among them only if it shadows (semantics 4.7, 4.8)."""
    codes = (INTR, CPUID, HLT, IOIO, MSR, VMRUN)
    misc = sum(1 << (code - MISC_BASE) for code in codes)
    offset = msr_word_offset(MSR_INTERCEPTED)
    assert offset is not None
    bits = 0b11 << 2 * (MSR_INTERCEPTED & 15)  # reads and writes: two bits an MSR, 16 a word
    changed = {offset + byte: bits >> 8 * byte & 0xFF for byte in range(4)}
    return Intercepts(
        exceptions=0 if npt else 1 << PF_VECTOR,
        misc=misc,
        msr_map=PermissionMap(0, changed),
        io_map=PermissionMap(0xFF),
    )


def attach_inner_guests(
    scenario: model.Scenario,
    instance: model.VmInstance,
    layout: Layout,
    kernel: GuestKernel,
    populated: NDArray[np.int64],
    first_index: int,
) -> list[Task]:
    """Give the VM its L2 (and L3) guests; the vcpu threads, which are tasks of L1."""
    vm = kernel.vm
    config = vm.config.nested
    assert config is not None
    base, pages = layout.inner[0].base, layout.inner[0].pages
    memory = InnerMemory(vm.pages, base, pages)
    memory.written(populated)
    guests = InnerGuests(kernel, memory, _l0_sides(scenario, kernel, config))
    kernel.inner = guests
    for index in range(instance.spec.vcpus_at(2)):
        guests.vcpus.append(_vcpu(scenario, instance, config, kernel, memory, index))
    _place_tasks(scenario, instance, layout, guests)
    return [
        Task(
            first_index + vcpu.index,
            f"l2-vcpu-{vcpu.index}",
            "l1",
            vcpu.index % instance.spec.vcpus,
            inner=vcpu,
        )
        for vcpu in guests.vcpus
    ]


def _l0_sides(
    scenario: model.Scenario, kernel: GuestKernel, config: NestedConfig
) -> list[VcpuNested]:
    switches = scenario.kernel.switches(0)
    masking = config.l1_vintr_masking and switches.gap_g0
    sides: list[VcpuNested] = []
    for thread, cpu in zip(kernel.vm.vcpus, kernel.cpus, strict=True):
        svm = NestedSvm(switches, config.npt)
        svm.intercepts = intercepts_of_kvm(config.l1_npt)
        side = VcpuNested(thread, cpu, svm, config.l1_npt, masking)
        thread.nested = side
        sides.append(side)
    return sides


def _vcpu(
    scenario: model.Scenario,
    instance: model.VmInstance,
    config: NestedConfig,
    kernel: GuestKernel,
    memory: InnerMemory,
    index: int,
) -> InnerVcpu:
    rules = scenario.kernel
    l1 = rules.switches(1)
    svm = NestedSvm(l1, config.l1_npt)
    svm.intercepts = intercepts_of_kvm(config.l2_npt)
    shown = rules.cpuid.l2
    enables = rules.l2 is not None and rules.apf == "pv" and "async_pf" in shown
    l1_int = l1.ready_by_interrupt and "async_pf_int" in shown
    return InnerVcpu(
        index,
        svm,
        memory,
        kernel.scheduler,
        kernel.vm.config.tick_ns,
        Draws(scenario.seed, f"{instance.name}/l2-vcpu-{index}/exits"),
        config.exits,
        ticks_reach_l3=l1.gap_g0 and not config.l2_vintr_masking,
        boot=enable_apf(rules.switches(2), l1_int) if enables else (),
    )


def _place_tasks(
    scenario: model.Scenario, instance: model.VmInstance, layout: Layout, guests: InnerGuests
) -> None:
    base = guests.memory.base
    vcpus = guests.vcpus
    for level in range(2, instance.spec.nested + 2):
        for task in build_tasks(scenario, instance, layout, guests.memory, level, base):
            vcpus[task.cpu % len(vcpus)].add(task)
