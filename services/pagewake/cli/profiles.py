"""`pagewake profiles`: the kernels whose rules there are, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from pagewake.cli.listing import listing
from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json
from pagewake.cli.screen import print_text
from pagewake.errors import ConfigError
from pagewake.kvm.profile import PROFILES, SWITCHES, Profile, resolve
from pagewake.kvm.switches import SwitchValue


def profiles(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="None, for all of them, or the two to compare.", metavar="[A B]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the kernel profiles and their switches; of two, say what differs, with the commits."""
    if not names:
        print_profiles(as_json)
        return
    if len(names) != 2:
        raise ConfigError(f"two profiles are compared, not {len(names)}: pagewake profiles A B")
    for name in names:
        resolve(name, {})
    before, after = (PROFILES[name] for name in names)
    differing = list(_between(before, after))
    if as_json:
        print_json(differing)
        return
    print_text(f"{before.name}: {before.description}\n{after.name}: {after.description}\n\n")
    print_text(listing(differing) if differing else "no switch differs\n")


def _between(before: Profile, after: Profile) -> Iterator[dict[str, object]]:
    """The switches in which two profiles differ, with what each stands for."""
    for name, switch in SWITCHES.items():
        values = before.values[name], after.values[name]
        if values[0] != values[1]:
            yield {
                "name": name,
                "description": switch.description,
                before.name: plain(values[0]),
                after.name: plain(values[1]),
                "stands for": switch.introduced,
            }


def print_profiles(as_json: bool) -> None:
    """All profiles, each with what it changes of the one before it, and all switches."""
    if as_json:
        print_json(describe_profiles())
        return
    switches = [
        {
            "name": switch.name,
            "description": switch.description,
            "values": ", ".join(map(plain, switch.values)),
            "stands for": switch.introduced,
        }
        for switch in SWITCHES.values()
    ]
    print_text("profiles, for kernel.profile (or kernel.l0, l1, l2):\n", listing(_changes()))
    print_text("\nswitches, for kernel.overrides:\n", listing(switches))


def describe_profiles() -> list[dict[str, object]]:
    """Every kernel profile with the value of each of its switches."""
    return [
        {
            "name": name,
            "description": profile.description,
            "alias_of": profile.alias_of or None,
            "switches": dict(profile.values),
        }
        for name, profile in PROFILES.items()
    ]


def _changes() -> Iterator[dict[str, object]]:
    """Every profile with what it changes of the one before it, or of the one it stands for."""
    before: Mapping[str, SwitchValue] = {}
    for name, profile in PROFILES.items():
        base = PROFILES[profile.alias_of].values if profile.alias_of else before
        changed = [
            f"{switch} = {plain(value)}"
            for switch, value in profile.values.items()
            if base and value != base[switch]
        ]
        yield {
            "name": name,
            "description": profile.description,
            "alias of": profile.alias_of,
            "changes": ", ".join(changed),
        }
        before = profile.values


def plain(value: SwitchValue) -> str:
    """A value as a scenario would write it; masks in hexadecimal."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:#x}" if isinstance(value, int) else str(value)
