"""`pagewake trace-reduce`: a recorded program in fewer rows, also while it is being recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pagewake.cli.guard import complain
from pagewake.cli.output import replacing
from pagewake.cli.places import Kind, refuse_place
from pagewake.cli.progress import reading
from pagewake.errors import ConfigError
from pagewake.scenario.keys import BadValueError
from pagewake.scenario.library import find_trace
from pagewake.scenario.page_trace import RawFile, Readable, read_trace
from pagewake.scenario.trace_reduce import Reduction, write_rows

STANDARD_INPUT = "-"
REDUCED = Kind("a reduced trace", b"")
"""Any file may be written over, if it is forced."""

TraceArgument = Annotated[
    str,
    typer.Argument(
        metavar="TRACE", help='A trace in any form that a scenario may name; "-": standard input.'
    ),
]
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
    with _opened(trace, output) as (name, raw):
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


@contextmanager
def _opened(trace: str, output: Path) -> Iterator[tuple[str, RawFile]]:
    """The input and its name in messages, with a bar for what has been read of it."""
    with reading() as on_read:
        if trace == STANDARD_INPUT:
            name = "standard input"
            yield name, _raw(sys.stdin.buffer, partial(on_read, Path(name)), 0)
            return
        path = _found(trace)
        if output.exists() and output.samefile(path):
            raise ConfigError(f"{output} is the trace that is read: name another file to write to")
        with path.open("rb") as file:
            yield str(path), _raw(file, partial(on_read, path), path.stat().st_size)


def _raw(file: Readable, on_read: partial[None], size: int) -> RawFile:
    return RawFile(file, lambda done: on_read(done, size))


def _found(trace: str) -> Path:
    path = Path(trace)
    if path.is_fifo() or path.is_char_device():
        return path
    try:
        return find_trace(trace, Path())[1]
    except BadValueError as error:
        raise ConfigError(str(error)) from None
