"""Charges, limits and watermarks."""

from __future__ import annotations

import pytest

from pagewake.host_memory.frames import Frames, Watermarks


def test_a_vm_cannot_be_charged_above_its_limit() -> None:
    frames = Frames([4, 4], None)
    frames.charge(0, 4)
    assert frames.free(0) == 0
    with pytest.raises(AssertionError, match="limit of the VM"):
        frames.charge(0, 1)


def test_all_vms_together_cannot_be_charged_above_the_memory_of_the_host() -> None:
    frames = Frames([4, 4], 5)
    frames.charge(0, 4)
    assert frames.free(1) == 1
    assert frames.under_limit(1) == 4
    with pytest.raises(AssertionError, match="memory of the host"):
        frames.charge(1, 2)


def test_a_frame_cannot_be_given_back_twice() -> None:
    frames = Frames([4], None)
    frames.charge(0, 1)
    frames.uncharge(0, 1)
    with pytest.raises(AssertionError, match="given back twice"):
        frames.uncharge(0, 1)


def test_a_failed_charge_changes_nothing_of_the_vm() -> None:
    frames = Frames([4], None)
    with pytest.raises(AssertionError):
        frames.charge(0, 5)
    assert frames.charges[0] == 0


def test_pressure_is_charge_relative_to_limit_and_ties_go_by_name_order() -> None:
    frames = Frames([100, 10, 100, 50], None)
    for vm, charge in enumerate([50, 9, 50, 10]):
        frames.charge(vm, charge)
    (nothing,) = frames.floors
    assert frames.by_pressure(nothing) == [1, 0, 2, 3]
    frames.leave(0, 45)
    assert frames.by_pressure(nothing) == [1, 2, 3, 0]


def test_pressure_is_on_what_a_vm_has_beyond_its_protection() -> None:
    frames = Frames([100, 100, 100], None, mins=[0, 10, 0], lows=[40, 0, 0])
    for vm, charge in enumerate([50, 30, 5]):
        frames.charge(vm, charge)
    low, least = frames.floors
    assert frames.by_pressure(low) == [1, 0, 2]
    assert frames.by_pressure(least) == [0, 1, 2]
    frames.leave(0, 10)
    frames.leave(1, 20)
    assert frames.by_pressure(low) == [2]


def test_low_that_adds_up_to_more_than_there_is_counts_in_proportion() -> None:
    frames = Frames([100, 100], 60, lows=[80, 40])
    assert [floor.tolist() for floor in frames.floors] == [[40, 20], [0, 0]]


def test_compressed_pages_take_frames_that_nobody_is_charged_with() -> None:
    frames = Frames([10, 10], 12)
    frames.store(7)
    assert frames.left() == 12
    frames.keep_stored(2_000)
    assert (frames.pool, frames.left(), frames.free(0)) == (4, 8, 8)
    frames.store(-3)
    assert (frames.pool, frames.left()) == (2, 10)
    frames.keep_stored(0)
    assert frames.left() == 12


@pytest.mark.parametrize(
    ("limit", "low", "high", "batch"),
    [
        (1, 0, 0, 1),
        (63, 0, 1, 1),
        (256, 4, 8, 8),
        (2_048, 32, 64, 64),
        (131_072, 128, 192, 64),
    ],
)
def test_watermarks_follow_the_limit(limit: int, low: int, high: int, batch: int) -> None:
    marks = Watermarks(limit)
    assert (marks.low, marks.high, marks.batch) == (low, high, batch)


@pytest.mark.parametrize(("limit", "batch"), [(1, 1), (256, 8), (2_048, 32), (131_072, 32)])
def test_who_reclaims_for_itself_keeps_nothing_free(limit: int, batch: int) -> None:
    marks = Watermarks(limit, reserve_pages=600, direct=True)
    assert (marks.low, marks.high, marks.batch) == (0, 0, batch)


@pytest.mark.parametrize(("limit", "low", "high"), [(131_072, 600, 664), (2_048, 32, 64)])
def test_they_last_for_an_eviction_as_far_as_the_limit_allows(
    limit: int, low: int, high: int
) -> None:
    marks = Watermarks(limit, reserve_pages=600)
    assert (marks.low, marks.high, marks.batch) == (low, high, 64)
