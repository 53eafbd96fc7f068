"""`pagewake trace-reduce`: a recorded program in fewer rows, also while it is being recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pagewake.cli.guard import complain
from pagewake.cli.output import replacing
from pagewake.cli.places import Kind, refuse_place
from pagewake.cli.trace_input import TraceArgument, opened
from pagewake.errors import ConfigError
from pagewake.scenario.page_trace import read_trace
from pagewake.scenario.trace_reduce import Reduction, write_rows

REDUCED = Kind("a reduced trace", b"")
"""Any file may be written over, if it is forced."""

OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE.csv",
        help="Where to write it; packed if the name ends in .gz or .xz.",
    ),
]
RecentOption = Annotated[
    int,
    typer.Option(
        "--recent",
        metavar="PAGES",
        min=0,
        help="Leave out accesses to so many pages used last: much smaller, and no longer exact.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


def trace_reduce(
    trace: TraceArgument,
    output: OutputOption,
    recent: RecentOption = 0,
    force: ForceOption = False,
) -> None:
    """Write a trace in the page format, in fewer rows that replay to the same digest."""
    with opened(trace, output) as (name, raw):
        refuse_place(output, kind=REDUCED)
        if output.exists() and not force:
            raise ConfigError(f"{output} exists: name another file, or add --force")
        reductions: list[Reduction] = []
        replacing(
            output,
            lambda temporary: reductions.append(
                write_rows(temporary, output.name, read_trace(name, raw), recent)
            ),
        )
    (done,) = reductions
    complain(
        f"{output} written: {done.accesses:,} accesses to {done.pages:,} pages became"
        f" {done.rows:,} rows, {output.stat().st_size:,} bytes"
    )
