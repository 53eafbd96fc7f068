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


def check(*named: tuple[str, RunResult]) -> None:
    """CheckFailedError that says, by the name of a run, what went wrong in which of them."""
    found = [(which, list(wrongs(result))) for which, result in named]
    told = [f"{which}: {'; '.join(clauses)}" for which, clauses in found if clauses]
    if told:
        raise CheckFailedError("\n  ".join(told))
