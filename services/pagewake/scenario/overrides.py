"""`kernel.overrides`: single rule switches on top of the profiles, of every level or of one.

[kernel.overrides]
preempt = true            # at every level
l1 = { nested_fix = true }  # only in the guest's kernel
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pagewake.errors import nearest
from pagewake.kvm import profile
from pagewake.scenario.keys import BadValueError, show
from pagewake.scenario.presets import switch_names
from pagewake.scenario.reading import expect_table

LEVELS = ("l0", "l1", "l2")


class Overrides(msgspec.Struct, frozen=True):
    """Switches by name, and those of single levels by level."""

    everywhere: dict[str, profile.SwitchValue] = {}
    by_level: dict[str, dict[str, profile.SwitchValue]] = {}

    def of(self, level: int) -> dict[str, profile.SwitchValue]:
        """What is overridden at a level; level 0 is the host."""
        return {**self.everywhere, **self.by_level.get(LEVELS[min(level, 2)], {})}


class OverridesReader:
    """A table of switches, with a table per level inside it."""

    textual = False

    def read(self, raw: object) -> Overrides:
        table = expect_table(raw, "kernel.overrides")
        levels = {name: table[name] for name in LEVELS if name in table}
        return Overrides(
            _switches({name: table[name] for name in table if name not in levels}),
            {name: self._level(name, value) for name, value in levels.items()},
        )

    @staticmethod
    def _level(name: str, raw: object) -> dict[str, profile.SwitchValue]:
        try:
            return _switches(expect_table(raw, f"kernel.overrides.{name}"))
        except BadValueError as error:
            raise BadValueError(str(error), (name, *error.at)) from None

    def write(self, value: Overrides) -> object:
        return {**value.everywhere, **value.by_level}


def _switches(table: Mapping[str, object]) -> dict[str, profile.SwitchValue]:
    names = switch_names()
    for name in table:
        if name not in names:
            raise BadValueError(f'unknown switch "{name}": {nearest(name, names)}', (name,))
    return {name: _value(name, raw) for name, raw in table.items()}


def _value(name: str, raw: object) -> profile.SwitchValue:
    valid = profile.SWITCHES[name].values
    if any(raw == value and type(raw) is type(value) for value in valid):
        return raw  # type: ignore[return-value]
    if type(raw) is int and str(raw) in valid:  # a year, as --set reads it
        return str(raw)
    listed = [_shown(value) for value in valid]
    hint = nearest(str(raw), listed) if isinstance(raw, str) else f"valid are {', '.join(listed)}"
    raise BadValueError(f"{show(raw)} is no value of this switch: {hint}", (name,))


def _shown(value: profile.SwitchValue) -> str:
    return hex(value) if isinstance(value, int) and not isinstance(value, bool) else show(value)
