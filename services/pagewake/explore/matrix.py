"""All switches, one by one, on a base: which opens an outcome and which closes one.

An outcome is a property that breaks in some order.  Both spaces have to be walked whole for the
word `closes` to mean anything, so what hit a bound is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import msgspec

from pagewake.explore.search import Explored, Plan, Search
from pagewake.kvm.profile import SWITCHES
from pagewake.kvm.switches import SwitchValue
from pagewake.scenario.model import Scenario


class Effect(msgspec.Struct, frozen=True):
    """What one value of a switch, at every level, does to the outcomes of the base."""

    switch: str
    value: SwitchValue
    states: int
    complete: bool
    opens: list[str]
    closes: list[str]


def effects(plan: Plan, base: Explored) -> Iterator[Effect]:
    """Of every value that the base does not have, a switch after the other."""
    had = base.found.keys()
    in_force = asdict(plan.scenario.kernel.switches(0))
    for name, switch in SWITCHES.items():
        for value in switch.values:
            if value == in_force[name]:
                continue
            changed = plan._replace(scenario=_switched(plan.scenario, name, value))
            explored = Search(changed).breadth_first()
            now = explored.found.keys()
            yield Effect(
                name,
                value,
                explored.states,
                explored.complete,
                sorted(now - had),
                sorted(had - now),
            )


def _switched(scenario: Scenario, name: str, value: SwitchValue) -> Scenario:
    """At every level; what single levels had of their own of this switch is gone."""
    overrides = scenario.kernel.overrides
    by_level = {
        level: {each: kept for each, kept in own.items() if each != name}
        for level, own in overrides.by_level.items()
    }
    everywhere = {**overrides.everywhere, name: value}
    changed = msgspec.structs.replace(overrides, everywhere=everywhere, by_level=by_level)
    kernel = msgspec.structs.replace(scenario.kernel, overrides=changed)
    return msgspec.structs.replace(scenario, kernel=kernel)
