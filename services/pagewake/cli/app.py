"""The command table: one file per command, imported when its command is the one that was given.

Libraries are most of what a start takes (numpy, aiokafka, pydantic-settings, prometheus_client),
and no command needs all of them; `--help` and `--version` need none. Help is plain text because
rich, drawing it, took longer than all else of a start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import getdoc
from keyword import iskeyword
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from pagewake import __version__
from pagewake.cli.output import deliver, print_line
from pagewake.errors import ConfigError
from pagewake.simtime.state import CORE

COMMANDS = {
    "run": ("run", "Run a scenario and print what came of it."),
    "compare": ("compare", "Run a scenario at every point of a grid and print one table."),
    "benchmark": (
        "benchmark",
        "Run a scenario in the three modes of 2010 and print them beside the published figures.",
    ),
    "scenarios": (
        "scenarios",
        "List the built-in scenarios, the kernel profiles, or the events of a scenario.",
    ),
    "profiles": (
        "profiles",
        "List the kernel profiles and their switches; of two, say what differs, with the commits.",
    ),
    "explain": (
        "explain",
        "Say what a word of an output or a scenario means; without one, list those of outputs.",
    ),
    "errata": (
        "errata",
        "List known defects, or run one as it was and mended; exit 1 if it is not so.",
    ),
    "explore": (
        "explore",
        "Try every order in which a small machine can do things; exit 1 if anything breaks in one.",
    ),
    "conformance": (
        "conformance",
        "Run vector files; exit 1 if a row fails, naming the first ones.",
    ),
    "verify": (
        "verify",
        "Check a log's integrity and every invariant; exit 1 if anything is wrong in it.",
    ),
    "replay": (
        "replay",
        "Execute a log's scenario again and compare digests; exit 1 if they differ.",
    ),
    "import": (
        "import_",
        "Read a recording of a real kernel into a log directory; exit 1 if it breaks a rule.",
    ),
    "watch": (
        "watch",
        "Follow a growing recording and serve its metrics, by the names that a run's have.",
    ),
    "trace": ("trace", "Write a log as a Chrome/Perfetto trace in simulated time."),
    "trace-info": (
        "trace_info",
        "Say what is in a trace: pages, working set, and expected page-ins at every limit.",
    ),
    "trace-reduce": (
        "trace_reduce",
        "Write a trace in the page format, in fewer rows that replay to the same digest.",
    ),
    "report": ("report", "Write a log as one HTML page: verdict, figures, pictures."),
    "fit": (
        "fit",
        "Make a scenario of a recording, run it, and print the figures of both side by side.",
    ),
    "serve": (
        "serve",
        "Run one service of a cluster; it waits for runs and executes what it owns of them.",
    ),
    "submit": ("cluster", "Run a scenario on a cluster."),
    "export": (
        "export",
        "Copy a cluster's run into a log directory, or write any run as ftrace text.",
    ),
    "top": ("top", "Watch the runs of a cluster; keys pause, resume and stop them."),
    "load": ("load", "Measure throughput, latency and cost of growing sizes, and find the knee."),
    "runs": ("cluster", "Runs of a cluster."),
    "plan": (
        "plan",
        "Say what a cluster needs for a scenario: topics, bytes, cores, memory, and for how long.",
    ),
}
"""Each with its module in `pagewake.cli`, and its line of `--help`: the first of its docstring."""


def _deliver_help(formatter: Any) -> None:  # noqa: ANN401 - as `command_of`
    deliver(lambda: sys.stdout.write(formatter.getvalue()))
    formatter.buffer.clear()


class _Command(TyperCommand):
    """A command whose help goes the way of results."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        super().format_help(ctx, formatter)
        _deliver_help(formatter)


class _Group(TyperGroup):
    """A group of commands that words its errors as `_Command` does."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        super().format_help(ctx, formatter)
        _deliver_help(formatter)


class _Commands(_Group):
    """All commands; they are lines of the help until one is executed."""

    def resolve_command(self, *given: Any) -> tuple[Any, Any, list[str]]:  # noqa: ANN401
        name, _, rest = super().resolve_command(*given)
        assert name is not None, "an unknown command is a usage error"
        return name, command_of(name), rest


app = typer.Typer(
    name="pagewake",
    cls=_Commands,
    help="KVM's asynchronous page fault protocol as a deterministic simulation.",
    epilog="What a word of an output means: pagewake explain WORD.\n\n"
    "Exit codes: 0 ok, 1 a check failed, 2 usage or configuration, 65 bad input data,"
    " 69 broker unreachable or refusing, 70 internal error, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command_of(name: str) -> Any:  # noqa: ANN401 - typer keeps its classes to itself
    """A command, imported."""
    module, _ = COMMANDS[name]
    known_as = name.replace("-", "_")
    found = getattr(
        import_module(f"pagewake.cli.{module}"), f"{known_as}_" if iskeyword(name) else known_as
    )
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name, cls=_Command, help=_paragraphs(found))(found)
        return typer.main.get_command(alone)
    found.info.cls = _Group
    for listed in found.registered_commands:
        listed.cls, listed.help = _Command, _paragraphs(listed.callback)
        listed.short_help = listed.help.partition("\n")[0]
    return typer.main.get_command(found)


def _paragraphs(documented: object) -> str:
    """A docstring with a line for each paragraph, so that a terminal of any width can wrap it."""
    paragraphs = (getdoc(documented) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _listed() -> None:
    """Stands in `--help` for a command that is not imported."""


for name, (_, line) in COMMANDS.items():
    app.command(name, short_help=line)(_listed)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"pagewake {__version__} ({CORE})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Version, and whether its core is compiled.",
        ),
    ] = False,
) -> None:
    """KVM's asynchronous page fault protocol as a deterministic simulation."""


def _told(error: TyperException) -> str:
    """What is wrong with a command line; a value by its option, in our words."""
    if not isinstance(error, typer.BadParameter) or error.param is None or error.__cause__ is None:
        return error.format_message()
    from pagewake.cli.own_words import own_words  # noqa: PLC0415 - it loads pydantic

    return f"{error.param.opts[0]}: {own_words(error.__cause__) or error.message}"


def _tell_unknown_settings() -> None:
    """Also for a command that reads none: the variable was set for something."""
    if any(name.upper().startswith("PAGEWAKE_") for name in os.environ):
        from pagewake.cli.cluster import warn_of_unknown  # noqa: PLC0415 - it loads pydantic

        warn_of_unknown(os.environ)


def call(arguments: Sequence[str] | None = None) -> None:
    """Execute one command line, this process's own by default; a wrong one is a ConfigError."""
    _tell_unknown_settings()
    try:
        code = app(arguments, prog_name="pagewake", standalone_mode=False)
    except TyperException as error:
        told = _told(error)
        if not told:  # no command at all: the help was the answer
            raise SystemExit(error.exit_code) from None
        context = getattr(error, "ctx", None)
        hint = f' ("{context.command_path} -h" says more)' if context else ""
        raise ConfigError(f"{told}{hint}") from None
    raise SystemExit(code)
