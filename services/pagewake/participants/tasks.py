"""The tasks of a scenario as tasks of a guest, with their access streams."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from pagewake.guest_kernel.config import KernelSections
from pagewake.guest_kernel.requests import (
    Arrivals,
    Clients,
    ListedArrivals,
    RateArrivals,
    Requests,
    RequestStream,
)
from pagewake.guest_kernel.streams import (
    AccessStream,
    HotSet,
    HotStream,
    PatternStream,
    Phase,
    PhasedStream,
    RandomStream,
    Region,
    SequentialStream,
    Touching,
    WorkStream,
    ZipfStream,
    ZipfTable,
)
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.trace_stream import TraceStream
from pagewake.kvm.page_table import Pages
from pagewake.participants.regions import Layout, TaskRegion
from pagewake.scenario import model
from pagewake.scenario.arrivals import ArrivalsFile
from pagewake.scenario.page_trace import TraceSource
from pagewake.simtime.randomness import Draws


def build_tasks(
    scenario: model.Scenario,
    instance: model.VmInstance,
    layout: Layout,
    pages: Pages,
    level: int,
    base: int = 0,
) -> list[Task]:
    """The tasks of one level, in file order; placed on its vcpus in turn, per kind of task.

    `base`: first gfn of the guest's memory, where its own numbering starts.
    """
    vcpus = instance.spec.vcpus_at(level)
    tasks: list[Task] = []
    for index, spec in enumerate(instance.spec.tasks):
        if spec.level != level:
            continue
        queue = _queue(scenario, instance, spec)
        for number in range(spec.count):
            region = layout.regions[index, number]
            region = region._replace(base=region.base - base)
            name = f"{spec.name}-{number}"
            stream = _stream(scenario, instance, spec, name, region, pages)
            cpu = number % vcpus
            tasks.append(_task(scenario, spec, len(tasks), name, cpu, region, stream, queue))
    return tasks


def _task(
    scenario: model.Scenario,
    spec: model.Task,
    index: int,
    name: str,
    cpu: int,
    region: TaskRegion,
    stream: AccessStream | None,
    queue: Requests | None,
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
        script=spec.script,
        requests=queue,
        pinned=spec.vcpu is not None,
        weight=spec.weight,
        start_ns=spec.start_ns,
        sections=sections,
        base_gfn=region.base,
        touch_ns=spec.touch_ns,
        work_step_ns=scenario.kernel.increment_ns if spec.pattern == "work" else 0,
        level=spec.level,
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
    where = Region(region.base, max(region.pages, 1))  # a server may touch none
    if spec.pattern == "script":
        return None
    if spec.pattern == "work":
        return WorkStream(spec.finish_after_ns)
    if spec.pattern == "trace":
        return _trace(spec, entity, where, pages)
    source = _pattern(scenario, spec, entity, where, pages)
    if spec.pattern == "requests":
        return RequestStream(pages, where, source, writing=spec.access == "write")
    return source


def _pattern(
    scenario: model.Scenario, spec: model.Task, entity: str, where: Region, pages: Pages
) -> PatternStream:
    if spec.phases:
        return _phased(scenario, spec, entity, where, pages)
    touching = _touching(spec)
    if spec.pattern == "sequential":
        return SequentialStream(pages, where, touching, scenario.seed, entity, spec.stride_pages)
    if spec.hot_set and spec.pattern != "zipf":  # a task with one may have a phase of zipf
        return HotStream(pages, where, touching, scenario.seed, entity, hot_set(spec, where.pages))
    if spec.pattern in ("zipf", "requests"):
        table = zipf_table(where.pages, spec.theta)
        return ZipfStream(pages, where, touching, scenario.seed, entity, table)
    return RandomStream(pages, where, touching, scenario.seed, entity)


def hot_set(spec: model.Task, pages: int) -> HotSet:
    """The hot set of a task that has one."""
    hot_pages = max(1, round(spec.hot_set * pages))
    return HotSet(round(spec.hot_start * pages), hot_pages, round(spec.hot_touches * 2**32))


def _phased(
    scenario: model.Scenario, spec: model.Task, entity: str, where: Region, pages: Pages
) -> PhasedStream:
    phases: list[Phase] = []
    for index, phase in enumerate(spec.phases):
        given = {
            name: value
            for name in phase.__struct_fields__
            if name != "touches" and (value := getattr(phase, name)) is not None
        }
        part = msgspec.structs.replace(spec, **given, phases=(), access="read", touches=None)
        region = Region(0, part.region_pages)
        source = _pattern(scenario, part, f"{entity}/phase-{index}", region, pages)
        phases.append(Phase(phase.touches, source))
    touching = _touching(spec)
    return PhasedStream(pages, where, touching, scenario.seed, entity, tuple(phases))


def _touching(spec: model.Task) -> Touching:
    return Touching(spec.access, spec.write_share, spec.touch_ns, spec.touches)  # type: ignore[arg-type]


def _trace(spec: model.Task, entity: str, where: Region, pages: Pages) -> TraceStream:
    assert spec.trace is not None
    return TraceStream(pages, where, TraceSource(spec.trace), spec.repeat, spec.cpi_ns, entity)


@lru_cache(maxsize=64)
def zipf_table(pages: int, theta: float) -> ZipfTable:
    """The table for a size and skew, which all streams share."""
    return ZipfTable(pages, theta)


def _queue(
    scenario: model.Scenario, instance: model.VmInstance, spec: model.Task
) -> Requests | None:
    """The queue that the instances of a task serve, if it serves requests."""
    if spec.pattern != "requests":
        return None
    assert spec.service is not None
    entity = f"{instance.name}/{spec.name}"
    return Requests(
        spec.name,
        _arrivals(spec, scenario.seed, entity),
        spec.service,
        spec.touches_per_request,
        Draws(scenario.seed, f"{entity}/service"),
        spec.requests,
    )


def _arrivals(spec: model.Task, seed: int, entity: str) -> Arrivals:
    if spec.arrivals_file is not None:
        return ListedArrivals(ArrivalsFile(spec.arrivals_file))
    draws = Draws(seed, f"{entity}/arrivals")
    if spec.clients is not None:
        return Clients(spec.clients, spec.think, draws)
    assert spec.rate is not None
    return RateArrivals(spec.rate, draws if spec.arrivals == "poisson" else None)
