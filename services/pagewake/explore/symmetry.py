"""Tasks that do the same in the same memory are one another's double: who is who does not matter.

Two states in which two such tasks have changed places have the same future.  Of all these states
one is kept: the tasks are given their places in an order that depends on what they are at alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.tasks import Task
from pagewake.scenario.model import Scenario

Group: TypeAlias = Sequence[Task]
PLACE: Final = ("state", "cpu", "pc", "left_ns", "cpl", "if_flag", "preempt_count", "vruntime")
"""What tasks of one kind differ by, beside where they stand."""


def alike(scenario: Scenario, kernel: GuestKernel) -> list[Group]:
    """The tasks of level 1 that are alike: scripts, as streams go their own ways.

    Not those that a timer wakes, which a story calls by name.
    """
    vm = scenario.vms[0]
    kinds = {
        task.name
        for task in vm.tasks
        if task.level == 1 and task.count > 1 and task.pattern == "script"
        and not task.private and not task.start_ns
        and all(step.op != "sleep" for step in task.script)
    }  # fmt: skip
    groups: dict[str, list[Task]] = {}
    for task in kernel.tasks:
        kind = task.name.rpartition("-")[0]
        if kind in kinds:
            groups.setdefault(kind, []).append(task)
    return list(groups.values())


def fold(kernel: GuestKernel, group: Group) -> None:
    """Give the tasks of a group their places anew, in order of what they are at."""
    found = [_signature(kernel, task) for task in group]
    order = sorted(range(len(group)), key=found.__getitem__)
    if all(found[a] == found[b] for a, b in zip(order, range(len(group)), strict=True)):
        return
    taken = {group[old]: group[new] for new, old in enumerate(order)}
    values = [[getattr(task, name) for name in PLACE] for task in group]
    for new, old in enumerate(order):
        for name, value in zip(PLACE, values[old], strict=True):
            setattr(group[new], name, value)
    for cpu in kernel.cpus:
        cpu.curr = _new(taken, cpu.curr)
        cpu.rq.curr = _new(taken, cpu.rq.curr)
        cpu.rq.waiting = [taken.get(task, task) for task in cpu.rq.waiting]
    names: dict[Any, str] = {old.name: new.name for old, new in taken.items()}
    sleepers = kernel.sleepers
    for entry in sleepers._entries.values():
        if entry.task is not None:
            entry.task = names.get(entry.task, entry.task)
    sleepers._lost = {names.get(name, name): token for name, token in sleepers._lost.items()}
    kernel.slept_at = {names.get(name, name): at for name, at in kernel.slept_at.items()}


def _new(taken: dict[Task, Task], task: Task | None) -> Task | None:
    return None if task is None else taken.get(task, task)


def _signature(kernel: GuestKernel, task: Task) -> tuple[object, ...]:
    at = tuple(getattr(task, name) for name in PLACE)
    stands: list[int] = []
    for cpu in kernel.cpus:
        waiting = cpu.rq.waiting
        stands += [cpu.curr is task, cpu.rq.curr is task]
        stands.append(waiting.index(task) if task in waiting else -1)
    slept = kernel.slept_at.get(task.name)
    return at, tuple(stands), -1 if slept is None else slept[1]
