"""What memory it takes to simulate a scenario, at the least; nothing is built to know it.

Measured on CPython 3.11, x86-64, and rounded down (`python -m tests.bench.bench_footprint` compares
the two).  What grows while a run is under way comes on top: pages touched for the first time,
events, a log.
"""

from __future__ import annotations

from pagewake.participants.regions import lay_out
from pagewake.scenario.model import Scenario, Vm

VM_BYTES = 7 << 10
VCPU_BYTES = 3 << 10
PAGE_BYTES = 1
"""Of each page that a VM has: where the host's list of pages has it."""
POPULATED_PAGE_BYTES = 5
"""Of each page written before time 0, on top: the page table, the replacement list."""
START_PAGE_BYTES = 11
"""Of each such page of one VM, the largest: the way there, which a host's VMs go one by one."""
ZIPF_PAGE_BYTES = 40
"""Measured: 43, while the table of a skew is made; tasks alike share it."""


def memory_bytes(scenario: Scenario) -> int:
    """What a run takes of this machine's memory at the least, for its VMs."""
    zipf = {
        (task.region_pages, task.theta)
        for vm in scenario.vms
        for task in vm.tasks
        if task.pattern in ("zipf", "requests") and not (task.hot_set or task.phases)
    }
    tables = ZIPF_PAGE_BYTES * sum(pages for pages, _ in zipf)
    start = START_PAGE_BYTES * max(map(_populated_pages, scenario.vms), default=0)
    return tables + start + sum(vm.count * _vm_bytes(vm) for vm in scenario.vms)


def _vm_bytes(vm: Vm) -> int:
    pages = vm.memory_pages * PAGE_BYTES + _populated_pages(vm) * POPULATED_PAGE_BYTES
    return VM_BYTES + vm.vcpus_in_all * VCPU_BYTES + pages


def _populated_pages(vm: Vm) -> int:
    return sum(region.pages for region in lay_out(vm).populated())
