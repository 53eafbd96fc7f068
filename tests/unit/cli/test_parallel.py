"""Runs side by side: in order, and no wait for a process that is gone."""

from __future__ import annotations

import os
import signal
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, cast

import pytest

from pagewake.cli import parallel
from pagewake.cli.parallel import run_all
from pagewake.errors import ConfigError, InternalError
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from tests.unit.cli.support import small_scenario


class _EndsItsProcess:
    """Stands for a scenario whose process is killed while it starts."""

    duration_ns = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def test_results_come_in_the_order_of_the_scenarios(tmp_path: Path) -> None:
    path = small_scenario(tmp_path, "20ms")
    results = run_all([load(path, seed=seed) for seed in (5, 3, 4)], jobs=2)
    assert [result.seed for result in results] == [5, 3, 4]


def test_a_process_that_dies_is_an_error_and_not_a_wait() -> None:
    doomed = cast("Scenario", _EndsItsProcess())
    with pytest.raises(InternalError, match="ended with exit code 9"):
        run_all([doomed, doomed], jobs=2)


def test_the_watching_helper_is_started_before_interruptions_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    def looks() -> None:
        held.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))

    monkeypatch.setattr(resource_tracker, "ensure_running", looks)
    path = small_scenario(tmp_path, "1ms")
    run_all([load(path, seed=seed) for seed in (1, 2)], jobs=1)
    assert held[0] is False


def test_too_little_memory_in_a_process_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(parallel, "run_scenario", fills)
    outcome = parallel._outcome(load(small_scenario(tmp_path)), lambda *_: None)
    assert isinstance(outcome, ConfigError)
