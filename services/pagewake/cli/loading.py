"""Loads the scenario that a command names, and shows how far its traces have been read."""

from __future__ import annotations

from collections.abc import Sequence

from pagewake.cli.progress import reading
from pagewake.scenario import loading
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
