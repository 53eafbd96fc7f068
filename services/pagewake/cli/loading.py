"""Loads the scenario that a command names, with a bar for its traces and hints on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pagewake.cli.guard import complain
from pagewake.cli.progress import reading
from pagewake.scenario import loading
from pagewake.scenario.hints import hints
from pagewake.scenario.model import Scenario


def load(
    name_or_path: str,
    sets: Sequence[str] = (),
    seed: int | None = None,
    axes: Sequence[str] = (),
) -> Scenario:
    """As `scenario.loading.load`; on a terminal a long trace has a bar."""
    with reading() as on_read:
        return loading.load(name_or_path, sets, seed, axes, on_read)


def tell_hints(scenarios: Iterable[Scenario]) -> None:
    """What these scenarios hardly mean, on stderr, each hint once."""
    for hint in dict.fromkeys(hint for scenario in scenarios for hint in hints(scenario)):
        complain(f"hint: {hint}")
