"""What a service has let go of is looked for, and not all the time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from pagewake.cluster.garbage import BETWEEN_S, Garbage
from tests.support.clock import FakeClock


class Circle:
    """Knows itself, as an owner does by way of its vcpus."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _nobody_else_looks() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def circle() -> weakref.ref[Circle]:
    """One that nobody has any more."""
    return weakref.ref(Circle())


def test_it_is_looked_for_when_an_owner_was_let_go() -> None:
    garbage, left = Garbage(FakeClock()), circle()
    garbage.collect_if_due()
    assert left() is not None
    garbage.left()
    garbage.collect_if_due()
    assert left() is None


def test_once_for_many_owners() -> None:
    clock = FakeClock()
    garbage = Garbage(clock)
    garbage.left()
    garbage.collect_if_due()
    left = circle()
    garbage.left()
    clock.advance(BETWEEN_S - 0.1)
    garbage.collect_if_due()
    assert left() is not None
    clock.advance(0.1)
    garbage.collect_if_due()
    assert left() is None
