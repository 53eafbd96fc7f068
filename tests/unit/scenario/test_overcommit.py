"""A factor of overcommit is a size of `host.memory`."""

from __future__ import annotations

import pytest

from pagewake.errors import ConfigError
from pagewake.scenario.loading import loads
from pagewake.scenario.overcommit import overcommitted, promised_pages
from pagewake.scenario.settings import parse_axis
from pagewake.scenario.units import PAGE_BYTES
from pagewake.scenario.writing import effective_toml

GIB = (1 << 30) // PAGE_BYTES


@pytest.mark.parametrize(
    ("factor", "pages"), [("1.0", 4 * GIB), ("1.6", 5 * GIB // 2), ("2", 2 * GIB), ("0.5", 8 * GIB)]
)
def test_the_vms_of_a_host_see_so_many_times_its_memory(
    valid: str, factor: str, pages: int
) -> None:
    scenario = loads(valid, sets=[f"overcommit={factor}"])
    assert scenario.host.memory_pages == pages
    assert loads(effective_toml(scenario)) == scenario


def test_what_is_no_whole_page_is_left_out(valid: str) -> None:
    assert overcommitted(loads(valid), "3").host.memory_pages == 4 * GIB // 3


def test_of_several_hosts_the_one_that_was_promised_most_counts(valid: str) -> None:
    sets = ["host.count=2", "vm.0.count=3"]
    assert promised_pages(loads(valid, sets=sets)) == 4 * GIB


@pytest.mark.parametrize("factor", ["0", "-1", "many", "nan", "inf", "", "1e30"])
def test_another_factor_is_refused(valid: str, factor: str) -> None:
    with pytest.raises(ConfigError, match=r'^--axis "overcommit=.*for example 1\.5'):
        loads(valid, axes=[f"overcommit={factor}"])


def test_it_can_be_an_axis() -> None:
    assert parse_axis("overcommit=1.0,1.5") == ("overcommit", ["1.0", "1.5"])


def test_it_does_not_go_with_another_size_of_the_host(valid: str) -> None:
    with pytest.raises(ConfigError, match=r"which host\.memory gives too"):
        loads(valid, sets=["host.memory=1GiB"], axes=["overcommit=2"])
