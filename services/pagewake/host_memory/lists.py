"""The kinds of replacement, by the names that scenarios have for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pagewake.host_memory.mglru import Generations
from pagewake.host_memory.replacement import (
    MGLRU,
    SECOND_CHANCE,
    TWO_LISTS,
    TWO_LISTS_2008,
    Replacement,
)
from pagewake.host_memory.second_chance import SecondChance
from pagewake.host_memory.two_lists import TwoLists


def pages_of(kind: str, pages: int, resident: NDArray[np.int64]) -> Replacement:
    """Lists of that kind for a VM of so many pages, of which these are in memory at time 0."""
    if kind == TWO_LISTS:
        return TwoLists(pages, resident)
    if kind == TWO_LISTS_2008:
        return TwoLists(pages, resident, workingset=False)
    if kind == MGLRU:
        return Generations(pages, resident)
    assert kind == SECOND_CHANCE, f"there is no replacement that is called {kind}"
    return SecondChance(pages, resident)
