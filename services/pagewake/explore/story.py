"""The story of a violation: as few choices as show it, as a scenario, and in words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pagewake.explore.expand import Walker
from pagewake.explore.machine import MUST, Choice, explore_of
from pagewake.explore.search import Found, Plan
from pagewake.explore.told import Told
from pagewake.scenario.model import Scenario


def breaking(plan: Plan, path: Sequence[Choice], property_: str) -> list[Choice] | None:
    """Make these choices, those that can be made; the ones made until the property breaks.

    What is still under way at their end happens in order of the machine's list.
    """
    walker = Walker(plan.scenario, plan.properties, reduce=False)
    machine = walker.machine
    made: list[Choice] = []
    wanted = list(path)
    while True:
        choices = machine.choices()
        while wanted and wanted[0] not in choices:
            wanted.pop(0)
        due = machine.due() if machine.vm.frozen_ns is None else []
        if wanted:
            choice = wanted.pop(0)
        elif due and len(made) < 2 * len(path) + len(due):
            choice = due[0]
        else:
            rest = [broken.property for broken in walker.at_rest()] if not due else []
            return made if property_ in rest else None
        found = walker.step(choice)
        made.append(choice)
        if found is not None and found.property == property_:
            return made
        if found is not None:
            return None


def minimised(plan: Plan, found: Found) -> Found:
    """Without the choices that need not be made: one after another is left out and tried.

    An invariant of the log is not seen by a step, and keeps its story.
    """
    path = breaking(plan, found.path, found.broken.property)
    if path is None:
        return found
    place = len(path) - 1
    while place >= 0:
        shorter = breaking(plan, [*path[:place], *path[place + 1 :]], found.broken.property)
        if shorter is not None and _cost(shorter) < _cost(path):
            path = shorter
            place = min(place, len(path))
        place -= 1
    return Found(found.broken, path)


def _cost(path: Sequence[Choice]) -> tuple[int, int]:
    """What comes by chance is worth more than what happens anyway."""
    return sum(choice.kind not in MUST for choice in path), len(path)


def as_scenario(scenario: Scenario, path: Sequence[Choice]) -> Scenario:
    """The scenario that tells it when it is run."""
    end_ns = Told(scenario, path).end_ns
    about = msgspec.structs.replace(scenario.about, duration_ns=end_ns)
    explore = msgspec.structs.replace(explore_of(scenario), choices=tuple(map(str, path)))
    return msgspec.structs.replace(scenario, about=about, explore=explore)
