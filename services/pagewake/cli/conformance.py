"""`pagewake conformance`: recorded vectors against the rules that simulations run by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json, print_line
from pagewake.conformance.files import FileReport, run_files
from pagewake.errors import CheckFailedError

NAMED_ROWS = 5
"""Per file: the first failures tell what is wrong, and the count tells how much."""


def conformance(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Vector files.")],
    as_json: JsonOption = False,
) -> None:
    """Run vector files; exit 1 if a row fails, naming the first ones.

    What a row expects is decided by the code that simulations run.  Two things of pf-interception
    are not: where interrupts go off and on between its actions, and what the handler returns.
    """
    reports = run_files(files)
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            print_line(f"{report.family} {report.passed} {report.failed}")
    failed = [report for report in reports if report.failed]
    if failed:
        raise CheckFailedError(_verdict(failed))


def _verdict(failed: list[FileReport]) -> str:
    lines = [f"{sum(report.failed for report in failed)} rows failed"]
    for report in failed:
        lines += [f"  {failure}" for failure in report.failures[:NAMED_ROWS]]
        if report.failed > NAMED_ROWS:
            lines.append(f"  {report.path}: and {report.failed - NAMED_ROWS} more")
    return "\n".join(lines)
