"""Sizes and durations as they are written, and the scenarios made of them."""

from __future__ import annotations

import pytest

from pagewake.errors import ConfigError
from pagewake.load.plan import parse_duration, parse_sizes, scenario_for


def test_sizes_are_sorted() -> None:
    assert parse_sizes("256, 64") == [64, 256]


@pytest.mark.parametrize("text", ["", "64,", "x", "-4", "0", "100001", "6.5", "64,64", "²"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match="--vcpus"):
        parse_sizes(text)


def test_too_many_sizes() -> None:
    with pytest.raises(ConfigError, match="33 sizes"):
        parse_sizes(",".join(map(str, range(1, 34))))


def test_durations() -> None:
    assert parse_duration("30s") == 30
    assert parse_duration("500ms") == 0.5


@pytest.mark.parametrize("text", ["30", "x", "1ms", "2h", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="--duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("vcpus", "vms", "hosts"), [(1, 1, 1), (4, 1, 1), (10, 3, 1), (500, 125, 1), (10_000, 2500, 20)]
)
def test_a_scenario_has_as_many_vcpus_as_asked_for(vcpus: int, vms: int, hosts: int) -> None:
    scenario = scenario_for(vcpus)
    instances = scenario.instances()
    assert sum(vm.spec.vcpus for vm in instances) == vcpus
    assert len(instances) == vms
    assert scenario.host.count == hosts
