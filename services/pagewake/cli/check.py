"""`--check` of commands that print results: exit 1 where something went wrong in a run."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from pagewake.errors import CheckFailedError
from pagewake.observe.result import RunResult
from pagewake.observe.wrong import wrongs

CheckOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--check", help="Exit 1 if a task was killed, a wake-up lost or a READY not sent."
    ),
]


def check(result: RunResult, which: str) -> None:
    """CheckFailedError if something went wrong in this run; `which` names it."""
    found = list(wrongs(result))
    if found:
        raise CheckFailedError(f"{which}: {'; '.join(found)}")
