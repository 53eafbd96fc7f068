"""The published figures and how their errors combine."""

from __future__ import annotations

import pytest

from pagewake.observe.published import MASTER, NONPV, PV, Estimate, mean_of, published_ratio


@pytest.mark.parametrize(
    ("row", "ratio", "error"), [(NONPV, 1.128, 0.036), (PV, 1.909, 0.104)], ids=["nonpv", "pv"]
)
def test_a_ratio_carries_the_errors_of_both_rows(row: object, ratio: float, error: float) -> None:
    assert row in (NONPV, PV)
    published = published_ratio(NONPV if row is NONPV else PV)
    assert published.error is not None
    assert (round(published.value, 3), round(published.error, 3)) == (ratio, error)


def test_master_is_the_measure_of_itself() -> None:
    assert published_ratio(MASTER) == Estimate(1.0, None)


def test_a_mean_has_the_standard_error_of_its_runs() -> None:
    mean = mean_of([1.0, 2.0, 3.0])
    assert mean.value == 2.0
    assert mean.error == pytest.approx(1 / 3**0.5)


def test_one_run_has_no_error() -> None:
    assert mean_of([4.0]) == Estimate(4.0, None)
