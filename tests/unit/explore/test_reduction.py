"""What is taken at once commutes with all else that can happen."""

from __future__ import annotations

import marshal

import pytest

from pagewake.explore.expand import Copy, Walker
from pagewake.explore.gallery import load_small
from pagewake.explore.machine import Choice
from pagewake.explore.reduction import first
from pagewake.simtime.randomness import Draws

SETS = ("kernel.profile=6.12", "kernel.profile=5.4")
CHANCES = ("explore.budget.irq=1", "explore.budget.exit=1", "explore.budget.write=1")


def after(walker: Walker, copy: Copy, *choices: Choice) -> Copy | str:
    """The state after these choices, each of which has to be possible, or what they break."""
    walker.fill(marshal.loads(copy))  # noqa: S302 - of this test
    for choice in choices:
        assert choice in walker.machine.choices()
        if (broken := walker.step(choice)) is not None:
            return broken.property
    return walker.copy()


@pytest.mark.parametrize("name", ["one-vcpu", "two-tasks", "offline", "nested-guest"])
@pytest.mark.parametrize("profile", SETS)
def test_it_commutes_with_every_other_choice(name: str, profile: str) -> None:
    """Along random orders: first, or behind any other choice, it leads to the same state."""
    walker = Walker(load_small(name, [profile, *CHANCES]))
    walker.boot()
    start, pairs = walker.copy(), 0
    for walk in range(30):
        draws, copy = Draws(walk, name), start
        for number in range(60):
            walker.fill(marshal.loads(copy))  # noqa: S302 - of this test
            choices, alone = walker.machine.choices(), first(walker.machine)
            if not choices:
                break
            for other in choices:
                if alone is not None and other != alone:
                    one, two = (alone, other), (other, alone)
                    assert after(walker, copy, *one) == after(walker, copy, *two)
                    pairs += 1
            walker.fill(marshal.loads(copy))  # noqa: S302 - of this test
            if walker.step(choices[draws.below(number, len(choices))]) is not None:
                break
            copy = walker.copy()
    assert pairs > 20
