"""A timed scenario as a file to keep: what it shows, the story, and only what is not a default."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pagewake.errors import ConfigError
from pagewake.explore.properties import Broken
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_table, toml_of

ALWAYS: Final = ("name", "profile")
"""Said even where it is the default: what a reader asks first."""


def saved_toml(explored: Scenario, shown: Scenario, broken: Broken, story: Sequence[str]) -> str:
    """The text of the file; `explored` is what it was found in."""
    name = re.sub("[^a-z0-9]+", "-", f"{explored.name}-{broken.property}".lower()).strip("-")
    about = msgspec.structs.replace(
        shown.about, name=name, description=broken.what, shows="", expects="", version=""
    )
    comment = [
        f"{broken.property}: {broken.what}",
        "",
        f"Found by exploring {explored.name} by the rules of {explored.kernel.profile}.",
        "Here the same happens by the clock.  The order in which it was found:",
        "",
        *(f"  {line}" for line in story),
    ]
    lines = "\n".join(f"# {line}".rstrip() for line in comment)
    return f"{lines}\n\n{_brief(msgspec.structs.replace(shown, about=about))}"


def _brief(scenario: Scenario) -> str:
    """Without what a scenario has that does not say it."""
    table = effective_table(scenario)
    _leave_out(table, table, loads(toml_of(table)))
    return toml_of(table)


def _leave_out(whole: dict[str, Any], part: dict[str, Any], scenario: Scenario) -> None:
    for name in tuple(part):
        if name in ALWAYS:
            continue
        kept = dict(part)
        del part[name]
        if _is(whole, scenario):
            continue
        part.clear()
        part.update(kept)  # in their order
        below = part[name] if isinstance(part[name], list) else [part[name]]
        for each in below:
            if isinstance(each, dict):
                _leave_out(whole, each, scenario)


def _is(table: dict[str, Any], scenario: Scenario) -> bool:
    try:
        return loads(toml_of(table)) == scenario
    except ConfigError:
        return False
