"""Draws depend on (seed, entity, counter) and on nothing else, today and after an upgrade."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from pagewake.simtime.randomness import Draws, _ln, key_of, mix_u64

KEY = (2804514801210688588, 12997510821103417920)
WORDS = [0x4929FFCD4211E7CB, 0x9A5434383EB02EB5, 0x20238024084671DC]
BELOW = [285, 602, 476, 595, 820]
EXPONENTIAL = ["0x1.58aa934ef10bfp-2", "0x1.d8cc6a55278ccp-1"]
BLOCK_0 = [0x38F520D6, 0xB75216C1, 0x827429F1, 0x3DFCAD3C]
BLOCK_7 = [0xB30AD615, 0xB75EC77F, 0xC60E4790]


def test_the_key_of_an_entity_is_pinned() -> None:
    assert key_of(1, "bm-0") == KEY


def test_scalar_draws_are_pinned() -> None:
    draws = Draws(1, "bm-0")
    assert [draws.u64(counter) for counter in (0, 1, 1 << 40)] == WORDS
    assert [draws.below(counter, 1000) for counter in range(5)] == BELOW
    assert draws.unit(0) == (WORDS[0] >> 11) / 2**53


def test_floating_point_draws_are_pinned_to_the_last_bit() -> None:
    draws = Draws(1, "bm-0")
    assert [draws.exponential(counter).hex() for counter in range(2)] == EXPONENTIAL


def test_blocks_are_pinned() -> None:
    draws = Draws(1, "bm-0")
    assert draws.block_u32(0, 4).tolist() == BLOCK_0
    assert draws.block_u32(7, 3).tolist() == BLOCK_7


def test_a_block_does_not_depend_on_what_was_asked_for_before() -> None:
    draws, other = Draws(1, "a"), Draws(2, "b")
    expected = draws.block_u32(5, 100).tolist()
    other.block_u32(5, 33)
    draws.block_u32(6, 7)
    assert draws.block_u32(5, 100).tolist() == expected


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9])
def test_a_shorter_block_is_a_prefix_of_a_longer_one(size: int) -> None:
    draws = Draws(3, "task")
    block = draws.block_u32(2, size)
    assert block.dtype == np.uint32
    assert block.tolist() == draws.block_u32(2, 64).tolist()[:size]


def test_consecutive_blocks_do_not_overlap() -> None:
    draws = Draws(3, "task")
    words = np.concatenate([draws.block_u32(block, 4096) for block in range(4)]).view(np.uint64)
    assert len(np.unique(words)) == len(words)


def test_seed_and_entity_both_matter() -> None:
    words = {Draws(seed, entity).u64(0) for seed in (1, 2, 11) for entity in ("a", "b", "1a")}
    assert len(words) == 9


def test_the_vectorised_words_are_the_scalar_words() -> None:
    counters = np.arange(100, dtype=np.uint64) * np.uint64(7919)
    draws = Draws(4, "vm-0")
    assert mix_u64(4, "vm-0", counters).tolist() == [draws.u64(int(c)) for c in counters]


@pytest.mark.parametrize("start", [0, 8, 128, 4088])
def test_a_part_of_a_block_is_what_the_block_has_there(start: int) -> None:
    draws = Draws(7, "vm-0/task-0")
    whole = draws.block_u32(3, 4096)

    for stop in (start + 1, start + 8):
        assert draws.block_u32(3, stop, start).tolist() == whole[start:stop].tolist()


def test_draws_survive_pickling() -> None:
    draws = Draws(5, "vm-0")
    again = pickle.loads(pickle.dumps(draws))
    assert again.u64(9) == draws.u64(9)


def test_every_value_below_a_bound_comes_up_about_equally_often() -> None:
    draws = Draws(6, "dice")
    counts = np.bincount([draws.below(counter, 6) for counter in range(12_000)], minlength=6)
    assert counts.sum() == 12_000
    assert np.abs(counts - 2000).max() < 200


def test_units_are_in_range_and_uncorrelated() -> None:
    draws = Draws(7, "unit")
    units = np.array([draws.unit(counter) for counter in range(20_000)])
    assert units.min() >= 0.0
    assert units.max() < 1.0
    assert abs(units.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(units[:-1], units[1:])[0, 1]) < 0.03


def test_the_exponential_distribution_has_its_moments() -> None:
    draws = Draws(8, "moments")
    exponential = np.array([draws.exponential(counter) for counter in range(20_000)])
    assert abs(exponential.mean() - 1) < 0.03
    assert exponential.min() >= 0.0


@pytest.mark.parametrize("x", [2.0**-53, 1e-9, 0.1, 0.70710678, 0.999999, 1.0])
def test_the_logarithm_is_the_logarithm(x: float) -> None:
    assert _ln(x) == pytest.approx(math.log(x), rel=1e-14, abs=1e-16)
