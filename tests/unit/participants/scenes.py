"""Scenarios of a few lines, to be laid out and built but not run."""

from __future__ import annotations

from pagewake.participants.build import VmPlan, plan_vms
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario

NESTED = 'nested = 2\nl2 = { vcpus = 2, memory = "64KiB" }\nl3 = { memory = "16KiB" }'
"""16 pages of L2 behind the tasks of L1, and 4 pages of L3 behind those of L2."""


def scene(
    *parts: str,
    host: str = "",
    vm: str = "",
    kernel: str = "",
    medium: str = '"nvme"',
    limit: str = "1MiB",
) -> Scenario:
    """One table of VMs named `vm`, of 16 MiB, with these tasks."""
    return loads(
        "\n".join(
            [
                '[scenario]\nname = "scene"\nduration = "10ms"\nseed = 7',
                f"[kernel]\n{kernel}",
                f"[host]\nmedium = {medium}\n{host}",
                f'[[vm]]\nname = "vm"\nvcpus = 2\nmemory = "16MiB"\nlimit = "{limit}"',
                vm,
                *parts,
            ]
        )
    )


def task(name: str, *lines: str, pattern: str = "random") -> str:
    """A `[[vm.task]]`; a task of memory has 8 pages unless it says otherwise."""
    own = any(line.startswith("working_set") for line in lines) or pattern != "random"
    region = [] if own else ['working_set = "32KiB"']
    return "\n".join(["[[vm.task]]", f'name = "{name}"', f'pattern = "{pattern}"', *region, *lines])


def plans(scenario: Scenario) -> list[VmPlan]:
    """What is decided of each VM."""
    return plan_vms(scenario, scenario.instances())
