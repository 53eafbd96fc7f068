"""Runs side by side: in order, and no wait for a process that is gone."""

from __future__ import annotations

import signal
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from pagewake.cli import parallel
from pagewake.cli.parallel import run_all
from pagewake.engine.run import RunOrder
from pagewake.errors import ConfigError
from pagewake.scenario.loading import load
from tests.unit.cli.support import small_scenario


def test_results_come_in_the_order_of_the_scenarios(tmp_path: Path) -> None:
    path = small_scenario(tmp_path, "20ms")
    results = run_all([RunOrder(load(path, seed=seed)) for seed in (5, 3, 4)], jobs=2)
    assert [result.seed for result in results] == [5, 3, 4]


def test_the_watching_helper_is_started_before_interruptions_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    def looks() -> None:
        held.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))

    monkeypatch.setattr(resource_tracker, "ensure_running", looks)
    path = small_scenario(tmp_path, "1ms")
    run_all([RunOrder(load(path, seed=seed)) for seed in (1, 2)], jobs=2)
    assert held[0] is False


def test_too_little_memory_in_a_process_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(parallel, "run_scenario", fills)
    order = RunOrder(load(small_scenario(tmp_path)))
    outcome = parallel._outcome(order, lambda *_: None)
    assert isinstance(outcome, ConfigError)
