"""The knee, percentiles, sums."""

from __future__ import annotations

import pytest

from pagewake.load.measured import Latencies, cost_of, knee_of, total
from tests.unit.load.support import measured


@pytest.mark.parametrize(
    ("rates", "knee", "reached"),
    [
        ({}, None, False),
        ({64: 100.0}, 64, False),
        ({64: 100.0, 128: 200.0, 256: 400.0}, 256, False),
        ({64: 100.0, 128: 200.0, 256: 210.0}, 128, True),
        ({64: 100.0, 128: 109.0, 256: 110.0}, 64, True),
        ({64: 100.0, 128: 60.0, 256: 150.0}, 256, False),
        ({64: 100.0, 128: 50.0, 256: 60.0}, 64, True),
        ({64: 100.0, 128: 110.0}, 128, False),
        ({64: 100.0, 256: 119.0}, 64, True),
        ({64: 100.0, 256: 122.0}, 256, False),
        ({64: 0.0, 128: 0.0}, 128, False),
    ],
)
def test_the_knee_is_where_doubling_no_longer_pays(
    rates: dict[int, float], knee: int | None, reached: bool
) -> None:
    sizes = [measured(vcpus, rate=rate) for vcpus, rate in rates.items()]
    assert knee_of(reversed(sizes)) == (knee, reached)


def test_percentiles_are_those_of_what_was_added() -> None:
    latencies = Latencies()
    for ms in range(1, 1001):
        latencies.add(ms / 1000)
    summary = latencies.summary()
    assert summary.p50_s == pytest.approx(0.5, rel=0.002)
    assert summary.p99_s == pytest.approx(0.99, rel=0.002)
    assert summary.p999_s == pytest.approx(0.999, rel=0.002)
    assert summary.max_s == pytest.approx(1.0, rel=0.002)


def test_percentiles_of_nothing_and_of_what_is_out_of_range() -> None:
    latencies = Latencies()
    assert latencies.summary().p999_s == 0
    latencies.add(-1.0)
    latencies.add(1e9)
    assert latencies.summary().max_s == pytest.approx(3600, rel=0.002)


def test_a_sum_is_known_only_where_all_parts_are() -> None:
    assert total([1, 2.5]) == 3.5
    assert total([1, None]) is None
    assert total([]) is None


def test_the_cost_of_no_fault_is_not_known() -> None:
    assert cost_of("x", 0.5, 0.0, None).cpu_s_per_million_faults is None
    assert cost_of("x", 0.5, 1000.0, None).cpu_s_per_million_faults == 500
