"""The command table: one file per command."""

from __future__ import annotations

from typing import Annotated

import typer

from pagewake import __version__
from pagewake.cli.benchmark import benchmark
from pagewake.cli.cluster import export, runs, submit
from pagewake.cli.compare import compare
from pagewake.cli.conformance import conformance
from pagewake.cli.output import print_line
from pagewake.cli.replay import replay
from pagewake.cli.run import run
from pagewake.cli.scenarios import scenarios
from pagewake.cli.serve import serve
from pagewake.cli.trace import trace
from pagewake.cli.verify import verify

app = typer.Typer(
    name="pagewake",
    help="KVM's asynchronous page fault protocol as a deterministic simulation.",
    epilog="Exit codes: 0 ok, 1 a check failed, 2 usage or configuration, 65 bad input data,"
    " 69 broker unreachable, 70 internal error, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    run, compare, benchmark, scenarios, conformance, verify, replay, trace, serve, submit, export,
):  # fmt: skip
    app.command()(command)
app.add_typer(runs, name="runs")


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"pagewake {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """KVM's asynchronous page fault protocol as a deterministic simulation."""
