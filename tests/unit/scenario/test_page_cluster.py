"""`host.page_cluster`: what a host has that says nothing, and what its log says then."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.errors import ConfigError
from pagewake.participants.build import host_config
from pagewake.scenario.keys import OFF
from pagewake.scenario.loading import load, loads
from pagewake.scenario.model import Host
from pagewake.scenario.writing import effective_toml

TEXT = """
[scenario]
name = "plain"
duration = "1ms"
[kernel]
profile = "6.12"
[host]
medium = "nvme"
[[vm]]
name = "vm"
vcpus = 1
memory = "1MiB"
[[vm.task]]
name = "worker"
pattern = "work"
"""
AREAS = ("host.zswap={}", 'host.swap=[{medium="zram", size="1MiB"}]')


def order(*sets: str) -> int | None:
    return loads(TEXT, sets=sets).host.window_order


def test_without_the_key_it_is_the_kernels_own() -> None:
    assert order() == 3
    assert order("host.page_cluster=off") is None
    assert order("host.page_cluster=0") == 0


@pytest.mark.parametrize("areas", AREAS)
def test_where_there_are_areas_it_is_off_unless_it_is_asked_for(areas: str) -> None:
    assert order(areas) is None
    assert order(areas, "host.page_cluster=off") is None
    with pytest.raises(ConfigError, match=r'host\.page_cluster = 3: .*: "off", or leave out'):
        order(areas, "host.page_cluster=3")


@pytest.mark.parametrize(("given", "pages"), [("off", 1), ("0", 1), ("3", 8), ("5", 32)])
def test_the_hosts_memory_manager_knows_how_long_a_window_may_be(given: str, pages: int) -> None:
    scenario = loads(TEXT, sets=[f"host.page_cluster={given}"])
    assert host_config(scenario, 0, ["vm-0"]).window_pages == pages


@pytest.mark.parametrize("value", ["-1", "6", "none", "true", '"3"'])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match='whole number from 0 to 5, or "off"'):
        order(f"host.page_cluster={value}")


@pytest.mark.parametrize(("sets", "line"), [((), "= 3"), ((AREAS[0],), '= "off"')])
def test_the_scenario_of_a_log_spells_it_out(sets: tuple[str, ...], line: str) -> None:
    scenario = loads(TEXT, sets=sets)
    text = effective_toml(scenario)
    assert f"page_cluster {line}\n" in text
    assert loads(text) == scenario


def test_a_log_from_before_has_no_read_ahead(tmp_path: Path) -> None:
    for name in ("run.toml", "mine.toml"):
        (tmp_path / name).write_text(TEXT, "utf-8")
    assert load(str(tmp_path / "run.toml")).host.page_cluster == OFF
    assert load(str(tmp_path / "mine.toml")).host.page_cluster == 3
    again = load(str(tmp_path / "run.toml"), ["host.page_cluster=2"])
    assert again.host.page_cluster == 2


def test_a_host_that_no_file_gave_has_the_same_default() -> None:
    assert Host(medium=loads(TEXT).host.medium).window_order == 3
