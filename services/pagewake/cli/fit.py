"""`pagewake fit`: a scenario from an imported recording, and how near a run of it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pagewake.cli.figures import Figures
from pagewake.cli.guard import complain
from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json, replacing
from pagewake.cli.places import Kind, refuse_place
from pagewake.cli.progress import duration
from pagewake.cli.screen import folded, print_text
from pagewake.fit.calibration import Fitted, fitted
from pagewake.fit.evidence import Evidence, evidence_of, tenths_of
from pagewake.fit.reasons import explained
from pagewake.fit.sides import Both, Figure, side_by_side
from pagewake.recorded.log import RecordingReader

SCENARIO = Kind("a fitted scenario", b"# Fitted to")

DirectoryArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="A directory that `pagewake import` wrote.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE.toml", help="Where to write the scenario.",
        show_default=False,
    ),
]  # fmt: skip


def fit(
    directory: DirectoryArgument, output: OutputOption = None, as_json: JsonOption = False
) -> None:
    """Make a scenario of a recording, run it, and print the figures of both side by side."""
    refuse_place(output, directory, SCENARIO)
    evidence = evidence_of(RecordingReader(directory))
    found = fitted(evidence)
    figures = compared(evidence, found)
    if as_json:
        print_json(figures)
    else:
        print_text(*_told(figures))
    if output is not None:
        replacing(output, lambda path: _write(path, found.text))
        complain(f"{output} written; pagewake compare {output} --axis host.medium=empirical,nvme")


def compared(evidence: Evidence, found: Fitted) -> list[Figure]:
    """Every figure of both, with reasons where they are apart."""
    tenths = tenths_of(found.counter.starts_ns, evidence.length_ns)
    both = Both(evidence.figures, found.figures, evidence.tenths, tenths, evidence.unknown)
    return explained(side_by_side(both), both)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _told(figures: list[Figure]) -> list[Figures | str]:
    """The table, and below it the reasons, which it numbers."""
    reasons = list(dict.fromkeys(each.reason for each in figures if each.reason))
    table = Figures(["figure", "recording", "simulated", "error", "why"])
    for each in figures:
        error = "-" if each.error is None else f"{round(100 * each.error):+,} %"
        why = f"({reasons.index(each.reason) + 1})" if each.reason else "?" if each.off else ""
        values = (_value(each, each.recording), _value(each, each.simulated))
        table.add_row(each.what, *values, error, why)
    notes = [folded(f"({number}) {reason}") for number, reason in enumerate(reasons, 1)]
    return [table, *notes]


def _value(figure: Figure, value: float | None) -> str:
    if value is None:
        return "-"
    match figure.unit:
        case "ns":
            return duration(value / 1e9)
        case "share":
            return f"{100 * value:.1f} %"
        case "count":
            return f"{value:,.0f}"
        case _:
            return f"{value:.2f}"
