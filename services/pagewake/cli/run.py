"""`pagewake run`: one scenario, embedded, as fast as the CPU allows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pagewake.cli.check import CheckOption, check
from pagewake.cli.fitting import refuse_start
from pagewake.cli.loading import load, tell_hints
from pagewake.cli.options import (
    JobsOption,
    JournalOption,
    JsonOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    ShardsOption,
)
from pagewake.cli.output import print_json
from pagewake.cli.parallel import run_all
from pagewake.cli.places import refuse_place
from pagewake.cli.report import NoRoomError, ReportOption, log_for, write_run
from pagewake.cli.screen import print_result
from pagewake.cli.tables import run_table
from pagewake.engine.run import RunOrder
from pagewake.errors import ConfigError
from pagewake.events.journal import JournalMode, check_mode
from pagewake.observe.result import RunResult

LogOption = Annotated[
    Path | None,
    typer.Option(
        "--log",
        metavar="DIR",
        help="Write the event log to this new directory.",
        show_default=False,
    ),
]


def run(
    scenario: ScenarioArgument,
    seed: SeedOption = None,
    sets: SetOption = None,
    shards: ShardsOption = 1,
    jobs: JobsOption = None,
    log: LogOption = None,
    report: ReportOption = None,
    journal: JournalOption = "full",
    as_json: JsonOption = False,
    checked: CheckOption = False,
) -> None:
    """Run a scenario and print what came of it.

    `pagewake explain WORD` says what a word of it means.
    """
    kept = _kept(journal, log, report)
    loaded = load(scenario, sets or (), seed)
    refuse_start(loaded)
    refuse_place(report, log)
    tell_hints([loaded])
    try:
        with log_for(report, log) as written:
            order = RunOrder(loaded, shards, written, journal=kept)
            (result,) = run_all([order], jobs)
            _show(result, as_json=as_json)
            if report is not None and written is not None:
                write_run(report, written, result)
    except NoRoomError:  # the same run once more, for its figures
        (result,) = run_all([RunOrder(loaded, shards)], jobs)
        _show(result, as_json=as_json)
        raise
    check((loaded.name, result), also_wrongs=checked)


def _show(result: RunResult, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        print_result(*run_table(result))


def _kept(journal: str, log: Path | None, report: Path | None) -> JournalMode:
    """How much of the journal goes into the log; ConfigError for nothing, or too little, of it."""
    mode = check_mode(journal)
    if mode != "full" and log is None:
        raise ConfigError(f"--journal {mode} is for a log: give --log with it")
    if mode != "full" and report is not None:
        raise ConfigError(f"--report is made from the whole journal: leave out --journal {mode}")
    return mode
