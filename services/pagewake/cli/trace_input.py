"""The trace that a command reads: a file, or standard input, with a bar for how far it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from pagewake.cli.progress import reading
from pagewake.errors import ConfigError
from pagewake.scenario.keys import BadValueError
from pagewake.scenario.library import find_trace
from pagewake.scenario.page_trace import RawFile, Readable

STANDARD_INPUT = "-"
TraceArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="TRACE", help='A trace in any form that a scenario may name; "-": standard input.'
    ),
]


@contextmanager
def opened(trace: str, output: Path | None = None) -> Iterator[tuple[str, RawFile]]:
    """The input and its name in messages; ConfigError if it is the file to write to."""
    with reading() as on_read:
        if trace == STANDARD_INPUT:
            name = "standard input"
            yield name, _raw(sys.stdin.buffer, partial(on_read, Path(name)), 0)
            return
        path = _found(trace)
        if output is not None and output.exists() and output.samefile(path):
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
