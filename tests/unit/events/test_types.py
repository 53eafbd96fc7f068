"""What every event struct must be, so that its bytes are a function of its values."""

from __future__ import annotations

import msgspec
import pytest

from pagewake.events.types import (
    CONTROL,
    EVENTS,
    JOURNAL,
    TO_HOST,
    TO_SHARD,
    Control,
    Event,
    Journal,
    ToHost,
    ToShard,
)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_no_default_is_told_apart_by_identity(kind: type[Event]) -> None:
    """Defaults are left out on the wire if they are the same object, which two equal strings
    need not be: only None, booleans, small integers, empty texts, lists and tuples may be."""
    for field in msgspec.structs.fields(kind):
        default = field.default
        assert default is msgspec.NODEFAULT or default in (None, False, True, 0, "", ()), field.name


def leaves(kind: type[Event]) -> list[type[Event]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


@pytest.mark.parametrize(
    ("family", "listed"),
    [(ToHost, TO_HOST), (ToShard, TO_SHARD), (Control, CONTROL), (Journal, JOURNAL)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_event_is_listed_in_its_family(
    family: type[Event], listed: tuple[type[Event], ...]
) -> None:
    """What is not listed has no schema, no topic and no page."""
    assert set(leaves(family)) == set(listed)
