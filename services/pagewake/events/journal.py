"""How much of its journal a run keeps.

The journal is for who reads a log: nothing of a run depends on it.  A shard that leaves events out
of it counts them by name, and says so at its end (`ShardEnded.consumed`).

    full     all of it
    faults   what the figures of a result are counted from (`IN_RESULT`)
    none     nothing but the end of each shard: digests, accounts, counts by name
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from pagewake.errors import ConfigError
from pagewake.events.types import (
    DummyConsumed,
    ExitRouted,
    GuestPanicked,
    Journal,
    RequestDone,
    TaskFinished,
    TaskKilled,
    TaskSlept,
    TaskWoken,
    VcpuHalted,
)

JournalMode: TypeAlias = Literal["none", "faults", "full"]
MODES: tuple[JournalMode, ...] = get_args(JournalMode)

IN_RESULT: frozenset[type[Journal]] = frozenset(
    {
        TaskSlept,
        DummyConsumed,
        TaskWoken,
        VcpuHalted,
        ExitRouted,
        TaskFinished,
        TaskKilled,
        RequestDone,
        GuestPanicked,
    }
)
"""Of these a result needs more than their number."""

KEPT: Mapping[JournalMode, frozenset[type[Journal]]] = {"none": frozenset(), "faults": IN_RESULT}
"""What stands in a journal that is not a full one."""


def check_mode(text: str) -> JournalMode:
    """ConfigError for what is none."""
    for mode in MODES:
        if text == mode:
            return mode
    raise ConfigError(f"--journal {text}: choose one of {', '.join(MODES)}")


def in_words(mode: JournalMode) -> str:
    """What a run of this mode keeps, for a sentence."""
    return {
        "full": "its whole journal",
        "faults": "the faults of its journal alone (--journal faults)",
        "none": "none of its journal (--journal none)",
    }[mode]
