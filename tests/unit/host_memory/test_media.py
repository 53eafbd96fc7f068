"""What a request costs on each medium."""

from __future__ import annotations

import pytest

from pagewake.errors import ConfigError
from pagewake.host_memory.media import (
    MEDIA,
    WHOLE,
    DiskArm,
    Empirical,
    Medium,
    Uniform,
    synchronous_medium,
    uniform_medium,
)
from pagewake.simtime.randomness import Draws

US = 1_000
ALL_ONES = (1 << 64) - 1


def one_page(medium: Medium, samples: int = 20_000) -> list[int]:
    draws = Draws(1, "samples")
    transfer = medium.transfer_ns_per_page
    return [medium.read.sample_ns(draws.u64(i)) + transfer for i in range(samples)]


def test_uniform_reaches_both_ends_and_nothing_beyond() -> None:
    access = Uniform(10, 13)
    assert access.sample_ns(0) == 10
    assert access.sample_ns(ALL_ONES) == 13


def test_a_disk_arm_reaches_its_shortest_and_its_longest() -> None:
    arm = DiskArm(1_000, 9_000, 4_000)
    assert arm.sample_ns(0) == arm.min_ns == 1_000
    assert 12_990 <= arm.sample_ns(ALL_ONES) < 13_000


def test_measured_quantiles_come_out_again() -> None:
    rows = [(0, 80 * US), (WHOLE // 2, 1_200 * US), (WHOLE // 100 * 99, 20_000 * US)]
    access = Empirical.of([*rows, (WHOLE, 300_000 * US)])
    draws = Draws(1, "samples")
    times = sorted(access.sample_ns(draws.u64(i)) for i in range(100_000))
    for share, time_ns in rows:
        below = sum(time <= time_ns for time in times) / len(times)
        assert below == pytest.approx(share / WHOLE, abs=0.005)
    assert times[25_000] == pytest.approx((80 + 1_200) / 2 * US, rel=0.02)
    assert access.min_ns == 80 * US <= times[0]
    assert times[-1] <= 300_000 * US


def test_quantiles_reach_every_row_and_nothing_beyond() -> None:
    access = Empirical.of([(0, 10), (WHOLE // 4, 10), (WHOLE // 2, 20), (WHOLE, 23)])
    quarter = 1 << 62
    assert [access.sample_ns(bits) for bits in (0, quarter - 1, quarter)] == [10, 10, 10]
    assert [access.sample_ns(bits) for bits in (2 * quarter - 1, 2 * quarter)] == [20, 20]
    assert access.sample_ns(ALL_ONES) == 23


@pytest.mark.parametrize(
    ("name", "shortest", "mean", "longest"),
    [
        ("hdd-2010", 841 * US, 8_208 * US, 15_175 * US),
        ("ssd-sata", 80 * US, 100 * US, 120 * US),
        ("nvme", 20 * US, 50 * US, 80 * US),
        ("rdma", 8 * US, 10 * US, 12 * US),
        ("migration", 153_500, 203_500, 253_500),
    ],
)
def test_presets_have_the_service_times_they_state(
    name: str, shortest: int, mean: int, longest: int
) -> None:
    times = one_page(MEDIA[name])
    assert MEDIA[name].min_service_ns == shortest <= min(times)
    assert max(times) <= longest
    assert sum(times) / len(times) == pytest.approx(mean, rel=0.01)


def test_presets_have_the_parallelism_of_the_semantics() -> None:
    parallelism = {name: m.parallelism for name, m in MEDIA.items() if not m.synchronous}
    assert parallelism == {"hdd-2010": 1, "ssd-sata": 4, "nvme": 16, "rdma": 8, "migration": 1}


def test_only_memory_is_synchronous() -> None:
    assert [name for name, m in MEDIA.items() if m.synchronous] == ["zram", "cxl"]
    assert MEDIA["zram"].min_service_ns is None
    assert MEDIA["zram"].cost_ns == 2 * US


def test_every_preset_says_where_its_figures_are_from() -> None:
    assert all("semantics 9" in medium.source for medium in MEDIA.values())
    assert all(name == medium.name for name, medium in MEDIA.items())


def test_jitter_must_leave_a_shortest_service() -> None:
    with pytest.raises(ConfigError, match="jitter 100 ns"):
        uniform_medium(100, 100, 1)


def test_parallelism_and_cost_must_be_possible() -> None:
    with pytest.raises(ConfigError, match="parallelism 0"):
        uniform_medium(100, 0, 0)
    with pytest.raises(ConfigError, match="cost 0 ns"):
        synchronous_medium(0)
