"""Builds the kernel of one VM: its configuration, its tasks and what is nested in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.scheduler import SchedulerConfig
from pagewake.host_memory.media import MEDIA
from pagewake.kvm.config import Costs, NestedConfig, VmConfig
from pagewake.kvm.vm import Vm
from pagewake.participants.nested import attach_inner_guests
from pagewake.participants.regions import Layout
from pagewake.participants.tasks import build_tasks
from pagewake.scenario import model

NS_PER_S = 1_000_000_000
NEVER_NS = 1 << 60


def build_kernel(
    scenario: model.Scenario,
    instance: model.VmInstance,
    layout: Layout,
    stock_pages: int,
    populated: NDArray[np.int64],
    resident: NDArray[np.bool_],
) -> GuestKernel:
    """One VM, ready for time 0."""
    vm = Vm(vm_config(scenario, instance, stock_pages))
    vm.pages.populate(populated, resident)
    kernel = GuestKernel(vm, scenario.kernel.switches(1), scheduler_config(scenario))
    tasks = build_tasks(scenario, instance, layout, vm.pages, 1)
    if instance.spec.nested:
        tasks += attach_inner_guests(scenario, instance, layout, kernel, populated, len(tasks))
    kernel.start(tasks)
    return kernel


def vm_config(scenario: model.Scenario, instance: model.VmInstance, stock_pages: int) -> VmConfig:
    """The part of the scenario that L0's KVM of one VM needs."""
    kernel, host, spec = scenario.kernel, scenario.host, instance.spec
    device = host.medium.device()
    synchronous = {name: medium.cost_ns for name, medium in MEDIA.items() if medium.synchronous}
    if device.synchronous:
        synchronous[device.name] = device.cost_ns
    return VmConfig(
        name=instance.name,
        seed=scenario.seed,
        pages=spec.memory_pages,
        vcpus=spec.vcpus,
        switches=kernel.switches(0),
        apf=kernel.apf,  # type: ignore[arg-type]
        irqchip=kernel.irqchip,
        costs=_costs(scenario),
        medium=device.name,
        media=synchronous,
        stock_pages=stock_pages,
        tick_ns=NS_PER_S // kernel.hz if kernel.hz else 0,
        idle_tick_ns=NS_PER_S // kernel.idle_hz if kernel.idle_hz else 0,
        host_tick_ns=NS_PER_S // host.hz if host.hz else 0,
        background_exit_ns=round(min(NS_PER_S / host.exits_per_s, NEVER_NS))
        if host.exits_per_s
        else 0,
        nested=_nested(scenario) if spec.nested else None,
    )


def _costs(scenario: model.Scenario) -> Costs:
    host, guest = scenario.host.costs, scenario.kernel.costs
    return Costs(
        exit_ns=max(host.exit_ns, 1),
        entry_ns=max(host.entry_ns, 2),
        fault_ns=host.fault_ns,
        first_touch_ns=host.first_touch_ns,
        worker_hop_ns=max(host.worker_hop_ns, 1),
        wake_ns=max(host.wake_ns, 1),
        tick_ns=guest.tick_ns,
        trap_ns=max(guest.trap_ns, 1),
        switch_ns=max(guest.context_switch_ns, 1),
        irq_ns=max(guest.irq_ns, 1),
    )


def _nested(scenario: model.Scenario) -> NestedConfig:
    nested = scenario.nested
    exits = nested.exits
    return NestedConfig(
        npt=nested.npt,
        l1_npt=nested.l1_npt,
        l1_vintr_masking=nested.l1_vintr_masking,
        l2_npt=nested.l2_npt,
        l2_vintr_masking=nested.l2_vintr_masking,
        exit_rates={
            "hlt": exits.hlt_per_s,
            "msr": exits.msr_per_s,
            "io": exits.io_per_s,
            "cpuid": exits.cpuid_per_s,
            "intr": exits.intr_per_s,
        },
    )


def scheduler_config(scenario: model.Scenario) -> SchedulerConfig:
    """The fair scheduler's tunables."""
    tunables = scenario.kernel.scheduler
    return SchedulerConfig(
        tunables.latency_ns,
        tunables.min_granularity_ns,
        tunables.wakeup_granularity_ns,
        tunables.balance_ns,
    )
