"""What memory it takes to simulate a scenario, at the least; nothing is built to know it."""

from __future__ import annotations

from pagewake.participants.regions import lay_out
from pagewake.scenario.model import Scenario

POPULATED_PAGE_BYTES = 16
"""Measured: 17 to 19, for the page table, the replacement list and the way there."""
ZIPF_PAGE_BYTES = 40
"""Measured: 43, while the table of a zipf pattern is made; tasks alike share it."""


def memory_bytes(scenario: Scenario) -> int:
    """What a run takes of this machine's memory at the least, for the memory of its VMs."""
    populated = sum(
        vm.count * sum(region.pages for region in lay_out(vm).populated()) for vm in scenario.vms
    )
    zipf = {
        (task.region_pages, task.theta)
        for vm in scenario.vms
        for task in vm.tasks
        if task.pattern == "zipf"
    }
    return POPULATED_PAGE_BYTES * populated + ZIPF_PAGE_BYTES * sum(pages for pages, _ in zipf)
