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
    assert frames.by_pressure() == [1, 0, 2, 3]
    frames.leave(0, 45)
    assert frames.by_pressure() == [1, 2, 3, 0]


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
