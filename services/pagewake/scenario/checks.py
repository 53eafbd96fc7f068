"""What no single key can tell: whether the parts of a scenario fit together.

Each check raises `BadValueError` with the path of the key to change. They run on the typed model;
the raw document only says which keys were given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pagewake.errors import nearest
from pagewake.events import types as ev
from pagewake.guest_kernel.config import Spread
from pagewake.host_memory.places import AREAS_MAX
from pagewake.kvm.config import Cpuid
from pagewake.kvm.profile import has_userfaultfd
from pagewake.scenario import units
from pagewake.scenario.keys import BadValueError
from pagewake.scenario.locate import Path
from pagewake.scenario.model import PATTERNS, Expect, Scenario, Source, Task, Vm

_REGION = ("random", "sequential", "zipf")
_SERVED = ("requests",)
_SPREAD = (*_REGION, *_SERVED)
_MEMORY = (*_SPREAD, "script")

_SECTIONED = tuple(each for each in PATTERNS if each not in (*_SERVED, "script"))

KEYS_OF_PATTERNS: Mapping[str, tuple[str, ...]] = {
    "working_set": _MEMORY,
    "access": _SPREAD,
    "write_share": _SPREAD,
    "populated": (*_MEMORY, "trace"),
    "resident": (*_MEMORY, "trace"),
    "private": (*_MEMORY, "trace"),
    "touch": (*_REGION, "script"),
    "touches": _REGION,
    "stride": ("sequential",),
    "theta": ("zipf", *_SERVED),
    **dict.fromkeys(("hot_set", "hot_touches", "hot_start"), ("random", *_SERVED)),
    "phase": (*_REGION, *_SERVED),
    "trace": ("trace",),
    "trace_sha256": ("trace",),
    "repeat": ("trace",),
    "cpi": ("trace",),
    "script": ("script",),
    "kernel_every": _SECTIONED,
    "kernel_for": _SECTIONED,
    "no_preempt": _SECTIONED,
    **dict.fromkeys(
        (
            "service",
            "touches_per_request",
            "rate",
            "arrivals",
            "arrivals_file",
            "arrivals_sha256",
            "clients",
            "think",
            "requests",
        ),
        _SERVED,
    ),
    "finish_after": ("work",),
}
"""Keys that belong to some patterns only; the others belong to all."""

_REQUIRED = {
    "random": "working_set",
    "sequential": "working_set",
    "zipf": "working_set",
    "trace": "trace",
    "requests": "service",
    "script": "script",
}


def check_scenario(scenario: Scenario, document: Mapping[str, Any]) -> None:
    """Raises `BadValueError` for the first thing that does not fit."""
    _check_names([vm.name for vm in scenario.vms], ("vm",), "VM")
    _check_host(scenario)
    _check_l2(scenario)
    for index, vm in enumerate(scenario.vms):
        _check_vm(scenario, vm, ("vm", index), document["vm"][index]["task"])
    for index, event in enumerate(scenario.events):
        _check_event(scenario, event.control, ("event", index))
    for index, expect in enumerate(scenario.expects):
        _check_expect(scenario, expect, ("expect", index))


def _check_expect(scenario: Scenario, expect: Expect, path: Path) -> None:
    """Only requests have latencies; and something has to be expected of them."""
    tasks = {f"{vm.name}/{task.name}": task for vm in scenario.vms for task in vm.tasks}
    serving = [name for name, task in tasks.items() if task.pattern == "requests"]
    if expect.of in tasks and expect.of not in serving:
        text = f'a task of pattern "{tasks[expect.of].pattern}" answers no requests'
        raise BadValueError(text, (*path, "of"))
    if expect.of not in serving:
        hint = nearest(expect.of, serving) if serving else "none here has the pattern requests"
        raise BadValueError(
            f'there is no task "{expect.of}" that answers requests: {hint}', (*path, "of")
        )
    if expect.throughput is None and not any(expect.limits_ns().values()):
        text = 'nothing is expected; add for example p99 = "2ms" or throughput = "100/s"'
        raise BadValueError(text, (*path, "of"))


def _check_names(names: list[str], path: Path, what: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            index = len(names) - 1 - names[::-1].index(name)
            free = next(f"{name}{n}" for n in range(2, 9999) if f"{name}{n}" not in names)
            text = f'there is another {what} called "{name}"; a free name is "{free}"'
            raise BadValueError(text, (*path, index, "name"))


def _check_host(scenario: Scenario) -> None:
    vms = sum(vm.count for vm in scenario.vms)
    if scenario.host.count > vms:
        text = f"{scenario.host.count} hosts for {vms} VMs leaves some empty; at most {vms}"
        raise BadValueError(text, ("host", "count"))
    _check_swap(scenario)
    if scenario.host.cpus and len({bool(vm.nested) for vm in scenario.vms}) > 1:
        text = (
            "VMs that share CPUs are simulated by one shard, and those with guests of their own by "
            "another kind than those without; leave host.cpus out, or VMs of one kind"
        )
        raise BadValueError(text, ("host", "cpus"))
    scheduler = scenario.kernel.scheduler
    if scheduler.min_granularity_ns > scheduler.latency_ns:
        most = units.format_duration(scheduler.latency_ns)
        text = f'longer than scheduler.latency; at most "{most}"'
        raise BadValueError(text, ("kernel", "scheduler", "min_granularity"))


def _check_swap(scenario: Scenario) -> None:
    """What is not modelled where pages lie in more than one place."""
    host = scenario.host
    if not (host.swap or host.zswap):
        return
    key = "swap" if host.swap else "zswap"
    if len(host.swap) > AREAS_MAX:
        text = f"{len(host.swap)} swap areas; at most {AREAS_MAX} beside host.medium"
        raise BadValueError(text, ("host", "swap"))
    if host.window_order is not None:
        text = (
            f'pages are not read ahead where there is host.{key}: "off", or leave out one of them'
        )
        raise BadValueError(text, ("host", "page_cluster"))
    if host.workers:
        text = f"workers are those of one device: leave them out, or host.{key}"
        raise BadValueError(text, ("host", "workers"))
    for index, vm in enumerate(scenario.vms):
        if vm.userfault is not None:
            text = f"what user space brings is not in swap: leave out host.{key}, or this"
            raise BadValueError(text, ("vm", index, "userfault"))
        if vm.page_source != "swap":
            text = f"its pages do not come from swap alone: leave out host.{key}, or this"
            raise BadValueError(text, ("vm", index, "page_source"))


def check_medium_change(scenario: Scenario, event: ev.MediumChanged, path: Path) -> None:
    """The host must exist, and have one swap area."""
    if event.host >= scenario.host.count:
        text = f"there is no host {event.host}; the last one is {scenario.host.count - 1}"
        raise BadValueError(text, (*path, "host") if path else ())
    if scenario.host.swap or scenario.host.zswap:
        text = "the medium of a host with host.swap or host.zswap does not change"
        raise BadValueError(text, (*path, "medium"))


def _check_l2(scenario: Scenario) -> None:
    """Rules of L2's kernel are asked only where it enables APF."""
    kernel = scenario.kernel
    if kernel.cpuid.l2 != Cpuid().l2 and kernel.l2 is None:
        text = 'L2 asks for no feature without kernel.l2; add for example l2 = "5.10"'
        raise BadValueError(text, ("kernel", "cpuid", "l2"))
    if kernel.overrides.by_level.get("l2") and kernel.l2 is None:
        text = 'no rule of L2 is asked without kernel.l2; add for example l2 = "5.8"'
        raise BadValueError(text, ("kernel", "overrides", "l2"))


def _check_vm(scenario: Scenario, vm: Vm, path: Path, raw_tasks: list[dict[str, Any]]) -> None:
    _check_names([task.name for task in vm.tasks], (*path, "task"), "task")
    _check_nesting(vm, path)
    _check_areas(scenario, vm, path)
    _check_protection(scenario, vm, path)
    _check_userfault(scenario, vm, path)
    _check_emulator(scenario, vm, path)
    _check_source(scenario, vm, path)
    for index, task in enumerate(vm.tasks):
        where = (*path, "task", index)
        _check_keys(task, where, raw_tasks[index])
        _check_task(scenario, vm, task, where)
    for level in range(1, vm.nested + 2):
        _check_memory(vm, level, path)


def _check_nesting(vm: Vm, path: Path) -> None:
    if vm.protected and vm.nested:
        text = "a guest whose registers are hidden cannot be a hypervisor; nested = 0 is the most"
        raise BadValueError(text, (*path, "protected"))
    for key, guest, needed in (("l2", vm.l2, 1), ("l3", vm.l3, 2)):
        if vm.nested >= needed and guest is None:
            text = f"nested = {vm.nested} needs a [vm.{key}] table with vcpus and memory"
            raise BadValueError(text, (*path, key))
        if vm.nested < needed and guest is not None:
            text = f"there is no {key.upper()} guest with nested = {vm.nested}; it takes {needed}"
            raise BadValueError(text, (*path, key))


def _check_areas(scenario: Scenario, vm: Vm, path: Path) -> None:
    """The kernel has the shared area of each CPU on a page of its own, behind page 0."""
    needs = vm.vcpus + 1
    if scenario.kernel.apf == "pv" and vm.memory_pages < needs:
        text = (
            f"{vm.vcpus} vcpus have their shared areas on a page each, behind page 0; "
            f'at least "{units.format_pages(needs)}"'
        )
        raise BadValueError(text, (*path, "memory"))


def _check_protection(scenario: Scenario, vm: Vm, path: Path) -> None:
    """`min` and `low` protect from reclaim of the host alone."""
    most = units.format_pages(vm.limit_pages)
    for key, pages in (("min", vm.min_pages), ("low", vm.low_pages)):
        if pages > vm.limit_pages:
            raise BadValueError(f'more than the VM may keep; at most "{most}"', (*path, key))
        if pages and scenario.host.memory_pages is None:
            text = "protects from what host.memory takes back; give host.memory, or leave it out"
            raise BadValueError(text, (*path, key))


def _check_emulator(scenario: Scenario, vm: Vm, path: Path) -> None:
    """What it takes is missing to somebody only where CPUs are counted."""
    if vm.emulator is None:
        return
    if not scenario.host.cpus:
        text = "it has a CPU of its own where host.cpus is 0: set host.cpus, or leave this out"
        raise BadValueError(text, (*path, "emulator"))
    if vm.emulator.for_ns >= vm.emulator.every_ns:
        every = units.format_duration(vm.emulator.every_ns)
        text = f'no shorter than its period; less than "{every}"'
        raise BadValueError(text, (*path, "emulator", "for"))


def _check_userfault(scenario: Scenario, vm: Vm, path: Path) -> None:
    """What user space brings takes time elsewhere, in which it does something else."""
    if vm.userfault is not None and scenario.host.medium.device().synchronous:
        text = "pages come from a medium that is not synchronous; give host.medium another one"
        raise BadValueError(text, (*path, "userfault"))


def _check_source(scenario: Scenario, vm: Vm, path: Path) -> None:
    """What a source has belongs to it, and there is something to be had of it."""
    source = vm.source
    if vm.page_source == "swap":
        if source != Source():
            text = 'pages come from swap; say page_source = "postcopy", "uffd" or "file"'
            raise BadValueError(text, (*path, "source"))
        return
    if vm.userfault is not None:
        text = "vm.userfault has a task in user space bring pages already; leave one of them out"
        raise BadValueError(text, (*path, "page_source"))
    if not any(task.populated for task in vm.tasks):
        text = "nothing is at the source: no task has populated = true"
        raise BadValueError(text, (*path, "page_source"))
    if vm.page_source != "file" and not has_userfaultfd(scenario.kernel.profile_of(0)):
        text = (
            f'the host of profile "{scenario.kernel.profile_of(0)}" has no userfaultfd, which came '
            f'with 4.3; at least "4.4", or page_source = "file"'
        )
        raise BadValueError(text, (*path, "page_source"))
    _check_source_keys(vm, source, (*path, "source"))


def _check_source_keys(vm: Vm, source: Source, path: Path) -> None:
    if source.medium is not None and source.medium.device().synchronous:
        text = "pages come from a medium that is not synchronous; give another one"
        raise BadValueError(text, (*path, "medium"))
    default = Source()
    for name, value, usual, of in (
        ("threads", source.threads, default.threads, ("uffd",)),
        ("handling", source.handling_ns, default.handling_ns, ("postcopy", "uffd")),
        ("read_ahead", source.read_ahead_pages, default.read_ahead_pages, ("file",)),
    ):
        if value != usual and vm.page_source not in of:
            text = f'page_source = "{vm.page_source}" has none; it belongs to {" and ".join(of)}'
            raise BadValueError(text, (*path, name))


def _check_keys(task: Task, path: Path, raw: Mapping[str, Any]) -> None:
    for name in raw:
        patterns = KEYS_OF_PATTERNS.get(name, PATTERNS)
        if task.pattern not in patterns:
            text = (
                f'a task of pattern "{task.pattern}" has no "{name}"; '
                f"it belongs to {', '.join(patterns)}"
            )
            raise BadValueError(text, (*path, name))
    required = _REQUIRED.get(task.pattern)
    if required is not None and required not in raw:
        text = f'the required key "{required}" is missing: pattern "{task.pattern}" needs it'
        raise BadValueError(text, (*path, required))


def _task_problems(scenario: Scenario, vm: Vm, task: Task) -> Iterator[tuple[bool, str, str]]:
    given = task.working_set_pages is not None
    pages = task.region_pages * task.regions
    vcpus = vm.vcpus_at(task.level)
    span = units.format_duration(scenario.duration_ns)
    yield (
        task.level > vm.nested + 1,
        "level",
        f"no L{task.level} guest with nested = {vm.nested}; at most level {vm.nested + 1}",
    )
    yield (
        task.vcpu is not None and task.vcpu >= vcpus,
        "vcpu",
        f"there is no vcpu {task.vcpu}; the last one is {vcpus - 1}",
    )
    yield task.start_ns >= scenario.duration_ns, "start", f'after the end of the run, at "{span}"'
    yield from _inner_problems(task)
    yield from _request_problems(task)
    yield from _phase_problems(task)
    kernel = (task.kernel_every_ns is None) != (task.kernel_for_ns is None)
    lone = "kernel_for" if task.kernel_every_ns is None else "kernel_every"
    yield kernel, lone, "kernel_every and kernel_for go together"
    yield (
        task.no_preempt and task.kernel_every_ns is None,
        "no_preempt",
        "there are no kernel sections without kernel_every and kernel_for",
    )
    yield (
        task.resident_pages is not None and not task.populated,
        "resident",
        "only populated memory can be resident at the start; set populated = true",
    )
    yield (
        (task.resident_pages or 0) > pages,
        "resident",
        f'more than the task\'s memory; at most "{units.format_pages(pages)}"',
    )
    for index, step in enumerate(task.script):
        if given and step.op == "touch" and step.page >= task.region_pages:
            last = task.region_pages - 1
            yield True, f"script.{index}", f"page {step.page} is outside; the last one is {last}"


def _phase_problems(task: Task) -> Iterator[tuple[bool, str, str]]:
    """A phase has the keys of its own pattern, and memory of the task."""
    for index, phase in enumerate(task.phases):
        pattern = phase.pattern or task.pattern
        if (phase.working_set_pages or 0) > task.region_pages:
            most = units.format_pages(task.region_pages)
            yield True, f"phase.{index}", f'working_set: more than the task has; at most "{most}"'
        for name in ("theta", "hot_set", "hot_touches", "hot_start"):
            if getattr(phase, name) is not None and pattern not in KEYS_OF_PATTERNS[name]:
                text = f'{name}: a phase of pattern "{pattern}" has none'
                yield True, f"phase.{index}", text


def _request_problems(task: Task) -> Iterator[tuple[bool, str, str]]:
    """One source of requests, and memory for what they touch."""
    if task.pattern != "requests":
        return
    sources = {"rate": task.rate, "clients": task.clients, "arrivals_file": task.arrivals_file}
    given = [name for name, value in sources.items() if value is not None]
    yield not given, "rate", "requests come by a rate, of clients or from a file: say which"
    yield len(given) > 1, given[-1], f'"{given[0]}" says already when requests come: leave one out'
    yield (
        task.clients is None and task.think != Spread(0),
        "think",
        'only clients think: it goes with "clients"',
    )
    yield (
        task.touches_per_request > 0 and task.working_set_pages is None,
        "working_set",
        "requests that touch need a working set",
    )


def _inner_problems(task: Task) -> Iterator[tuple[bool, str, str]]:
    """Tasks of nested guests run from time 0 on, in user mode, off an access stream."""
    inner = task.level > 1
    only = f"only a task of level 1 has it, this one has level {task.level}"
    yield inner and task.pattern == "script", "pattern", f"a script is exact about time: {only}"
    yield inner and task.pattern == "requests", "pattern", f"requests come from outside: {only}"
    yield inner and task.start_ns > 0, "start", only
    yield inner and task.kernel_every_ns is not None, "kernel_every", only


def _check_task(scenario: Scenario, vm: Vm, task: Task, path: Path) -> None:
    for wrong, key, text in _task_problems(scenario, vm, task):
        if wrong:
            name, _, index = key.partition(".")
            raise BadValueError(text, (*path, name, int(index)) if index else (*path, name))


def _inner_pages(vm: Vm, level: int) -> int:
    inner = {1: vm.l2, 2: vm.l3}.get(level)
    return inner.memory_pages if inner is not None else 0


def _check_memory(vm: Vm, level: int, path: Path) -> None:
    """The tasks of a guest and the guest inside it share its memory."""
    outer = {1: vm.memory_pages, 2: _inner_pages(vm, 1), 3: _inner_pages(vm, 2)}[level]
    whose = f'VM "{vm.name}"' if level == 1 else f'L{level} guest of "{vm.name}"'
    used = _inner_pages(vm, level)
    has = f'the {whose} has "{units.format_pages(outer)}"'
    if used > outer:
        text = f'"{units.format_pages(used)}" does not fit: {has}'
        raise BadValueError(text, (*path, f"l{level + 1}", "memory"))
    for index, task in enumerate(vm.tasks):
        needs = task.region_pages * task.regions
        if task.level != level:
            continue
        used += needs
        if used > outer:
            key = "trace" if task.pattern == "trace" else "working_set"
            key = key if task.working_set_pages or task.pattern != "script" else "script"
            raise BadValueError(_too_much(task, needs, used, has), (*path, "task", index, key))


def _too_much(task: Task, needs: int, used: int, has: str) -> str:
    size, total = units.format_pages(needs), units.format_pages(used)
    if task.pattern == "trace":
        return (
            f'the trace "{task.trace}" touches {task.trace_pages} pages ("{size}"), with what '
            f'comes before "{total}", but {has}'
        )
    return f'the tasks up to "{task.name}" need "{total}" ("{size}" of it here), but {has}'


def _check_event(scenario: Scenario, event: ev.Control, path: Path) -> None:
    if event.at_ns >= scenario.duration_ns:
        at, end = (units.format_duration(ns) for ns in (event.at_ns, scenario.duration_ns))
        text = f'"{at}" is not before the end of the run, which is at "{end}"'
        raise BadValueError(text, (*path, "at"))
    if isinstance(event, ev.MediumChanged):
        check_medium_change(scenario, event, path)
        return
    check_target(scenario, event, path)


def _vms_like(name: str, scenario: Scenario) -> str:
    """A hint for a VM that is not there; a table's own name stands for several."""
    ends = {vm.name: sorted({f"{vm.name}-0", f"{vm.name}-{vm.count - 1}"}) for vm in scenario.vms}
    if name in ends:
        return f"write {' .. '.join(ends[name])}"
    return nearest(name, [end for both in ends.values() for end in both])


def check_target(scenario: Scenario, event: ev.Control, path: Path) -> None:
    """The VM and the vcpu that a control event names must exist."""
    stem, _, number = event.vm.rpartition("-")
    vm = next((vm for vm in scenario.vms if vm.name == stem), None)
    plain = number.isdecimal() and str(int(number)) == number
    if vm is None or not plain or int(number) >= vm.count:
        raise BadValueError(
            f'there is no VM "{event.vm}": {_vms_like(event.vm, scenario)}', (*path, "vm")
        )
    if isinstance(event, ev.HandlerCrashed) and vm.userfault is None:
        text = f'nobody in user space brings the pages of "{event.vm}"; give it vm.userfault'
        raise BadValueError(text, (*path, "vm"))
    if isinstance(event, ev.KernelReplaced) and vm.nested:
        raise BadValueError(f'"{event.vm}" has guests, which end with its kernel', (*path, "vm"))
    vcpu = getattr(event, "vcpu", 0)
    if vcpu >= vm.vcpus:
        text = f'"{event.vm}" has no vcpu {vcpu}; the last one is {vm.vcpus - 1}'
        raise BadValueError(text, (*path, "vcpu"))
