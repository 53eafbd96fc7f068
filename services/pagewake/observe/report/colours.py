"""Which colour each kind of vcpu time has, in every picture of a page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

TASK_COLOURS = ("task-1", "task-2", "task-3", "task-4", "task-5", "task-6")
USES = {
    "blackout": "blackout",
    "halted": "halted",
    "idle": "idle",
    "l1": "nested",
    "exit": "overhead",
    "polling": "polling",
    "steal": "steal",
    "interrupt": "interrupt",
}


def use_colours(kinds: Sequence[str]) -> dict[str, str]:
    """Name of the colour of each kind of vcpu time."""
    tasks = cycle(TASK_COLOURS)
    return {kind: USES.get(kind) or next(tasks) for kind in kinds}
