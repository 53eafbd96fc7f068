"""`compare --resume`: finished points of a grid in a file of JSON lines, so that none is run twice.

A line is one point: its axes, its key, and the object that `run --json` prints. The key is a digest
of all that a result depends on: the scenario as executed, its seed, and the version of pagewake. A
line is written at once when its point is finished; one that was torn (the disk was full, the power
went) is dropped, and its point runs again. A file that holds anything else than points of this grid
is refused and left as it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import typer

from pagewake import __version__
from pagewake.cli.output import replacing
from pagewake.cli.places import POINTS, refuse_place
from pagewake.errors import ConfigError
from pagewake.observe.result import RunResult
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml

ResumeOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE.jsonl",
        help="Keep each finished point in this file, and run only those that are not in it.",
        show_default=False,
    ),
]


class _Line(msgspec.Struct):
    """What a line says beside the result itself."""

    axes: dict[str, str]
    point: str
    version: str


def key_of(scenario: Scenario) -> str:
    """What a result of this scenario is filed under."""
    return hashlib.sha256(effective_toml(scenario, __version__).encode()).hexdigest()


class Kept:
    """The points of a grid that are finished; in `path`, if there is one."""

    def __init__(
        self,
        path: Path | None,
        cells: Sequence[Mapping[str, str]],
        scenarios: Sequence[Scenario],
    ) -> None:
        """Reads what is there; ConfigError for a file that is not of this grid."""
        self.results: dict[int, RunResult] = {}
        self._path = path
        self.cells = cells
        if path is None:
            return
        self._keys = [key_of(scenario) for scenario in scenarios]
        refuse_place(path, kind=POINTS)
        if path.exists():
            self._read(path)

    def add(self, index: int, result: RunResult) -> None:
        """A point is finished."""
        self.results[index] = result
        if self._path is not None:
            self._append(self._path, self._text(index, result))

    @property
    def missing(self) -> list[int]:
        """The points that are still to be run."""
        return [index for index in range(len(self.cells)) if index not in self.results]

    def in_order(self) -> tuple[list[Mapping[str, str]], list[RunResult]]:
        """The finished points, in the order of the grid, and their results."""
        finished = sorted(self.results)
        return [self.cells[n] for n in finished], [self.results[n] for n in finished]

    def _text(self, index: int, result: RunResult) -> bytes:
        fields: dict[str, Any] = msgspec.to_builtins(result)
        line = {"axes": self.cells[index], "point": self._keys[index], **fields}
        return msgspec.json.encode(line) + b"\n"

    def _append(self, path: Path, line: bytes) -> None:
        try:
            with path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error

    def _read(self, path: Path) -> None:
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        whole, end, torn = text.rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), 1):
            self._take(f"{path}:{number}", line)
        if torn:
            replacing(path, lambda temporary: _write(temporary, whole + end))

    def _take(self, where: str, line: bytes) -> None:
        try:
            found = msgspec.json.decode(line, type=_Line)
            result = msgspec.json.decode(line, type=RunResult)
        except msgspec.DecodeError:
            raise ConfigError(
                f"{where}: not a finished point as --resume keeps it: name a file of its own"
            ) from None
        if found.version != __version__:
            raise ConfigError(
                f"{where}: written by pagewake {found.version}, this is {__version__}: "
                "results of both in one table would not compare; name another file"
            )
        if found.point not in self._keys:
            point = ", ".join(f"{key}={value}" for key, value in found.axes.items())
            raise ConfigError(
                f"{where}: the point {point} of {result.scenario}, seed {result.seed}, is not in "
                "this grid, or was run with other settings: name another file"
            )
        self.results[self._keys.index(found.point)] = result


def _write(path: Path, text: bytes) -> None:
    path.write_bytes(text)
