"""The gfn hash against a multiset, under any order of valid operations."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pagewake.events.ids import Gfn
from pagewake.kvm.gfn_hash import (
    EMPTY,
    NEW_MULTIPLIER,
    OLD_MULTIPLIER,
    SLOTS,
    GfnHash,
    GfnHashFullError,
    hash_32,
)

COLLIDING = [0, 34, 89, 178, 233, 267, 55, 144, 199, 288, 377]
GFNS = st.one_of(st.sampled_from(COLLIDING), st.integers(0, 200), st.integers(0, (1 << 40) - 1))


class GfnHashMachine(RuleBasedStateMachine):
    """`model` counts what was added; deletes are of gfns that are in, as the kernel's are."""

    multiplier = OLD_MULTIPLIER
    probe_fixed = True

    def __init__(self) -> None:
        super().__init__()
        self.table = GfnHash(self.multiplier, self.probe_fixed)
        self.model: Counter[int] = Counter()

    @rule(gfn=GFNS)
    def add(self, gfn: int) -> None:
        if self.model.total() == SLOTS:
            with pytest.raises(GfnHashFullError):
                self.table.add(Gfn(gfn))
            return
        self.table.add(Gfn(gfn))
        self.model[gfn] += 1

    @rule(gfns=st.lists(GFNS, min_size=20, max_size=40))
    def add_many(self, gfns: list[int]) -> None:
        for gfn in gfns[: SLOTS - self.model.total()]:
            self.add(gfn)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        gfn = data.draw(st.sampled_from(sorted(self.model)))
        self.table.delete(Gfn(gfn))
        self.model -= Counter([gfn])

    @rule(gfn=GFNS)
    def find(self, gfn: int) -> None:
        assert self.table.find(Gfn(gfn)) == (self.model[gfn] > 0)

    @rule()
    def reset(self) -> None:
        self.table.reset()
        self.model.clear()

    @invariant()
    def holds_what_was_added(self) -> None:
        held = Counter(gfn for gfn in self.table.slots() if gfn != EMPTY)
        assert held == +self.model
        assert len(self.table) == self.model.total()

    @invariant()
    def no_empty_slot_between_home_and_place(self) -> None:
        slots = self.table.slots()
        for place, gfn in enumerate(slots):
            home = hash_32(gfn, 6, self.multiplier)
            way = range((place - home) % SLOTS) if gfn != EMPTY else ()
            assert all(slots[(home + step) % SLOTS] != EMPTY for step in way)


class NewMultiplier(GfnHashMachine):
    multiplier = NEW_MULTIPLIER


class PostedProbe(GfnHashMachine):
    probe_fixed = False


BOUNDS = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestOldMultiplier = GfnHashMachine.TestCase
TestNewMultiplier = NewMultiplier.TestCase
TestPostedProbe = PostedProbe.TestCase
TestOldMultiplier.settings = TestNewMultiplier.settings = TestPostedProbe.settings = BOUNDS
