"""Swap areas of a scenario's hosts, and where the pages of each VM lie in them at time 0."""

from __future__ import annotations

from collections.abc import Mapping

from pagewake.host_memory.places import Swap, filled, shares
from pagewake.participants.at_start import Start, memory_pages
from pagewake.participants.regions import lay_out
from pagewake.scenario.model import Scenario


def load_ns(swap: Swap | None) -> tuple[int, ...]:
    """CPU time of a page-in from each area by number, zswap last; 0: it is asynchronous."""
    if swap is None:
        return ()
    zswap = () if swap.zswap is None else (swap.zswap.decompress_ns,)
    return (0, *(area.medium.cost_ns for area in swap.areas), *zswap)


def zswap_number(swap: Swap | None) -> int:
    """Its number as an area; 0: there is none."""
    return 0 if swap is None or swap.zswap is None else len(swap.areas) + 1


def area_names(scenario: Scenario) -> tuple[str, ...]:
    """The areas by number from 1 on, as results name them: the medium, and which of those."""
    swap = scenario.host.areas
    if swap is None:
        return ()
    names: list[str] = []
    for area in swap.areas:
        again = sum(name.partition("#")[0] == area.medium.name for name in names)
        names.append(f"{area.medium.name}#{again + 1}" if again else area.medium.name)
    return tuple(names) if swap.zswap is None else (*names, "zswap")


def shares_of(
    scenario: Scenario, swap: Swap, index: int, started: Mapping[str, Start]
) -> dict[str, list[int]]:
    """By VM of one host: how many of its pages lie in each area at time 0, and in zswap."""
    outside = {
        instance.name: sum(region.pages for region in lay_out(instance.spec).populated())
        - started[instance.spec.name].room_pages
        for instance in scenario.instances()
        if instance.host == index
    }
    pages = sum(outside.values())
    stored = swap.in_zswap(pages, memory_pages(scenario, index))
    return shares(outside, [*filled(swap.areas, pages), stored])
