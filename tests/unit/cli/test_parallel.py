"""Runs side by side: in order, and no wait for a process that is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from pagewake.cli.parallel import run_all
from pagewake.errors import InternalError
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
