"""What goes on for ever: an order in which nothing ends it, up to where it begins anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pagewake.explore.expand import Walker
from pagewake.explore.machine import Choice
from pagewake.explore.properties import Broken, broken_at_rest
from pagewake.scenario.model import Scenario

NAME: Final = "restless"
ENDLESS: Final = "for ever, and nothing ends it but chance"
WHY: Final = ("slot", "asleep")
"""What a machine at rest must not have, and what keeps this one from its rest."""


def for_ever(scenario: Scenario, path: Sequence[Choice]) -> tuple[Broken, list[Choice]]:
    """From the state to which `path` leads no rest is reached: who goes on, and one round of it."""
    walker = Walker(scenario, reduce=False)
    for choice in path:
        walker.step(choice)
    machine = walker.machine
    made = list(path)
    seen: dict[bytes, int] = {}
    while (copy := walker.copy()) not in seen:
        seen[copy] = len(made)
        due = machine.due()
        choice = due[len(made) % len(due)]  # in turn, so that nobody waits for ever
        walker.step(choice)
        made.append(choice)
    going = sorted(
        {str(choice) for choice in made[seen[copy] :] if choice.kind in ("vcpu", "task")}
    )
    why = [broken.what for broken in broken_at_rest(machine) if broken.property in WHY]
    what = f"{' and '.join(going) or 'it'} goes on {ENDLESS}"
    return Broken(NAME, ": ".join([what, *why[-1:]])), made
