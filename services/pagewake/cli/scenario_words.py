"""What a word of a scenario means: a built-in one, a profile, a swap device, a key, a value."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pagewake.host_memory.media import MEDIA
from pagewake.kvm.profile import PROFILES
from pagewake.observe.glossary import Word
from pagewake.scenario.keys import Choice, Key
from pagewake.scenario.library import describe_builtins
from pagewake.scenario.model import Scenario
from pagewake.scenario.reading import fields_of
from pagewake.scenario.units import format_duration

REFERENCE = "reference/scenario.md"


def scenario_words(asked: str) -> list[Word]:
    """All that bear the name; a key is found by its last part too, and without numbers in it."""
    path = ".".join(part for part in asked.split(".") if not part.isdecimal())
    keys = (
        Word(at, text, see=REFERENCE)
        for at, text, values in _keys(Scenario)
        if f".{at}".endswith(f".{path}") or asked in values
    )
    return [word for word in _named() if word.name == asked] or list(keys)


def _named() -> Iterator[Word]:
    """Names that come with pagewake."""
    for each in describe_builtins():
        text = f"Built-in scenario: {each['description']}. {each['shows']}"
        yield Word(each["name"], f"{text} Expected: {each['expects']}")
    for name, profile in PROFILES.items():
        yield Word(name, f"Kernel profile: {profile.description}", see=REFERENCE)
    for name, medium in MEDIA.items():
        least = format_duration(medium.min_service_ns or medium.cost_ns)
        yield Word(name, f"Swap device: at least {least} for a page", see=REFERENCE)


def _keys(struct: type[msgspec.Struct], below: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Every key by its path, what it is, and the names it may hold."""
    for field in fields_of(struct):
        at = f"{below}{field.mark.name}"
        if not isinstance(field.mark, Key):
            assert field.struct is not None
            yield from _keys(field.struct, f"{at}.")
            continue
        reader = field.mark.reader
        values = reader.names() if isinstance(reader, Choice) else []
        one_of = f"; one of {', '.join(values)}" if values else ""
        yield at, f"Key of a scenario: {field.mark.doc}{one_of}", values
