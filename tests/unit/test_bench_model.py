"""The arithmetic of the performance model; what it measures is for `make bench`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.bench_model import fit, unseen
from tests.bench.stations import Model, least

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


@pytest.mark.parametrize(
    ("hosts", "guests", "cores", "name", "windows_per_s"),
    [
        (1, 1, 16, "round trips", 1 / 0.009),
        (6, 1, 16, "a guest service", 1 / 0.006),
        (6, 4, 16, "a guest service", 1 / (0.006 * 2 / 6)),
        (60, 60, 16, "host service", 1 / 0.001),
        (6, 3, 2, "cores", 2 / 0.008),
    ],
)
def test_the_station_that_binds(
    hosts: int, guests: int, cores: float, name: str, windows_per_s: float
) -> None:
    model = Model(bare_s=0.002, host_s=0.001, guest_s=0.006, broker_s=0.001)
    found, bound = least(model.bounds(hosts, guests, cores))
    assert found == name
    assert bound == pytest.approx(windows_per_s)
