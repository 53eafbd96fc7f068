"""Recorded vectors against the rules that simulations run by: one report per file.

Format: `vectors.py`; how a row is run, and what of it no simulation does: `vector_runs.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from pagewake.conformance.vector_runs import RUNS, RowError
from pagewake.conformance.vectors import HashRow, Row, VectorFile, read_vectors
from pagewake.errors import DataError


class RowFailure(msgspec.Struct, frozen=True):
    """A row that did not come out as recorded: its name or id, its line, the first difference."""

    file: str
    row: str
    line: int
    detail: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.row}: {self.detail}"


class FileReport(msgspec.Struct, frozen=True):
    """How the rows of one vector file fared."""

    file: str
    family: str
    passed: int
    failed: int
    failures: list[RowFailure]

    @property
    def path(self) -> str:
        return self.file


def run_files(paths: Iterable[Path | str]) -> list[FileReport]:
    """Run every file; all are read and checked before the first one runs."""
    return [_run(file) for file in [read_vectors(Path(path)) for path in paths]]


def _run(file: VectorFile) -> FileReport:
    failures = []
    for place, (line, row) in enumerate(file.rows):
        name = _name(place, row)
        try:
            detail = RUNS[file.family](row)
        except RowError as error:
            message = f"{file.path}:{line}: {name}: {error}"
            raise DataError(message) from None
        if detail is not None:
            failures.append(RowFailure(file.path, name, line, detail))
    passed = len(file.rows) - len(failures)
    return FileReport(file.path, file.family, passed, len(failures), failures)


def _name(place: int, row: Row) -> str:
    if isinstance(row, HashRow):
        return f"vectors[{place}], token {row.token}"
    return str(getattr(row, "name", None) or getattr(row, "id", ""))
