"""The scenarios inside the package, and where a named scenario or trace is found.

A scenario is a TOML file under `builtin/`, a trace a file under `builtin/traces/`; a scenario names
a built-in trace as `builtin:NAME`.
"""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from pathlib import Path

from pagewake.errors import ConfigError, nearest
from pagewake.scenario.keys import BadValueError

_TRACE_SUFFIXES = tuple(
    form + packed for packed in (".gz", ".xz", "") for form in (".csv", ".txt", ".trace")
)
BUILTIN_TRACE = "builtin:"


@functools.cache
def _directory() -> Path:
    return Path(str(importlib.resources.files("pagewake.scenario") / "builtin"))


def builtin_names() -> list[str]:
    """Names of the built-in scenarios, in order."""
    return sorted(path.stem for path in _directory().glob("*.toml"))


def builtin_path(name: str) -> Path:
    return _directory() / f"{name}.toml"


def describe_builtins() -> list[dict[str, str]]:
    """Name and description of every built-in scenario, for `pagewake scenarios`."""
    listed: list[dict[str, str]] = []
    for name in builtin_names():
        about = tomllib.loads(builtin_path(name).read_text("utf-8"))["scenario"]
        texts = {key: str(about.get(key, "")) for key in ("description", "shows", "expects")}
        listed.append({"name": name, **texts})
    return listed


def find_scenario(name_or_path: str) -> Path:
    """The file that a command line names; ConfigError with the nearest names if there is none."""
    if name_or_path in builtin_names():
        return builtin_path(name_or_path)
    path = Path(name_or_path)
    try:
        if path.exists():
            return path
    except OSError as error:  # too long a name, or a directory that may not be looked into
        raise ConfigError(f'"{name_or_path}" cannot be read: {error.strerror}') from None
    beside = [str(path.with_name(other.name)) for other in _siblings(path, ".toml")]
    if path.suffix == ".toml" or path.name != name_or_path:
        hint = nearest(name_or_path, [*beside, *builtin_names()])
        raise ConfigError(f'there is no file "{name_or_path}": {hint}')
    raise ConfigError(
        f'there is no built-in scenario and no file "{name_or_path}": '
        f"{nearest(name_or_path, [*builtin_names(), *beside])} "
        '("pagewake scenarios" lists them)'
    )


def _siblings(path: Path, suffix: str) -> list[Path]:
    try:
        return sorted(other for other in path.parent.iterdir() if other.name.endswith(suffix))
    except OSError:
        return []


def _builtin_traces() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted((_directory() / "traces").iterdir()):
        suffix = next((end for end in _TRACE_SUFFIXES if path.name.endswith(end)), None)
        if suffix is not None:
            found[path.name.removesuffix(suffix)] = path
    return found


def find_trace(name: str, base: Path) -> tuple[str, Path]:
    """How the effective scenario names a trace, and its file; raises `BadValueError`."""
    if name.startswith(BUILTIN_TRACE):
        traces = _builtin_traces()
        stem = name.removeprefix(BUILTIN_TRACE)
        if stem not in traces:
            known = [BUILTIN_TRACE + other for other in traces]
            raise BadValueError(f'there is no trace "{name}": {nearest(name, known)}')
        return name, traces[stem]
    return find_file(name, base, _TRACE_SUFFIXES)


def find_file(name: str, base: Path, suffixes: tuple[str, ...] = ("",)) -> tuple[str, Path]:
    """The same for a file beside the scenario; `suffixes` are those of files to suggest."""
    path = (base / name).absolute()
    try:
        is_there = path.is_file()
    except OSError as error:
        raise BadValueError(f'"{path}" cannot be read: {error.strerror}') from None
    if not is_there and path.is_dir():
        raise BadValueError(f'"{path}" is a directory: name a file')
    if not is_there and path.exists():
        raise BadValueError(
            f'"{path}" is not a regular file: save the trace in one first, as'
            f' "pagewake trace-reduce {path} -o trace.csv" does'
        )
    if not is_there:
        names = [other.name for end in suffixes for other in _siblings(path, end)]
        raise BadValueError(f'there is no file "{path}": {nearest(path.name, names)}')
    return str(path), path


def trace_path(name: str) -> Path:
    """The file of a trace as a loaded scenario names it."""
    return find_trace(name, Path("/"))[1]
