"""`pagewake compare`: the same workload across a grid of settings, one table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import product
from typing import Annotated

import msgspec
import typer

from pagewake.cli.loading import load
from pagewake.cli.options import JobsOption, JsonOption, ScenarioArgument, SeedOption, SetOption
from pagewake.cli.output import print_json
from pagewake.cli.parallel import run_all
from pagewake.cli.report import ReportOption, refuse_place, write_grid
from pagewake.cli.screen import print_text
from pagewake.cli.tables import compare_table
from pagewake.errors import ConfigError
from pagewake.observe.result import RunResult
from pagewake.scenario.loading import settings_of
from pagewake.scenario.settings import parse_axis

MAX_CELLS = 1000
"""A grid is held in memory and printed as one table; more is a typing error, or hours."""

AxisOption = Annotated[
    list[str],
    typer.Option(
        "--axis",
        metavar="KEY=A,B,...",
        help="Values of one key to run with; several axes make a grid.",
    ),
]


def compare(
    scenario: ScenarioArgument,
    axis: AxisOption,
    seed: SeedOption = None,
    sets: SetOption = None,
    jobs: JobsOption = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a scenario at every point of a grid and print one table."""
    cells = grid(axis)
    refuse_twice_set(cells[0], seed, sets or ())
    # All points are checked before the first one runs.
    refuse_place(report)
    scenarios = [load(scenario, sets or (), seed, axes=settings_of(cell)) for cell in cells]
    results = run_all(scenarios, jobs)
    if as_json:
        print_json([_with_axes(cell, result) for cell, result in zip(cells, results, strict=True)])
    else:
        print_text(compare_table(cells, results))
    if report is not None:
        command = again(scenario, axis, seed, sets or ())
        write_grid(report, cells, results, scenarios[0], command)


def again(scenario: str, axes: Sequence[str], seed: int | None, sets: Sequence[str]) -> str:
    """The command line of a grid, for whoever reads its page."""
    words = ["pagewake", "compare", scenario]
    words += [word for axis in axes for word in ("--axis", axis)]
    words += [] if seed is None else ["--seed", str(seed)]
    words += [word for change in sets for word in ("--set", change)]
    return shlex.join(words)


def grid(axes: Sequence[str]) -> list[dict[str, str]]:
    """Every combination of the axes' values, the last axis moving fastest."""
    values: dict[str, Sequence[str]] = {}
    for text in axes:
        key, choices = parse_axis(text)
        if key in values:
            raise ConfigError(f"--axis {text}: {key} is an axis already; give each key once")
        values[key] = choices
    cells = [dict(zip(values, point, strict=True)) for point in product(*values.values())]
    if len(cells) > MAX_CELLS:
        raise ConfigError(f"--axis: {len(cells)} runs are more than {MAX_CELLS}; use fewer values")
    return cells


def refuse_twice_set(cell: dict[str, str], seed: int | None, sets: Sequence[str]) -> None:
    """A key that an axis moves can have no other value: the table would say what was not run."""
    if seed is not None and "scenario.seed" in cell:
        raise ConfigError(f"--seed {seed}: scenario.seed is an axis already; give it once")
    for text in sets:
        key = text.partition("=")[0].strip()
        if key in cell:
            raise ConfigError(f"--set {text}: {key} is an axis already; give it once")


def _with_axes(cell: dict[str, str], result: RunResult) -> dict[str, object]:
    builtins: dict[str, object] = msgspec.to_builtins(result)
    return {"axes": cell, **builtins}
