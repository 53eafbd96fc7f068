"""Small scenarios in which a search finds known defects by itself, and what mends each."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario


def directory() -> Path:
    """Where the scenarios of this package are."""
    return Path(str(importlib.resources.files("pagewake.explore"))) / "scenarios"


def names() -> list[str]:
    """What they are called."""
    return sorted(path.stem for path in directory().glob("*.toml"))


def load_small(name_or_path: str, sets: Sequence[str] = ()) -> Scenario:
    """A scenario of this package by its name, else as every command loads one."""
    own = directory() / f"{name_or_path}.toml"
    return load(str(own) if own.exists() else name_or_path, sets)


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A defect: where it is found, as which property, and by which setting it is gone.

    `errata` is its number in the gallery, 0 if it has none; `remains`: what another defect, of its
    own row, still breaks in the mended one.
    """

    title: str
    scenario: str
    property: str
    mend: list[str]
    sets: list[str] = []
    remains: list[str] = []
    errata: int = 0

    def broken(self) -> Scenario:
        """By the rules that have it."""
        return load_small(self.scenario, self.sets)

    def mended(self) -> Scenario:
        """With what mends it."""
        keys = {each.partition("=")[0] for each in self.mend}
        kept = [each for each in self.sets if each.partition("=")[0] not in keys]
        return load_small(self.scenario, [*kept, *self.mend])


class _Cases(msgspec.Struct, frozen=True):
    case: list[Case]


GALLERY: Final = "gallery.toml"


def cases() -> list[Case]:
    """All of them."""
    text = (directory().parent / GALLERY).read_bytes()
    return msgspec.toml.decode(text, type=_Cases).case
