"""What a scenario may say and hardly means: lines for a person, and no errors."""

from __future__ import annotations

from collections.abc import Iterator

from pagewake.kvm.huge_pages import HUGE
from pagewake.scenario.interventions import ScheduledEvent
from pagewake.scenario.model import Scenario, Task, Vm
from pagewake.scenario.page_trace import TraceSource
from pagewake.scenario.units import format_duration, format_pages

_SPANS = ("pause_ns", "for_ns")
"""Fields of interventions that say how long something lasts."""


def hints(scenario: Scenario) -> Iterator[str]:
    """What probably does not do what was meant, each with its key."""
    if scenario.host.workers and not scenario.kernel.workers_read:
        yield (
            f"host.workers = {scenario.host.workers} limits nothing: in kernel.profile ="
            f' "{scenario.kernel.profile_of(0)}" the vcpu thread starts the read, and a worker only'
            f' waits for it; kernel.overrides.gup = "posted_noio" has workers read'
        )
    for index, vm in enumerate(scenario.vms):
        key = f"vm.{index}"
        yield from _of_vm(vm, key)
        if scenario.host.huge_pages:
            yield from _of_huge_pages(scenario, vm, key)
        for number, task in enumerate(vm.tasks):
            yield from _of_task(scenario, vm, task, f"{key}.task.{number}")
    for index, event in enumerate(scenario.events):
        yield from _of_event(scenario, event, f"event.{index}")


def _of_vm(vm: Vm, key: str) -> Iterator[str]:
    limit, memory = format_pages(vm.limit_pages), format_pages(vm.memory_pages)
    if vm.limit_pages > vm.memory_pages:
        yield (
            f'{key}.limit = "{limit}" is above {key}.memory = "{memory}": the VM never gets there,'
            f' as with limit = "{memory}"'
        )


def _of_huge_pages(scenario: Scenario, vm: Vm, key: str) -> Iterator[str]:
    ahead = vm.limit_pages // 16
    alone = min(scenario.host.charge_batch * vm.vcpus, ahead // 2)
    if vm.userfault is not None or vm.page_source != "swap":
        yield f"host.huge_pages does nothing for {key}: its pages are brought in one by one"
        return
    fresh = any(task.region_pages and not task.populated for task in vm.tasks)
    if fresh and ahead < HUGE + alone:
        yield (
            f'{key}.limit = "{format_pages(vm.limit_pages)}" is too small for host.huge_pages to'
            f" bring fresh memory: a 16th of it is held ahead, and it takes {HUGE + alone} frames;"
            f' make limit at least "{format_pages(16 * (HUGE + alone))}"'
        )


def _of_task(scenario: Scenario, vm: Vm, task: Task, key: str) -> Iterator[str]:
    end = format_duration(scenario.duration_ns)
    if task.finish_after_ns is not None and task.finish_after_ns > scenario.duration_ns:
        yield f"{key}.finish_after is beyond the end of the run, {end}: the task does not finish"
    if task.kernel_every_ns is not None and task.kernel_every_ns >= scenario.duration_ns:
        yield f"{key}.kernel_every is beyond the end of the run, {end}: there is no kernel section"
    needs = 0 if task.trace is None else TraceSource(task.trace).open().at_once
    if needs > vm.limit_pages:
        yield (
            f"{key}.trace has an instruction that touches {needs} pages, which must be mapped at"
            f" once, but the VM may keep {vm.limit_pages} (limit): the task never gets past it;"
            f' make limit at least "{format_pages(needs)}"'
        )


def _of_event(scenario: Scenario, event: ScheduledEvent, key: str) -> Iterator[str]:
    for field in _SPANS:
        span_ns = getattr(event.control, field, 0)
        if event.at_ns + span_ns > scenario.duration_ns:
            yield (
                f'{key}.{field.removesuffix("_ns")} = "{format_duration(span_ns)}" lasts beyond'
                f" the end of the run, {format_duration(scenario.duration_ns)}:"
                " what comes after it is not seen"
            )
