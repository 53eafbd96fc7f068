"""`pagewake trace-info`: what a trace says before it is simulated."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from pagewake.cli.figures import Counted, Figures
from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json
from pagewake.cli.places import refuse_place
from pagewake.cli.report import ReportOption, write_page
from pagewake.cli.screen import folded, print_text
from pagewake.cli.trace_input import TraceArgument, opened
from pagewake.errors import ConfigError
from pagewake.observe.trace_facts import HEADINGS, facts, remark, row
from pagewake.scenario.page_trace import read_format
from pagewake.scenario.trace_info import CURVE_POINTS, TraceInfo
from pagewake.scenario.trace_info import trace_info as look_at
from pagewake.scenario.units import parse_pages

SHOWN_POINTS = 8
"""Rows of limits where none are asked for: eighths of the trace's pages."""

LimitOption = Annotated[
    str,
    typer.Option(
        "--limit",
        metavar="SIZE,..",
        help="Say the expected page-ins at these limits, such as 4MiB,8MiB.",
    ),
]
SampleOption = Annotated[
    int | None,
    typer.Option(
        "--one-page-in",
        metavar="N",
        min=1,
        help="Look at the accesses to one page in N, a power of two; 1: at all"
        " (default: at all, up to 32 M rows).",
        show_default=False,
    ),
]


def trace_info(
    trace: TraceArgument,
    limit: LimitOption = "",
    one_page_in: SampleOption = None,
    report: ReportOption = None,
    json: JsonOption = False,
) -> None:
    """Say what is in a trace: pages, working set, and expected page-ins at every limit.

    Expected is what a memory of that limit reads again if it evicts the page that was used least
    recently; the first touch of a page reads nothing.
    """
    limits = _limits(limit)
    if one_page_in is not None and one_page_in & (one_page_in - 1):
        raise ConfigError(f"--one-page-in {one_page_in}: give a power of two, such as 8")
    refuse_place(report)
    with opened(trace, report) as (name, raw):
        info = look_at(name, *read_format(name, raw), limits, one_page_in)
    if report is not None:
        from pagewake.observe.report.trace_page import page_of_trace  # noqa: PLC0415 - as there

        write_page(report, page_of_trace(info))
    if json:
        print_json(info)
    else:
        print_text(_facts(info), _curve(info), folded(remark(info)))


def _limits(given: str) -> list[int]:
    try:
        return [parse_pages(size) for size in given.split(",") if size]
    except ValueError as error:
        raise ConfigError(f"--limit: {error}") from None


def _facts(info: TraceInfo) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in facts(info):
        table.add_row(name, Counted(text))
    return table


def _curve(info: TraceInfo) -> Figures:
    """The limits that were asked for, or a few of the curve."""
    few = info.curve[:: -(CURVE_POINTS // SHOWN_POINTS)][::-1]
    table = Figures(HEADINGS)
    for expected in info.limits or few:
        table.add_row(*row(expected))
    return table
