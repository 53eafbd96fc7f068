"""The command that gives a run again: a built-in scenario and what was changed, or its own file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from pagewake.errors import PagewakeError
from pagewake.scenario.library import builtin_names
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_table, effective_toml

FILE = "scenario.toml"
MAX_SETS = 8
"""A longer command is worse to read and to copy than the scenario file."""


def command_of(scenario: Scenario) -> str:
    """`pagewake run ...`; of `FILE` when no built-in scenario gives the same, proven by loading."""
    if scenario.name in builtin_names():
        sets = _changes(scenario)
        words = [word for change in sets for word in ("--set", change)]
        try:
            again = load(scenario.name, sets, scenario.seed)
        except PagewakeError:
            again = None
        if again is not None and _same(again, scenario) and len(sets) <= MAX_SETS:
            return shlex.join(
                ["pagewake", "run", scenario.name, "--seed", str(scenario.seed), *words]
            )
    return f"pagewake run {FILE}"


def _same(one: Scenario, other: Scenario) -> bool:
    return effective_toml(one, "-") == effective_toml(other, "-")


def _changes(scenario: Scenario) -> list[str]:
    """Assignments that turn the built-in scenario of this name and seed into this one."""
    original = dict(_leaves(effective_table(load(scenario.name, (), scenario.seed)), ""))
    return [
        f"{key}={_plain(value)}"
        for key, value in _leaves(effective_table(scenario), "")
        if original.get(key) != value and key != "scenario.version"
    ]


def _leaves(value: object, key: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        pairs = [(str(name), item) for name, item in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        pairs = [(str(index), item) for index, item in enumerate(value)]
    else:
        yield key, value
        return
    for name, item in pairs:
        yield from _leaves(item, f"{key}.{name}" if key else name)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
