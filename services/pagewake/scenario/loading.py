"""Loads a scenario: a built-in name or a file, command-line settings on top, all of it checked.

Whatever is wrong ends as one `ConfigError` that names file, line, key, the offending value and a
valid one; wrong content of a trace file is a `DataError`.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import msgspec

from pagewake.errors import ConfigError, DataError
from pagewake.scenario.arrivals import read_arrivals
from pagewake.scenario.checks import check_scenario
from pagewake.scenario.earlier import fill_in
from pagewake.scenario.keys import BadValueError, show
from pagewake.scenario.library import find_file, find_scenario, find_trace
from pagewake.scenario.locate import Path as KeyPath
from pagewake.scenario.locate import dotted, key_lines, line_of
from pagewake.scenario.model import Scenario, Task, Vm
from pagewake.scenario.overcommit import overcommitted
from pagewake.scenario.page_trace import OnRead, trace_file
from pagewake.scenario.reading import read_struct
from pagewake.scenario.settings import OVERCOMMIT, assign, split_assignment

_TOML_PLACE = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


class _Source(NamedTuple):
    """A document that is being loaded, and where each of its values comes from."""

    label: str
    text: str
    origins: dict[KeyPath, str]

    def give(self, path: KeyPath, origin: str) -> None:
        """Note that an option gives a value; ConfigError if another one gave it."""
        if path in self.origins:
            before = self.origins[path]
            raise ConfigError(f"{origin}: {dotted(path)} is given by {before} too: give it once")
        self.origins[path] = origin

    def place(self, path: KeyPath) -> str:
        """The option or the file and line that a value comes from."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        line = line_of(key_lines(self.text), path)
        return self.label if line is None else f"{self.label}:{line}"


def load(
    name_or_path: str,
    sets: Sequence[str] = (),
    seed: int | None = None,
    axes: Sequence[str] = (),
    on_read: OnRead | None = None,
) -> Scenario:
    """The scenario of a built-in name or a file, with `--set`, `--axis` and `--seed` applied."""
    path = find_scenario(name_or_path)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text: a scenario is a TOML file in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as a scenario: {_reason(error)}") from None
    if text.startswith("\ufeff"):
        raise ConfigError(f"{path}:1: begins with a byte order mark: save it as UTF-8 without one")
    return loads(text, str(path), path.parent, sets, seed, axes, on_read)


def loads(
    text: str,
    label: str = "scenario",
    base: Path = Path(),
    sets: Sequence[str] = (),
    seed: int | None = None,
    axes: Sequence[str] = (),
    on_read: OnRead | None = None,
) -> Scenario:
    """Load a scenario from text; relative trace files are looked up in `base`."""
    document = _parse(text, label)
    fill_in(document, label)
    source = _Source(label, text, {})
    factor: str | None = None
    for option, texts in (("--set", sets), ("--axis", axes)):
        for assignment in texts:
            path, value = split_assignment(option, assignment)
            source.give(path, f'{option} "{assignment}"')
            if path == OVERCOMMIT:
                factor = value
            else:
                assign(document, path, value, source.origins[path])
    if seed is not None:
        source.give(("scenario", "seed"), f"--seed {seed}")
        document.setdefault("scenario", {})["seed"] = seed
    try:
        scenario = _with_files(read_struct(Scenario, document), _Files(base, on_read))
        if factor is not None:
            _refuse_both(source.origins)
            scenario = overcommitted(scenario, factor)
        check_scenario(scenario, document)
        scenario = msgspec.structs.replace(scenario, host=scenario.host.spelled_out())
    except BadValueError as error:
        place = source.place(error.at)
        raise ConfigError(f"{place}: {_named(document, error)}: {error}") from None
    return scenario


def _refuse_both(origins: Mapping[KeyPath, str]) -> None:
    if ("host", "memory") in origins:
        raise BadValueError("it is the host's memory, which host.memory gives too", OVERCOMMIT)


def _named(document: object, error: BadValueError) -> str:
    """The key that an error is about, with its value unless the message has it already."""
    value = document
    for part in error.at:
        value = _inside(value, part)
    shown = "" if isinstance(value, (dict, list, NoneType)) else show(value)
    return dotted(error.at) + (f" = {shown}" if shown and shown not in str(error) else "")


def _inside(holder: object, part: str | int) -> object:
    if isinstance(holder, dict):
        return holder.get(part)
    if isinstance(holder, list) and isinstance(part, int) and part < len(holder):
        return holder[part]
    return None


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _parse(text: str, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{label}: tables or lists are nested too deep to be read") from None
    except ValueError as error:  # TOMLDecodeError, or a number beyond all digits
        found = _TOML_PLACE.match(str(error))
        problem, line, column = found.groups() if found else (str(error), None, None)
        number = int(line) if line else text.count("\n") + 1
        lines = text.splitlines()
        shown = lines[number - 1].strip()[:80] if 0 < number <= len(lines) else ""
        where = f"{label}:{number}" + (f":{column}" if column else "")
        raise ConfigError(f'{where}: not valid TOML: {problem}: "{shown}"') from None


class _Files(NamedTuple):
    """Where relative names of files are looked up, and who is told how far a trace is read."""

    base: Path
    on_read: OnRead | None

    def named(self, task: Task) -> Task:
        """The task with its file found and checked, under a name that finds it again."""
        if task.trace is not None:
            return self._traced(task, task.trace)
        if task.arrivals_file is not None:
            return self._arriving(task, task.arrivals_file)
        return task

    def _arriving(self, task: Task, name: str) -> Task:
        name, path = find_file(name, self.base)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadValueError(f'"{path}" cannot be read: {error.strerror}') from None
        _check_digest(path, digest, task.arrivals_sha256)
        read_arrivals(path)
        return msgspec.structs.replace(task, arrivals_file=name, arrivals_sha256=digest)

    def _traced(self, task: Task, name: str) -> Task:
        name, path = find_trace(name, self.base)
        try:
            trace, digest = trace_file(path, self.on_read)
        except OSError as error:
            raise BadValueError(f'"{path}" cannot be read: {error.strerror}') from None
        _check_digest(path, digest, task.trace_sha256)
        return msgspec.structs.replace(
            task, trace=name, trace_sha256=digest, trace_pages=trace.pages
        )


def _check_digest(path: Path, digest: str, known: str | None) -> None:
    if known not in (None, digest):
        raise DataError(
            f"{path}: not the file this scenario was executed with: its SHA-256 is {digest}, "
            f"not {known}"
        )


def _with_files(scenario: Scenario, files: _Files) -> Scenario:
    vms = tuple(_vm_files(vm, files, ("vm", index)) for index, vm in enumerate(scenario.vms))
    return msgspec.structs.replace(scenario, vms=vms)


def _vm_files(vm: Vm, files: _Files, path: KeyPath) -> Vm:
    tasks: list[Task] = []
    for index, task in enumerate(vm.tasks):
        name = "arrivals_file" if task.trace is None else "trace"
        try:
            tasks.append(files.named(task))
        except BadValueError as error:
            raise BadValueError(str(error), (*path, "task", index, name)) from None
    return msgspec.structs.replace(vm, tasks=tuple(tasks))


def settings_of(assignments: Mapping[str, str]) -> list[str]:
    """The `axes` argument of `load` for one point of a grid."""
    return [f"{key}={value}" for key, value in assignments.items()]
