"""From a scenario to the participants of its run.

Memory of a VM: the regions of its tasks in file order from gfn 0 on; an L2 guest's memory is one
range behind them, an L3 guest's a range inside that.  What was populated before time 0 is resident
as far as `at_start` has room for it, by keyed draw; host memory and the VM get the same arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagewake.events import types as ev
from pagewake.guest_kernel.shard import Shard
from pagewake.host_memory.config import HostConfig, VmMemory
from pagewake.host_memory.manager import HostMemory
from pagewake.host_memory.places import Swap
from pagewake.host_memory.replacement import AS_KERNEL
from pagewake.kvm.host_cfs import Cfs
from pagewake.kvm.host_cpus import HostCpus
from pagewake.kvm.host_eevdf import Eevdf
from pagewake.kvm.host_work import Kswapd
from pagewake.participants.at_start import Start, refill_ns, starts
from pagewake.participants.guests import build_kernel
from pagewake.participants.participant import HostParticipant, ShardParticipant
from pagewake.participants.plan import RunPlan
from pagewake.participants.regions import Layout, lay_out
from pagewake.participants.sources import source_config, source_media
from pagewake.participants.swap_places import shares_of
from pagewake.participants.topology import HostPlace
from pagewake.scenario.model import Scenario, VmInstance
from pagewake.simtime.residency import populate


class HostPart(NamedTuple):
    """The domains of one simulated host: its memory, and its shards in the plan's order."""

    host: HostMemory
    shards: list[Shard]


class VmPlan(NamedTuple):
    """One VM with all that its host and its shard must agree on."""

    instance: VmInstance
    layout: Layout
    start: Start
    populated: NDArray[np.int64]
    resident: NDArray[np.bool_]
    places: bytes = b""


def build(plan: RunPlan, hosts: Sequence[int] | None = None) -> list[HostPart]:
    """The domains of a run, host by host: of all, or of these.

    What a host needs to be built is let go before the next one.
    """
    scenario = plan.scenario
    places = plan.topology.hosts if hosts is None else [plan.topology.hosts[i] for i in hosts]
    of_host: dict[int, list[VmInstance]] = {place.index: [] for place in places}
    for instance in scenario.instances():
        if instance.host in of_host:
            of_host[instance.host].append(instance)
    return [_host_part(scenario, place, of_host[place.index]) for place in places]


def _host_part(scenario: Scenario, place: HostPlace, instances: Sequence[VmInstance]) -> HostPart:
    plans = plan_vms(scenario, instances)
    named = {vm.instance.name: vm for vm in plans}
    return HostPart(
        build_host(scenario, place.index, plans),
        [build_shard(scenario, [named[vm] for vm in shard.vms]) for shard in place.shards],
    )


def host_participant(plan: RunPlan, index: int) -> HostParticipant:
    """One simulated host with its memory, without building any shard."""
    mine = [instance for instance in plan.scenario.instances() if instance.host == index]
    memory = build_host(plan.scenario, index, plan_vms(plan.scenario, mine))
    return HostParticipant(plan, index, memory)


def shard_participant(plan: RunPlan, number: int) -> ShardParticipant:
    """One shard with its VMs, without its host; `number` counts as journals do."""
    named = {instance.name: instance for instance in plan.scenario.instances()}
    mine = [named[vm] for vm in plan.topology.shards[number].vms]
    return ShardParticipant(plan, number, build_shard(plan.scenario, plan_vms(plan.scenario, mine)))


def plan_vms(scenario: Scenario, instances: Sequence[VmInstance]) -> list[VmPlan]:
    """The plans of these VMs: their layout, and their memory at time 0.

    VMs of one kind have one array of populated gfns between them.
    """
    kinds: dict[str, tuple[Layout, NDArray[np.int64]]] = {}
    for spec in {vm.spec.name: vm.spec for vm in instances}.values():
        layout = lay_out(spec)
        kinds[spec.name] = layout, _populated(layout)
    hosts = {index: starts(scenario, index) for index in dict.fromkeys(i.host for i in instances)}
    plans = [
        VmPlan(vm, layout, start, populated, _resident(scenario.seed, vm, layout, start))
        for vm in instances
        for layout, populated in [kinds[vm.spec.name]]
        for start in [hosts[vm.host][vm.spec.name]]
    ]
    swap = scenario.host.areas
    return plans if swap is None else _placed(scenario, swap, plans, hosts)


def _placed(
    scenario: Scenario,
    swap: Swap,
    plans: Sequence[VmPlan],
    hosts: Mapping[int, Mapping[str, Start]],
) -> list[VmPlan]:
    """The same plans, with the places of the pages that are in swap."""
    shares = {index: shares_of(scenario, swap, index, starts) for index, starts in hosts.items()}
    return [
        plan._replace(
            places=swap.places(
                scenario.seed,
                plan.instance.name,
                plan.instance.spec.memory_pages,
                plan.populated[~plan.resident],
                shares[plan.instance.host][plan.instance.name],
            )
        )
        for plan in plans
    ]


def _populated(layout: Layout) -> NDArray[np.int64]:
    """Gfns written before time 0, in file order."""
    regions = layout.populated()
    gfns = [np.arange(at.base, at.base + at.pages, dtype=np.int64) for at in regions]
    return np.concatenate(gfns) if gfns else np.zeros(0, np.int64)


def _resident(seed: int, vm: VmInstance, layout: Layout, start: Start) -> NDArray[np.bool_]:
    """Which of those are in memory, as far as there is room for them."""
    room = start.room_pages
    found: list[NDArray[np.bool_]] = []
    for at in layout.populated():
        gfns = np.arange(at.base, at.base + at.pages, dtype=np.int64)
        most = room if at.resident_pages is None else min(room, at.resident_pages)
        mask = populate(seed, f"{vm.name}/{at.name}", gfns, most)
        room -= int(mask.sum())
        found.append(mask)
    return np.concatenate(found) if found else np.zeros(0, np.bool_)


def controls_of(scenario: Scenario, host: int, names: Sequence[str]) -> list[ev.Control]:
    """The scenario's interventions on one simulated host, in order of time."""
    wanted = set(names)
    controls: list[ev.Control] = []
    for event in scenario.events:
        control = event.control
        if isinstance(control, ev.MediumChanged):
            if control.host == host:
                controls.append(msgspec.structs.replace(control, at_ns=event.at_ns))
        elif control.vm in wanted:
            controls.append(msgspec.structs.replace(control, at_ns=event.at_ns))
    return sorted(controls, key=lambda control: control.at_ns)


def host_config(scenario: Scenario, index: int, names: Sequence[str]) -> HostConfig:
    """One simulated host, on which the VMs of these names are."""
    host = scenario.host
    rules = scenario.kernel.switches(0)
    return HostConfig(
        name=f"host-{index}",
        index=index,
        seed=scenario.seed,
        medium=host.medium.device(),
        reclaim_lag_ns=host.reclaim_lag_ns,
        memory_pages=host.memory_pages,
        writeback_pages=host.writeback_pages,
        direct_reclaim=rules.direct_reclaim,
        workers=host.workers if scenario.kernel.workers_read else 0,
        controls=controls_of(scenario, index, names),
        refill_ns=refill_ns(scenario, index),
        window_pages=1 << (host.window_order or 0),
        sources=source_media(scenario),
        replacement=rules.replacement if host.replacement == AS_KERNEL else host.replacement,
        swap=host.areas,
    )


def build_host(scenario: Scenario, index: int, plans: Sequence[VmPlan]) -> HostMemory:
    """The memory manager of one simulated host."""
    names = [plan.instance.name for plan in plans]
    return HostMemory(
        host_config(scenario, index, names), [vm_memory(scenario, plan) for plan in plans]
    )


def vm_memory(scenario: Scenario, plan: VmPlan) -> VmMemory:
    """What the host has to know of one VM."""
    spec = plan.instance.spec
    return VmMemory(
        vm=plan.instance.name,
        pages=spec.memory_pages,
        limit_pages=spec.limit_pages,
        populated=plan.populated,
        resident=plan.resident,
        stock_pages=plan.start.stock_pages,
        reserve_pages=plan.start.reserve_pages,
        min_pages=spec.min_pages,
        low_pages=spec.low_pages,
        direct=scenario.kernel.switches(0).reclaim == "fault",
        source=source_config(scenario, spec, plan.layout, plan.populated[~plan.resident]),
        places=plan.places,
    )


def build_shard(scenario: Scenario, plans: Sequence[VmPlan]) -> Shard:
    """A shard: the guest kernels of some VMs of one simulated host."""
    return Shard(
        [
            build_kernel(scenario, plan.instance, plan.layout, plan.start.stock_pages,
                         plan.populated, plan.resident, plan.places)
            for plan in plans
        ],
        host_cpus(scenario),
        kswapd(scenario),
    )  # fmt: skip


def kswapd(scenario: Scenario) -> Kswapd | None:
    """Its thread, where reclaim runs ahead: of the host, and up to 5.7 of a VM at its limit too."""
    host = scenario.host
    ahead = host.memory_pages is not None or scenario.kernel.switches(0).reclaim == "worker"
    return Kswapd() if host.cpus and ahead else None


def host_cpus(scenario: Scenario) -> HostCpus | None:
    """The CPUs of each simulated host under its kernel's scheduler; None: they are not counted."""
    cpus = scenario.host.cpus
    if not cpus:
        return None
    return Eevdf(cpus) if scenario.kernel.switches(0).scheduler == "eevdf" else Cfs(cpus)
