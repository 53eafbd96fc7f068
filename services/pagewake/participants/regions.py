"""Where the memory of each task lies inside its VM."""

from __future__ import annotations

from typing import NamedTuple

from pagewake.scenario.model import Task, Vm


class TaskRegion(NamedTuple):
    """The region of one task instance (or of all, if shared); gfns of the VM (of L1)."""

    name: str
    base: int
    pages: int
    populated: bool
    resident_pages: int | None


class InnerRange(NamedTuple):
    """Memory of a nested guest: `pages` gfns of L1 from `base` on."""

    level: int
    base: int
    pages: int


class Layout(NamedTuple):
    """The regions of one kind of VM, by (task index in the file, instance)."""

    regions: dict[tuple[int, int], TaskRegion]
    inner: list[InnerRange]

    def populated(self) -> list[TaskRegion]:
        """Each populated region once, in file order."""
        distinct = dict.fromkeys(region for region in self.regions.values() if region.populated)
        return [region for region in distinct if region.pages]


def lay_out(vm: Vm) -> Layout:
    """Level by level: first the tasks of a level, then the guest that it runs."""
    regions: dict[tuple[int, int], TaskRegion] = {}
    inner: list[InnerRange] = []
    at = 0
    for level in range(1, vm.nested + 2):
        if level > 1:
            guest = vm.l2 if level == 2 else vm.l3
            assert guest is not None
            inner.append(InnerRange(level, at, guest.memory_pages))
        for index, task in enumerate(vm.tasks):
            if task.level == level:
                at = _place(regions, index, task, at, vm.page_source != "swap")
    return Layout(regions, inner)


def _place(
    regions: dict[tuple[int, int], TaskRegion], index: int, task: Task, at: int, elsewhere: bool
) -> int:
    """`elsewhere`: of what comes from a source, only what is said to be resident is."""
    pages = task.region_pages
    resident = 0 if elsewhere and task.resident_pages is None else task.resident_pages
    for instance in range(task.count):
        first = task.private or instance == 0
        base = at if first else regions[index, 0].base
        name = f"{task.name}-{instance}" if task.private else task.name
        regions[index, instance] = TaskRegion(name, base, pages, task.populated, resident)
        if first:
            at += pages
    return at
