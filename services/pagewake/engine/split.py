"""How runs are spread over processes: whole runs first, then the simulated hosts of each.

Simulated hosts do not interact, so a process may have any of them.  Which has which depends on the
scenario and on the number of processes, never on how fast anything is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from pagewake.participants.at_start import media_of
from pagewake.scenario.model import Scenario

PAGE_INS_MIN = 10_000
"""About a second of work; a process takes a quarter of a second to start."""
MIDDLE = 1 << 63 | 1 << 31
"""Bits of which a medium makes an access time that is neither short nor long."""


def cores() -> int:
    """How many processes this machine runs side by side for us."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_worthwhile(scenarios: Sequence[Scenario]) -> bool:
    """Whether these runs are long enough for more than one process.

    They are if all their vcpus, faulting one page after the other, would have `PAGE_INS_MIN` of
    them: few on a disk, many on NVMe, as a run takes long for its page-ins and not for its time.
    """
    return sum(map(_page_ins_at_most, scenarios)) >= PAGE_INS_MIN


def _page_ins_at_most(scenario: Scenario) -> int:
    fastest_ns = min(
        medium.read.sample_ns(MIDDLE) + medium.transfer_ns_per_page for medium in media_of(scenario)
    )
    return sum(_vcpus_of_hosts(scenario)) * scenario.duration_ns // fastest_ns


def deal(scenario: Scenario, processes: int) -> list[list[int]]:
    """The hosts that each process has; at most `processes`, each with about as many vcpus."""
    vcpus = _vcpus_of_hosts(scenario)
    hands: list[list[int]] = [[] for _ in range(min(processes, len(vcpus)))]
    loads = [0] * len(hands)
    for host in sorted(range(len(vcpus)), key=lambda host: (-vcpus[host], host)):
        lightest = loads.index(min(loads))
        hands[lightest].append(host)
        loads[lightest] += vcpus[host]
    return [sorted(hand) for hand in hands]


def deal_runs(scenarios: Sequence[Scenario], processes: int, at_once: int) -> list[list[list[int]]]:
    """The same for every run, of which `at_once` are under way: cores left over split hosts."""
    each, rest = divmod(processes, max(1, min(len(scenarios), at_once)))
    return [
        deal(scenario, max(1, each + (number < rest))) for number, scenario in enumerate(scenarios)
    ]


def _vcpus_of_hosts(scenario: Scenario) -> list[int]:
    vcpus = [0] * scenario.host.count
    for instance in scenario.instances():
        vcpus[instance.host] += instance.spec.vcpus_in_all
    return vcpus
