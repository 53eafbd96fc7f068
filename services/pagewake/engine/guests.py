"""Builds the kernel of one VM: its configuration, its tasks and their access streams."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pagewake.engine.regions import Layout, TaskRegion
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.scheduler import SchedulerConfig
from pagewake.guest_kernel.streams import (
    AccessStream,
    RandomStream,
    Region,
    SequentialStream,
    Touching,
    WorkStream,
    ZipfStream,
    ZipfTable,
)
from pagewake.guest_kernel.tasks import KernelSections, ScriptStep, Task
from pagewake.guest_kernel.touch_buffer import Pages
from pagewake.guest_kernel.trace_stream import TraceStream
from pagewake.host_memory.media import MEDIA
from pagewake.kvm.config import Costs, NestedConfig, VmConfig
from pagewake.kvm.vm import Vm
from pagewake.scenario import model
from pagewake.scenario.page_trace import TraceSource

NS_PER_S = 1_000_000_000


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
        from pagewake.engine.nested import attach_inner_guests

        tasks += attach_inner_guests(scenario, instance, layout, kernel, len(tasks))
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
        host_tick_ns=NS_PER_S // host.hz if host.hz else 0,
        background_exit_ns=round(NS_PER_S / host.exits_per_s) if host.exits_per_s else 0,
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


def build_tasks(
    scenario: model.Scenario,
    instance: model.VmInstance,
    layout: Layout,
    pages: Pages,
    level: int,
) -> list[Task]:
    """The tasks of one level, in file order; placed on its vcpus in turn, per kind of task."""
    vcpus = instance.spec.vcpus_at(level)
    tasks: list[Task] = []
    for index, spec in enumerate(instance.spec.tasks):
        if spec.level != level:
            continue
        for number in range(spec.count):
            region = layout.regions[index, number]
            name = f"{spec.name}-{number}"
            stream = _stream(scenario, instance, spec, name, region, pages)
            tasks.append(_task(scenario, spec, len(tasks), name, number % vcpus, region, stream))
    return tasks


def _task(
    scenario: model.Scenario,
    spec: model.Task,
    index: int,
    name: str,
    cpu: int,
    region: TaskRegion,
    stream: AccessStream | None,
) -> Task:
    sections = None
    if spec.kernel_every_ns is not None and spec.kernel_for_ns is not None:
        sections = KernelSections(spec.kernel_every_ns, spec.kernel_for_ns, spec.no_preempt)
    return Task(
        index,
        name,
        f"task:{spec.name}",
        cpu if spec.vcpu is None else spec.vcpu,
        stream=stream,
        script=tuple(
            ScriptStep(s.op, s.at_ns, s.ns, s.page, s.write, s.msr, s.value) for s in spec.script
        ),
        pinned=spec.vcpu is not None,
        weight=spec.weight,
        start_ns=spec.start_ns,
        sections=sections,
        base_gfn=region.base,
        touch_ns=spec.touch_ns,
        work_step_ns=scenario.kernel.increment_ns if spec.pattern == "work" else 0,
    )


def _stream(
    scenario: model.Scenario,
    instance: model.VmInstance,
    spec: model.Task,
    name: str,
    region: TaskRegion,
    pages: Pages,
) -> AccessStream | None:
    entity = f"{instance.name}/{name}"
    where = Region(region.base, region.pages)
    if spec.pattern == "script":
        return None
    if spec.pattern == "work":
        return WorkStream(scenario.kernel.increment_ns, spec.finish_after_ns)
    if spec.pattern == "trace":
        assert spec.trace is not None
        cpi_ns = max(1, round(spec.cpi_ns))
        return TraceStream(
            pages, where, TraceSource.of(find_trace(spec.trace)), spec.repeat, cpi_ns, entity
        )
    touching = Touching(spec.access, spec.write_share, spec.touch_ns, spec.touches)  # type: ignore[arg-type]
    if spec.pattern == "sequential":
        return SequentialStream(pages, where, touching, scenario.seed, entity, spec.stride_pages)
    if spec.pattern == "zipf":
        table = zipf_table(region.pages, spec.theta)
        return ZipfStream(pages, where, touching, scenario.seed, entity, table)
    return RandomStream(pages, where, touching, scenario.seed, entity)


@lru_cache(maxsize=64)
def zipf_table(pages: int, theta: float) -> ZipfTable:
    """One table serves all streams of a size and skew."""
    return ZipfTable(pages, theta)
