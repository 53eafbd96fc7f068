"""What a cluster pays for: how many windows a run takes, each a round trip through its broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.bus.log_reader import LogReader
from pagewake.engine.run import run_scenario
from pagewake.events.codec import FAULTS
from pagewake.scenario.loading import load
from pagewake.verify.log_run import LogRun, ShardWindow

WINDOWS_A_PAGE_IN = 1.2
EMPTY = 0.1


def windows_of(log: Path) -> list[ShardWindow]:
    run = LogRun(LogReader(log))
    return [window for host in run.hosts() for window in run.windows(host)]


def is_empty(window: ShardWindow) -> bool:
    """Did the host hear nothing in it?"""
    return not any(placed.file.startswith(FAULTS) for placed in window.own)


@pytest.mark.parametrize("apf", ["off", "nonpv", "pv"])
def test_one_vm_with_a_disk_needs_about_one_window_a_page_in(apf: str, tmp_path: Path) -> None:
    scenario = load("natapov-2010", [f"kernel.apf={apf}", "scenario.duration=4s"])
    result = run_scenario(scenario, log_dir=tmp_path / "log")
    windows = windows_of(tmp_path / "log")
    assert result.windows == len(windows)
    assert result.page_ins > 300
    assert len(windows) <= WINDOWS_A_PAGE_IN * result.page_ins
    assert sum(map(is_empty, windows)) <= EMPTY * len(windows)


@pytest.mark.parametrize("name", ["database", "nested", "overcommit", "web"])
def test_windows_of_a_host_with_one_shard_are_hardly_ever_empty(name: str, tmp_path: Path) -> None:
    run_scenario(load(name, ["scenario.duration=100ms"]), log_dir=tmp_path / "log")
    windows = windows_of(tmp_path / "log")
    assert len(windows) > 20
    assert sum(map(is_empty, windows)) <= EMPTY * len(windows)
