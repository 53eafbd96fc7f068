"""reference/cli.md: commands, settings and exit codes, from the command table itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from docs.generate.markdown import code, head, prose, table
from pagewake import errors
from pagewake.cli.app import COMMANDS, command_of
from pagewake.cli.fitting import ANYWAY
from pagewake.cli.guard import INTERRUPTED
from pagewake.cluster.settings import Settings
from pagewake.errors import PagewakeError

ABOUT = """
Results go to stdout, everything else to stderr. `--json` prints a result as JSON. A progress bar
appears on a terminal only.
"""
SETTINGS_ABOUT = """
Services and cluster commands read them from the environment. A flag of the same name, where a
command has one, goes first.
"""
BESIDE = (
    ("`PAGEWAKE_DEBUG`", "", "`1` shows the traceback of an internal error"),
    (f"`{ANYWAY}`", "", "`1` runs what this machine has too little memory for"),
)
"""Of all commands, so they are no settings of services."""


def page() -> str:
    """The whole page."""
    parts = [head("Command line", "the commands themselves", ABOUT)]
    parts += [part for name in COMMANDS for part in _command(name, command_of(name))]
    parts += ["## Settings\n", SETTINGS_ABOUT.lstrip(), _settings()]
    parts += ["## Exit codes\n", _exit_codes()]
    return "\n".join(parts)


def _command(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401
    if hasattr(command, "commands"):
        for inner, each in command.commands.items():
            yield from _command(f"{name} {inner}", each)
        return
    shown = [each for each in command.params if each.name != "help"]
    arguments = " ".join(_placed(each) for each in shown if each.param_type_name == "argument")
    yield f"## pagewake {name}\n"
    yield code(f"pagewake {name} [OPTIONS] {arguments}".strip()) + "\n"
    yield f"{prose_of(command)}\n"
    yield table(["", "default", "is"], [_parameter(each) for each in shown])


def prose_of(command: Any) -> str:  # noqa: ANN401
    """The help of a command, on one line."""
    return " ".join((command.help or "").split())


def _placed(argument: Any) -> str:  # noqa: ANN401
    named = argument.metavar or argument.name.upper()
    return named if argument.required else f"[{named.strip('[]')}]"


def _parameter(each: Any) -> tuple[str, str, str]:  # noqa: ANN401
    required = "**required**" if each.required else ""
    default = code(each.default) if _says_something(each.default) else required
    if each.param_type_name == "argument":
        return code(_placed(each)), default, each.help or ""
    value = "" if getattr(each, "is_flag", False) else f" {each.metavar or _kind(each)}"
    repeated = "; repeatable" if each.multiple else ""
    return code(", ".join(each.opts) + value), default, (each.help or "").rstrip(".") + repeated


def _says_something(default: object) -> bool:
    return default not in (None, "", False, ()) and not callable(default)


def _kind(option: Any) -> str:  # noqa: ANN401
    return {int: "N", float: "X"}.get(option.type_descriptor.annotation, "TEXT")


def _settings() -> str:
    rows = [
        (code(f"PAGEWAKE_{name.upper()}"), _default(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return table(["variable", "default", "is"], [*rows, *BESIDE])


def _default(field: FieldInfo) -> str:
    return code(field.default) if field.default_factory is None and field.default else ""


def _exit_codes() -> str:
    kinds = [kind for kind in PagewakeError.__subclasses__() if kind.__module__ == errors.__name__]
    named = {kind.exit_code: prose(kind) for kind in kinds}
    rows = {0: "Ok.", **named, INTERRUPTED: "Interrupted."}
    return table(["code", "means"], [(code(number), rows[number]) for number in sorted(rows)])
