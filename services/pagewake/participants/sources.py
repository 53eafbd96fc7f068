"""The source of a VM's pages, where that is not swap: from the scenario to what the host is told.

Defaults differ by what it is.  A migration pushes all that is left, on one stream.  A handler of
userfaultfd reads page by page, each of its threads one at a time, and pushes what it is told to.
A mapped file is read by the kernel on as many channels as its device has.

A recording of a working set says which pages are touched.  Its order here is that of how often
tasks will touch a page, so it stands for one of many earlier runs of the same load: for `zipf` and
hot sets as they are drawn, else all pages of a task are alike, in order of their addresses.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pagewake.host_memory.config import SourceConfig
from pagewake.host_memory.media import MEDIA, Later, Medium
from pagewake.participants.regions import Layout
from pagewake.participants.tasks import hot_set, zipf_table
from pagewake.scenario import model

MEDIUM_OF: Final = {"postcopy": "migration", "uffd": "nvme", "file": "nvme"}
_ALL: Final = 1 << 32


def source_media(scenario: model.Scenario) -> list[Medium]:
    """The media of all sources there are."""
    return [source_medium(vm) for vm in scenario.vms if vm.page_source != "swap"]


def source_medium(vm: model.Vm) -> Medium:
    """What the pages come from, with what user space takes for each."""
    source = vm.source
    medium = MEDIA[MEDIUM_OF[vm.page_source]] if source.medium is None else source.medium.device()
    if vm.page_source == "file":
        return medium
    if vm.page_source == "uffd":
        medium = dataclasses.replace(medium, parallelism=source.threads)
    return dataclasses.replace(medium, read=Later(medium.read, source.handling_ns))


def source_config(
    scenario: model.Scenario, vm: model.Vm, layout: Layout, absent: NDArray[np.int64]
) -> SourceConfig | None:
    """The source of one VM, of which these pages are not in memory at time 0."""
    if vm.page_source == "swap":
        return None
    source = vm.source
    order = source.order or ("follow" if vm.page_source == "postcopy" else "recorded")
    pushes = vm.page_source == "postcopy" if source.prefetch_pages is None else True
    most = len(absent) if source.prefetch_pages is None else source.prefetch_pages
    inside = np.sort(absent) if order != "recorded" else _recorded(vm, layout, absent)
    return SourceConfig(
        medium=source_medium(vm),
        copies=vm.page_source != "file",
        hop_ns=scenario.host.costs.worker_hop_ns,
        around_pages=source.read_ahead_pages,
        push=inside[: most if pushes else 0],
        follows=order == "follow",
    )


def _recorded(vm: model.Vm, layout: Layout, absent: NDArray[np.int64]) -> NDArray[np.int64]:
    """These pages, those that are touched most first."""
    share = np.zeros(vm.memory_pages, np.int64)
    for (index, _), at in layout.regions.items():
        if at.populated and at.pages:
            share[at.base : at.base + at.pages] += _shares(vm.tasks[index], at.pages)
    inside = np.sort(absent)
    return inside[np.argsort(-share[inside], kind="stable")]


def _shares(task: model.Task, pages: int) -> NDArray[np.int64]:
    """What part of a task's touches each page takes, of 2**32."""
    if task.pattern in ("random", "requests") and task.hot_set:
        hot = hot_set(task, pages)
        shares = np.full(pages, (_ALL - hot.touches_below) // pages, np.int64)
        warm = np.arange(hot.first, hot.first + hot.pages) % pages
        shares[warm] += hot.touches_below // hot.pages
        return shares
    if task.pattern in ("zipf", "requests"):
        return zipf_table(pages, task.theta).weights() // pages
    return np.full(pages, _ALL // pages, np.int64)
