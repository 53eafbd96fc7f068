"""The scenario as executed: every value spelled out, overrides and seed applied.

This is the `run.toml` of a log. It loads again to the same model, wherever it lies: traces are
named by absolute path, or `builtin:NAME`, and carry their SHA-256.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import msgspec

from pagewake.scenario.checks import KEYS_OF_PATTERNS
from pagewake.scenario.model import Scenario
from pagewake.scenario.reading import write_struct

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def effective_table(scenario: Scenario) -> dict[str, object]:
    """The whole file as a table of plain values."""
    table = write_struct(scenario)
    for vm in _tables(table["vm"]):
        for task in _tables(vm["task"]):
            _keep_applicable(task)
    return table


def _keep_applicable(task: dict[str, object]) -> None:
    for name, patterns in KEYS_OF_PATTERNS.items():
        if task["pattern"] not in patterns:
            task.pop(name, None)


def effective_toml(scenario: Scenario, version: str = "") -> str:
    """The text of the file; `version` is the pagewake that executed it."""
    about = msgspec.structs.replace(scenario.about, version=version or scenario.about.version)
    return toml_of(effective_table(msgspec.structs.replace(scenario, about=about)))


def toml_of(table: Mapping[str, object]) -> str:
    """A table as the text of a file."""
    return "\n".join(_sections(table, ())).lstrip("\n") + "\n"


def _tables(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _sections(table: Mapping[str, object], path: tuple[str, ...]) -> Iterator[str]:
    """Plain keys first, then the tables below: TOML wants it in that order."""
    for name, value in table.items():
        if not isinstance(value, dict) and not _is_tables(value) and value != "":
            yield f"{_key(name)} = {_value(value)}"
    for name, value in table.items():
        below = (*path, _key(name))
        if isinstance(value, dict):
            yield f"\n[{'.'.join(below)}]"
            yield from _sections(value, below)
        elif _is_tables(value):
            for item in _tables(value):
                yield f"\n[[{'.'.join(below)}]]"
                yield from _sections(item, below)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return repr(value)
