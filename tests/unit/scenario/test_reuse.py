"""Stack distances are those of an LRU stack, however the accesses are cut into pieces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pagewake.scenario.reuse import FIRST, Histogram, StackDistances, larger_before, sampled

ACCESSES = st.lists(st.integers(0, 30), min_size=1, max_size=200)


def of_a_stack(pages: list[int]) -> list[int]:
    """Distances by a list that is kept in order of last use."""
    stack: list[int] = []
    found = []
    for page in pages:
        found.append(len(stack) - 1 - stack.index(page) if page in stack else FIRST)
        stack = [other for other in stack if other != page] + [page]
    return found


def lru_misses(pages: list[int], limit: int) -> int:
    """Misses of a memory with LRU, but for first accesses."""
    kept: list[int] = []
    seen: set[int] = set()
    misses = 0
    for page in pages:
        misses += page in seen and page not in kept
        seen.add(page)
        kept = ([other for other in kept if other != page] + [page])[-limit:]
    return misses


@given(pages=ACCESSES, cuts=st.lists(st.integers(0, 200), max_size=4))
def test_distances_are_those_of_a_stack(pages: list[int], cuts: list[int]) -> None:
    edges = sorted({0, len(pages), *(min(cut, len(pages)) for cut in cuts)})
    distances = StackDistances()
    found = [distances.feed(np.array(pages[a:b], np.int64)).tolist() for a, b in pairwise(edges)]
    assert [one for piece in found for one in piece] == of_a_stack(pages)
    assert len(distances) == len(set(pages))


@given(values=st.integers(0, 70).flatmap(lambda size: st.permutations(range(size))))
def test_larger_ones_before_each_value_are_counted(values: list[int]) -> None:
    expected = [sum(other > value for other in values[:at]) for at, value in enumerate(values)]
    assert larger_before(np.array(values, np.int64)).tolist() == expected


@given(pages=ACCESSES, limits=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_misses_are_those_of_a_memory_with_lru(pages: list[int], limits: list[int]) -> None:
    histogram = Histogram()
    histogram.feed(np.array(pages, np.int64))
    expected = [lru_misses(pages, limit) for limit in limits]
    assert histogram.misses(np.array(limits, np.int64)).tolist() == expected


@given(pages=ACCESSES)
def test_quantiles_are_distances_of_uses_again(pages: list[int]) -> None:
    histogram = Histogram()
    histogram.feed(np.array(pages, np.int64))
    again = sorted(distance for distance in of_a_stack(pages) if distance != FIRST)
    expected = [again[-(-len(again) * share // 100) - 1] for share in (50, 100)] if again else []
    assert histogram.quantiles((50, 100)) == expected


def test_a_sample_is_one_page_in_so_many_and_has_two_halves() -> None:
    pages = np.arange(100_000)
    chosen = sampled(pages, 8)
    assert abs(np.count_nonzero(chosen) - 12_500) < 500
    halves = [sampled(pages, 8, half) for half in (0, 1)]
    assert (halves[0] ^ halves[1]).tolist() == chosen.tolist()


def test_a_sample_comes_close_to_the_curve() -> None:
    draws = np.random.default_rng(7).zipf(1.3, 400_000) % 20_000
    whole, part = Histogram(), Histogram(8)
    for histogram in (whole, part):
        histogram.feed(draws)
    limits = np.array([100, 500, 1_000, 2_000, 5_000])
    error = np.abs(whole.misses(limits) - part.misses(limits)) / len(draws)
    assert 0 < error.max() < 0.02
