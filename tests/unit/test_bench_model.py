"""The arithmetic of the performance model; what it measures is for `make bench`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.bench_model import fit, unseen

COSTS_S = np.array([1e-3, 5e-5, 3e-6])
ROWS = np.array([[1, 10, 900], [4, 80, 70], [9, 5, 4000], [2, 300, 60], [7, 40, 11]], dtype=float)


def test_costs_without_noise_are_found_without_error() -> None:
    found = fit(ROWS, ROWS @ COSTS_S)
    assert found.costs_s == pytest.approx(COSTS_S)
    assert found.errors_s == pytest.approx(np.zeros(3), abs=1e-9)


def test_a_run_does_not_predict_itself() -> None:
    cpu_s = ROWS @ COSTS_S
    true_s = cpu_s[0]
    cpu_s[0] *= 2
    assert unseen(ROWS, cpu_s)[0] == pytest.approx(true_s)
