"""The command table: one file per command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from pagewake import __version__
from pagewake.cli.benchmark import benchmark
from pagewake.cli.cluster import export, runs, submit
from pagewake.cli.compare import compare
from pagewake.cli.conformance import conformance
from pagewake.cli.load import load
from pagewake.cli.output import deliver, print_line
from pagewake.cli.replay import replay
from pagewake.cli.report import report
from pagewake.cli.run import run
from pagewake.cli.scenarios import scenarios
from pagewake.cli.serve import serve
from pagewake.cli.top import top
from pagewake.cli.trace import trace
from pagewake.cli.verify import verify
from pagewake.errors import ConfigError


class _Command(TyperCommand):
    """A command whose help goes the way of results."""

    def format_help(self, *where: Any) -> None:  # noqa: ANN401
        deliver(lambda: TyperCommand.format_help(self, *where))


class _Group(TyperGroup):
    """A group of commands that words its errors as `_Command` does."""

    def format_help(self, *where: Any) -> None:  # noqa: ANN401
        deliver(lambda: TyperGroup.format_help(self, *where))


app = typer.Typer(
    name="pagewake",
    cls=_Group,
    help="KVM's asynchronous page fault protocol as a deterministic simulation.",
    epilog="Exit codes: 0 ok, 1 a check failed, 2 usage or configuration, 65 bad input data,"
    " 69 broker unreachable or refusing, 70 internal error, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    run, compare, benchmark, scenarios, conformance, verify, replay, trace, report, serve, submit,
    export, top, load,
):  # fmt: skip
    app.command()(command)
app.add_typer(runs, name="runs", cls=_Group)
for listed in (*app.registered_commands, *runs.registered_commands):
    listed.cls = _Command


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


def call(arguments: Sequence[str] | None = None) -> None:
    """Execute one command line, this process's own by default; a wrong one is a ConfigError."""
    try:
        code = app(arguments, prog_name="pagewake", standalone_mode=False)
    except TyperException as error:
        told = error.format_message()
        if not told:  # no command at all: the help was the answer
            raise SystemExit(error.exit_code) from None
        context = getattr(error, "ctx", None)
        hint = f' ("{context.command_path} -h" says more)' if context else ""
        raise ConfigError(f"{told}{hint}") from None
    raise SystemExit(code)
