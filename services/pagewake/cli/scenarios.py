"""`pagewake scenarios`: what there is to run, whose rules, and what an event can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import typer
from rich.table import Table

from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json
from pagewake.cli.screen import print_text
from pagewake.errors import ConfigError
from pagewake.kvm.profile import PROFILES, SWITCHES
from pagewake.scenario.interventions import describe_events
from pagewake.scenario.library import describe_builtins


def scenarios(
    profiles: Annotated[
        bool, typer.Option("--profiles", help="List the kernel profiles and their switches.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="List what an event of a scenario can do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the built-in scenarios, the kernel profiles, or the events of a scenario."""
    if profiles and events:
        raise ConfigError("--profiles and --events are two lists: ask for one at a time")
    if profiles:
        _print_profiles(as_json)
    elif as_json:
        print_json(describe_events() if events else describe_builtins())
    else:
        print_text(_table(describe_events() if events else describe_builtins()))


def _print_profiles(as_json: bool) -> None:
    if as_json:
        print_json(describe_profiles())
        return
    switches = [
        {
            "name": switch.name,
            "description": switch.description,
            "values": ", ".join(map(_plain, switch.values)),
            "stands for": switch.introduced,
        }
        for switch in SWITCHES.values()
    ]
    print_text("profiles, for kernel.profile (or kernel.l0, l1, l2):\n", _table(_changes()))
    print_text("\nswitches, for kernel.overrides:\n", _table(switches))


def describe_profiles() -> list[dict[str, object]]:
    """Every kernel profile with the value of each of its switches."""
    return [
        {"name": name, "description": profile.description, "switches": dict(profile.values)}
        for name, profile in PROFILES.items()
    ]


def _changes() -> Iterator[dict[str, object]]:
    """Every profile with what it changes of the one before it."""
    before: Mapping[str, object] = {}
    for name, profile in PROFILES.items():
        changed = [
            f"{switch} = {_plain(value)}"
            for switch, value in profile.values.items()
            if before and value != before[switch]
        ]
        yield {
            "name": name,
            "description": profile.description,
            "changes": ", ".join(changed),
        }
        before = profile.values


def _plain(value: object) -> str:
    """A value as a scenario would write it; masks in hexadecimal."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:#x}" if isinstance(value, int) else str(value)


def _table(listed: Iterable[Mapping[str, object]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for item in listed:
        table.add_row(str(item["name"]), str(item["description"]))
        for key, text in _details(item):
            table.add_row("", f"{key}: {text}")
    return table


def _details(item: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """Whatever else an entry says, tables one row per key."""
    for key, value in item.items():
        if key in ("name", "description") or value in ("", None):
            continue
        if isinstance(value, Mapping):
            yield from value.items()
        else:
            yield key, value
