"""What every event struct must be, so that its bytes are a function of its values."""

from __future__ import annotations

import msgspec
import pytest

from pagewake.events.types import EVENTS, Event


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_no_default_is_told_apart_by_identity(kind: type[Event]) -> None:
    """Defaults are left out on the wire if they are the same object, which two equal strings
    need not be: only None, booleans, small integers and empty texts and lists may be defaults."""
    for field in msgspec.structs.fields(kind):
        default = field.default
        assert default is msgspec.NODEFAULT or default in (None, False, True, 0, ""), field.name
