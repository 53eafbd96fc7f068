"""`pagewake compare`: the same workload across a grid of settings, one table."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pagewake.cli.check import CheckOption, check
from pagewake.cli.fitting import refuse_start
from pagewake.cli.grid_table import compare_table
from pagewake.cli.guard import InterruptedRunError
from pagewake.cli.loading import load, tell_hints
from pagewake.cli.options import JobsOption, JsonOption, ScenarioArgument, SeedOption, SetOption
from pagewake.cli.output import print_json, resolved
from pagewake.cli.parallel import Outcome, run_each
from pagewake.cli.payoff_map import MapOption, map_document, map_parts, refuse_no_map, with_modes
from pagewake.cli.places import refuse_place
from pagewake.cli.report import ReportOption, write_grid
from pagewake.cli.resume import Kept, ResumeOption
from pagewake.cli.screen import folded, print_result
from pagewake.engine.run import RunOrder
from pagewake.errors import ConfigError, PagewakeError
from pagewake.observe.headline import headline
from pagewake.observe.payoff import payoffs
from pagewake.observe.result import RunResult
from pagewake.scenario.loading import settings_of
from pagewake.scenario.model import Scenario
from pagewake.scenario.settings import parse_axis

MAX_CELLS = 2000
"""A grid is held in memory and printed as one table; more is a typing error, or hours."""

AxisOption = Annotated[
    list[str],
    typer.Option(
        "--axis",
        metavar="KEY=A,B,...",
        help="Values of one key, or of overcommit (memory promised to memory there is), the first"
        " of them to compare with; several axes make a grid.",
    ),
]


def compare(
    scenario: ScenarioArgument,
    axis: AxisOption,
    seed: SeedOption = None,
    sets: SetOption = None,
    jobs: JobsOption = None,
    resume: ResumeOption = None,
    report: ReportOption = None,
    as_map: MapOption = False,
    as_json: JsonOption = False,
    checked: CheckOption = False,
) -> None:
    """Run a scenario at every point of a grid and print one table.

    Below it stands what each axis changes, all else equal. What is finished is printed even if a
    point fails, or at Ctrl-C.
    """
    axis = with_modes(axis) if as_map else axis
    cells = grid(axis)
    if as_map:
        refuse_no_map(cells)
    refuse_twice_set(cells[0], seed, sets or ())
    refuse_place(report)
    if resume is not None and report is not None and resolved(resume) == resolved(report):
        raise ConfigError(f"{report}: --resume keeps its points there; name another file")
    scenarios = points(scenario, cells, sets or (), seed)
    tell_hints(scenarios)
    kept = Kept(resume, cells, scenarios)
    try:
        run_missing(kept, scenarios, jobs)
    except InterruptedRunError as stop:
        raise InterruptedRunError(f"{stop}; {_what_next(resume)}") from None
    finally:  # what is finished is printed, whatever became of the rest
        finished, results = kept.in_order()
        if results:
            show(finished, results, as_json, as_map)
            if report is not None:
                command = again(scenario, axis, seed, sets or ())
                write_grid(report, finished, results, scenarios[min(kept.results)], command)
    named = zip(map(label_of, finished), results, strict=True)
    check(*named, also_wrongs=checked)


def _what_next(resume: Path | None) -> str:
    """What becomes of finished points after Ctrl-C."""
    if resume is None:
        return "with --resume FILE.jsonl, finished points are kept for the next time"
    return "the same command goes on from there"


def points(
    scenario: str, cells: Sequence[dict[str, str]], sets: Sequence[str], seed: int | None
) -> list[Scenario]:
    """The scenario of every point; an error that names all points that cannot run, and why."""
    scenarios: list[Scenario] = []
    refused: dict[str, list[str]] = {}
    kinds: list[type[PagewakeError]] = []
    for cell in cells:
        try:
            scenarios.append(load(scenario, sets, seed, axes=settings_of(cell)))
            refuse_start(scenarios[-1])
        except PagewakeError as error:
            refused.setdefault(str(error), []).append(label_of(cell))
            kinds.append(type(error))
    if refused:
        kind = kinds[0] if len(set(kinds)) == 1 else ConfigError
        raise kind(_refusal(refused, len(kinds), len(cells)))
    return scenarios


def _refusal(refused: Mapping[str, Sequence[str]], bad: int, points: int) -> str:
    """Why a grid was not begun."""
    if len(refused) == 1 and bad == points:
        return next(iter(refused))
    lines = [f"{bad} of {points} points cannot run, so none was run:"]
    for why, labels in refused.items():
        lines += [f"  {why}", *(f"    at {label}" for label in labels)]
    return "\n".join(lines)


def run_missing(kept: Kept, scenarios: Sequence[Scenario], jobs: int | None) -> None:
    """Run the points that are not there yet; those that fail are named when all others are done."""
    missing = kept.missing
    names = [label_of(kept.cells[number]) for number in missing]
    failed: list[tuple[str, PagewakeError]] = []

    def take(index: int, outcome: Outcome) -> None:
        if isinstance(outcome, RunResult):
            kept.add(missing[index], outcome)
        else:
            failed.append((names[index], outcome))

    if missing:
        run_each([RunOrder(scenarios[number]) for number in missing], take, jobs, names)
    if failed:
        raise type(failed[0][1])("; ".join(f"at {name}: {error}" for name, error in failed))


def show(
    cells: Sequence[Mapping[str, str]], results: Sequence[RunResult], as_json: bool, as_map: bool
) -> None:
    """Print finished points, or the maps of them."""
    if as_json:
        points = [_with_axes(cell, result) for cell, result in zip(cells, results, strict=True)]
        maps = map_document(payoffs(cells, results)) if as_map else {}
        print_json({**maps, "points": points} if as_map else points)
    elif as_map:
        print_result(*map_parts(payoffs(cells, results)))
    else:
        print_result(compare_table(cells, results), *map(folded, headline(cells, results)))


def label_of(cell: Mapping[str, str]) -> str:
    """A point in words: `host.medium=nvme, kernel.apf=pv`."""
    return ", ".join(settings_of(cell))


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


def _with_axes(cell: Mapping[str, str], result: RunResult) -> dict[str, object]:
    builtins: dict[str, object] = msgspec.to_builtins(result)
    return {"axes": cell, **builtins}
