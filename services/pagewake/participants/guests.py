"""Builds the kernel of one VM: its configuration, its tasks and what is nested in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.host_memory.media import MEDIA
from pagewake.kvm.config import VmConfig
from pagewake.kvm.machine import Machine
from pagewake.kvm.read_ahead import Window
from pagewake.participants.at_start import batch_pages, has_huge_pages
from pagewake.participants.nested import attach_inner_guests
from pagewake.participants.regions import Layout
from pagewake.participants.swap_places import load_ns, zswap_number
from pagewake.participants.tasks import build_tasks
from pagewake.scenario import model
from pagewake.simtime.ports import NEVER_NS

NS_PER_S = 1_000_000_000


def build_kernel(
    scenario: model.Scenario,
    instance: model.VmInstance,
    layout: Layout,
    stock_pages: int,
    populated: NDArray[np.int64],
    resident: NDArray[np.bool_],
    places: bytes = b"",
) -> GuestKernel:
    """Build one VM and its guest kernel, ready for time 0.

    `places`: as `VmMemory` has them.
    """
    rules = scenario.kernel
    vm = Machine(vm_config(scenario, instance, stock_pages))
    vm.pages.populate(populated, resident, instance.spec.page_source != "swap")
    vm.room -= int(resident.sum())
    if vm.huge is not None:
        vm.huge.map_resident()
    if vm.areas is not None:
        vm.areas.start(populated[~resident].tolist(), places)
    if vm.read_ahead is not None and instance.spec.page_source == "swap":
        vm.read_ahead.store(populated[~resident].tolist())
    kernel = GuestKernel(vm, rules.switches(1), rules.costs, rules.scheduler)
    tasks = build_tasks(scenario, instance, layout, vm.pages, 1)
    if instance.spec.nested:
        tasks += attach_inner_guests(scenario, instance, layout, kernel, populated, len(tasks))
    kernel.start(tasks)
    return kernel


def vm_config(scenario: model.Scenario, instance: model.VmInstance, stock_pages: int) -> VmConfig:
    """The part of the scenario that L0's KVM of one VM needs."""
    kernel, host, spec = scenario.kernel, scenario.host, instance.spec
    device = host.medium.device()
    huge = has_huge_pages(scenario, spec)
    synchronous = {name: medium.cost_ns for name, medium in MEDIA.items() if medium.synchronous}
    if device.synchronous:
        synchronous[device.name] = device.cost_ns
    return VmConfig(
        name=instance.name,
        seed=scenario.seed,
        pages=spec.memory_pages,
        vcpus=spec.vcpus,
        switches=kernel.switches(0),
        apf=kernel.guest_apf,  # type: ignore[arg-type]
        cpuid=frozenset(kernel.cpuid.l1),
        irqchip=kernel.irqchip,
        hlt_exits=spec.hlt_exits,
        protected=spec.protected,
        costs=host.costs,
        medium=device.name,
        media=synchronous,
        limit_pages=spec.limit_pages,
        stock_pages=stock_pages,
        huge_floor=batch_pages(scenario, spec) // 2 if huge else None,
        tick_ns=NS_PER_S // kernel.hz if kernel.hz else 0,
        idle_tick_ns=NS_PER_S // kernel.idle_hz if kernel.idle_hz else 0,
        host_tick_ns=NS_PER_S // host.hz if host.hz else 0,
        background_exit_ns=round(min(NS_PER_S / host.exits_per_s, NEVER_NS))
        if host.exits_per_s
        else 0,
        halt_poll_ns=host.halt_poll_ns,
        nested=scenario.nested if spec.nested else None,
        userfault=spec.userfault,
        read_ahead=_window(scenario),
        page_cluster=host.window_order or 0,
        page_source=spec.page_source,  # type: ignore[arg-type]
        load_ns=load_ns(host.areas),
        zswap=zswap_number(host.areas),
        emulator=spec.emulator,
    )


def _window(scenario: model.Scenario) -> Window | None:
    """How pages are read ahead: by slots where the swap area rotates (swap_use_vma_readahead())."""
    rule = scenario.kernel.switches(0).read_ahead
    if scenario.host.window_order is None:
        return None
    return "cluster" if rule == "vma" and scenario.host.medium.device().rotational else rule
