"""An entry of the gallery: one defect, read from its file `entries/dNN.toml`.

It says what the defect is, who met it and how, and how that is known; it names a scenario, the
rules that have the defect, the one switch that mends it, and what shows either (`signs.py`).
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from pathlib import Path
from typing import TypeAlias

import msgspec

from pagewake.errata.absent import ABSENT
from pagewake.errata.signs import Sign
from pagewake.errors import ConfigError, nearest
from pagewake.kvm.profile import PROFILES, RELEASES, SWITCHES
from pagewake.kvm.switches import SwitchValue
from pagewake.scenario.library import builtin_names, builtin_path
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario

Setting: TypeAlias = SwitchValue | list[str]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One defect.  Texts are Markdown; `known` begins with a tag of semantics 0.

    `switch` is the only difference between the two runs: a rule, perhaps of one level as in
    `l1.nested_fix`, or another key of the scenario where no kernel mends it; `before` is its value
    in the first, `after` in the second.  `also`: other values of a rule that have it; `since`: the
    first profile with what it takes beside the rule.  `drawn`: from when until when, if not all.
    """

    id: int
    title: str
    commits: list[str]
    years: str
    kernels: str
    known: str
    reported: str
    symptom: str
    story: str
    scenario: str
    profile: str
    switch: str
    before: Setting
    after: Setting
    broken: Sign
    mended: Sign
    sets: list[str] = []
    also: list[SwitchValue] = []
    since: str = ""
    drawn: list[str] = []

    @property
    def name(self) -> str:
        """As people and file names call it."""
        return f"D{self.id}"

    @property
    def key(self) -> str:
        """What is set in a scenario to change it."""
        is_rule = self.switch.rpartition(".")[2] in SWITCHES
        return f"kernel.overrides.{self.switch}" if is_rule else self.switch

    def loaded(self, value: Setting) -> Scenario:
        """The scenario to run, with this value."""
        return self._load(self.profile, [f"{self.key}={shown(value)}"])

    def under(self, profile: str) -> Scenario | None:
        """The scenario by the rules of any kernel; None if it cannot have the defect.

        Built-in scenarios make 2.6.38 asynchronous, which it is not here.
        """
        kernel = PROFILES[profile]
        rule = kernel.values.get(self.switch.rpartition(".")[2])
        ages = {each.name: age for age, each in enumerate(RELEASES)}
        is_old = ages[kernel.alias_of or profile] < ages.get(self.since, 0)
        if is_old or rule not in (self.before, *self.also):
            return None
        own = {"gup": kernel.values["gup"], self.switch: rule}
        return self._load(profile, [f"kernel.overrides.{k}={shown(v)}" for k, v in own.items()])

    def _load(self, profile: str, last: list[str]) -> Scenario:
        sets = [f"kernel.profile={profile}", *self.sets, *last]
        return load(str(_scenario_path(self.scenario)), sets)

    @property
    def is_builtin(self) -> bool:
        """Whether `pagewake run` knows its scenario."""
        return self.scenario in builtin_names()


def plain(text: str) -> str:
    """A text of an entry without its marks of Markdown."""
    return text.replace("**", "").replace("`", "")


def shown(value: Setting) -> str:
    """A value as a scenario has it; masks in hexadecimal."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value)
    return hex(value) if isinstance(value, int) else value


@functools.cache
def _directory() -> Path:
    return Path(str(importlib.resources.files("pagewake.errata")))


def _scenario_path(name: str) -> Path:
    own = _directory() / "scenarios" / f"{name}.toml"
    return own if own.exists() else builtin_path(name)


def entries() -> list[Entry]:
    """All of them, by number."""
    return sorted(map(_read, _directory().glob("entries/*.toml")), key=lambda entry: entry.id)


def entry(named: str) -> Entry:
    """The one that is called 43 or D43; ConfigError with the nearest if there is none."""
    known = {each.name: each for each in entries()}
    name = f"D{named.upper().removeprefix('D')}"
    if name not in known:
        for number, commits, what, why in ABSENT:
            if name == f"D{number}":
                raise ConfigError(f"{name} ({what}; {commits}) cannot be run: {why}")
        raise ConfigError(f'there is no defect "{named}": {_nearest(name, known)}')
    return known[name]


def _nearest(name: str, known: dict[str, Entry]) -> str:
    """By number if it is one, as D45 is between D44 and D46 whatever it is written like."""
    number = name.removeprefix("D")
    if not (number.isascii() and number.isdecimal()):
        return nearest(name, known)
    close = sorted(known.values(), key=lambda each: (abs(each.id - int(number[:9])), each.id))
    return f"nearest are {', '.join(f'{each.id} ({each.title})' for each in close[:2])}"


def _read(path: Path) -> Entry:
    found = msgspec.toml.decode(path.read_bytes(), type=Entry)
    assert path.stem == found.name.lower(), f"{path.name} is entry {found.name}"
    assert found.before != found.after, f"{path.name}: its switch mends nothing"
    assert found.since in {"", *PROFILES}, f"{path.name}: no profile {found.since}"
    return found
