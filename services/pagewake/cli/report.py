"""`pagewake report`: a log as one self-contained page; and `--report` of `run` and `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Annotated, TypeAlias

import typer

from pagewake.cli.guard import complain
from pagewake.cli.options import LogArgument
from pagewake.cli.output import replacing
from pagewake.cli.places import probe, refuse_place
from pagewake.cli.versions import need_journal, tell_version
from pagewake.errors import ConfigError
from pagewake.observe.result import RunResult
from pagewake.recorded.log import RecordingReader, is_recording
from pagewake.scenario.model import Scenario

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE.html", help="Where to write the page.")
]
ReportOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Write a page with figures and pictures, complete in itself.",
        show_default=False,
    ),
]


def report(log: LogArgument, output: OutputOption) -> None:
    """Write a log as one HTML page: verdict, figures, pictures."""
    refuse_place(output, log)
    if is_recording(log):
        from pagewake.recorded.page import page_of_recording  # noqa: PLC0415 - loads matplotlib

        write_page(output, page_of_recording(RecordingReader(log)))
        return
    need_journal(log, "report")
    tell_version(log)
    write_run(output, log)


class NoRoomError(ConfigError):
    """The log that a page is made from does not fit where temporary files go."""


@contextmanager
def log_for(output: Path | None, log: Path | None) -> Iterator[Path | None]:
    """A directory for the log that a page is made from: the one to keep, or a temporary one."""
    if output is None or log is not None:
        yield log
        return
    probe(Path(gettempdir()), f"TMPDIR ({gettempdir()})")
    with TemporaryDirectory(prefix="pagewake-") as directory:
        try:
            yield Path(directory) / "log"
        except ConfigError as error:
            if directory not in str(error):
                raise
            why = getattr(error.__cause__, "strerror", None) or "cannot be written"
            raise NoRoomError(
                f"TMPDIR ({gettempdir()}) has the log that {output} is made from: {why}; set TMPDIR"
                " to a place with more room, or keep the log elsewhere (--log)"
            ) from None


def write_run(output: Path, log: Path, result: RunResult | None = None) -> None:
    """The page of a log; `result` is what its run counted, where that is known."""
    from pagewake.observe.report.page import page_of_log  # noqa: PLC0415 - loads matplotlib

    page = page_of_log(log, result)
    write_page(output, page)


def write_grid(
    output: Path,
    cells: Sequence[Mapping[str, str]],
    results: Sequence[RunResult],
    scenario: Scenario,
    command: str,
) -> None:
    """The page of a grid; `scenario` is that of its first point."""
    from pagewake.observe.report.grids import Point  # noqa: PLC0415 - as above
    from pagewake.observe.report.page import page_of_grid  # noqa: PLC0415 - as above

    points = [Point(cell, result) for cell, result in zip(cells, results, strict=True)]
    write_page(output, page_of_grid(points, scenario, command))


def write_page(output: Path, page: str) -> None:
    """Write a page, whole or not at all, and say so."""
    replacing(output, lambda temporary: _fill(temporary, page))
    complain(f"{output} written; open it in a browser")


def _fill(path: Path, page: str) -> None:
    path.write_text(page, encoding="utf-8")
