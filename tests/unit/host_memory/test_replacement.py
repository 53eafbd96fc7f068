"""What every kind of replacement keeps, whatever is asked of it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagewake.host_memory.lists import pages_of
from pagewake.host_memory.replacement import ISOLATED, LISTED, OUT, REPLACEMENTS, Replacement

PAGES = 24
KINDS = pytest.mark.parametrize("kind", REPLACEMENTS)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "examine", "force", "restore", "forget", "save"]),
        st.integers(0, (1 << PAGES) - 1),
    ),
    max_size=60,
)


class Model:
    """A list of pages, with where each of them has to be, and what is under reclaim."""

    def __init__(self, kind: str) -> None:
        self.pages: Replacement = pages_of(kind, PAGES, np.arange(8))
        self.listed = set(range(8))
        self.taken: set[int] = set()

    def step(self, do: str, drawn: int) -> None:
        """`drawn`: a number for what is to be chosen; as bits, which pages."""
        chosen = [gfn for gfn in sorted(self.taken) if drawn >> gfn & 1]
        getattr(self, do)(drawn, chosen)
        place = self.pages.place
        assert {gfn for gfn in range(PAGES) if place[gfn] & LISTED} == self.listed
        assert {gfn for gfn in range(PAGES) if place[gfn] & ISOLATED} == self.taken
        assert self.pages.count == len(self.listed)
        assert sum(byte == OUT for byte in place) == PAGES - len(self.listed | self.taken)

    def admit(self, drawn: int, _: Any) -> None:
        out = sorted(set(range(PAGES)) - self.listed - self.taken)
        if out:
            self.pages.admit(out[drawn % len(out)])
            self.listed.add(out[drawn % len(out)])

    def examine(self, drawn: int, _: Any) -> None:
        batch = self.isolate(drawn, force=False)
        victims = self.pages.judge(batch, [gfn for gfn in batch if drawn >> gfn & 1])
        assert not any(drawn >> gfn & 1 for gfn in victims), "a page in use was chosen"
        self.listed |= set(batch) - set(victims)
        self.taken -= set(batch) - set(victims)

    def force(self, drawn: int, _: Any) -> None:
        self.isolate(drawn, force=True)

    def isolate(self, drawn: int, *, force: bool) -> list[int]:
        most = 1 + drawn % 7
        batch = self.pages.isolate(most, force)
        assert len(batch) <= most
        assert bool(batch) == bool(self.listed)
        assert set(batch) <= self.listed
        assert len(set(batch)) == len(batch)
        self.listed -= set(batch)
        self.taken |= set(batch)
        return batch

    def restore(self, _: int, chosen: list[int]) -> None:
        self.pages.restore(chosen)
        self.listed |= set(chosen)
        self.taken -= set(chosen)

    def forget(self, _: int, chosen: list[int]) -> None:
        self.pages.forget(chosen)
        self.taken -= set(chosen)

    def save(self, _: int, __: Any) -> None:
        self.pages = pickle.loads(pickle.dumps(self.pages))


@KINDS
@given(steps=STEPS)
def test_a_page_with_a_frame_is_in_one_place(kind: str, steps: list[tuple[str, int]]) -> None:
    model = Model(kind)
    for do, drawn in steps:
        model.step(do, drawn)
    rest: list[int] = []
    while batch := model.pages.isolate(5, force=True):
        rest += batch
    assert sorted(rest) == sorted(model.listed)


@KINDS
@given(steps=STEPS, most=st.integers(1, 7))
def test_pages_that_nobody_uses_are_found_within_the_rounds(
    kind: str, steps: list[tuple[str, int]], most: int
) -> None:
    model = Model(kind)
    for do, drawn in steps:
        model.step(do, drawn)
    pages, fruitless, used = model.pages, 0, set(range(PAGES))
    if not pages.count:
        return
    while fruitless <= pages.rounds * pages.count:
        batch = pages.isolate(most)
        if pages.judge(batch, [gfn for gfn in batch if gfn in used]):
            return
        used -= set(batch)  # the bit is clear now, and nobody sets it again
        fruitless += len(batch)
    pytest.fail(f"no victim among {fruitless} pages examined, of {pages.count}")
