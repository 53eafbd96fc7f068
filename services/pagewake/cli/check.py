"""Exit 1 of commands that print results: an `[[expect]]` was missed, a guest's kernel panicked, or,
with `--check`, anything else went wrong.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from pagewake.cli.tables import missed
from pagewake.errors import CheckFailedError
from pagewake.observe.result import RunResult
from pagewake.observe.wrong import panics, wrongs

CheckOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--check", help="Exit 1 if a task was killed, a wake-up lost or a READY not sent."
    ),
]


def check(*named: tuple[str, RunResult], also_wrongs: bool) -> None:
    """CheckFailedError that says, by the name of a run, what was missed or went wrong in which."""
    found = [
        (which, [*missed(result), *(wrongs(result) if also_wrongs else panics(result))])
        for which, result in named
    ]
    told = [f"{which}: {'; '.join(clauses)}" for which, clauses in found if clauses]
    if told:
        raise CheckFailedError("\n  ".join(told))
