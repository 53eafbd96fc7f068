"""Tables and sentences for a person, on a terminal or plain."""

from __future__ import annotations

import sys
from io import StringIO
from textwrap import fill

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

from pagewake.cli.output import deliver

PLAIN_WIDTH = 120
"""Of text that goes to a file or a pipe: the same on every machine."""
WIDTH_MAX = 2_000
"""What a table is measured at: wider than any of them, so nothing folds."""


def print_text(*parts: RenderableType) -> None:
    """Tables and lines for a person on stdout; plain and of one width when it is no terminal."""
    if sys.stdout.isatty():
        console = Console(file=sys.stdout, highlight=False)
        deliver(lambda: console.print(*parts, sep="\n"))
        return
    plain = StringIO()
    width = max([PLAIN_WIDTH, *(_width(part) for part in parts if isinstance(part, Table))])
    Console(file=plain, width=width, highlight=False, color_system=None).print(*parts, sep="\n")
    text = "".join(f"{line.rstrip()}\n" for line in plain.getvalue().splitlines())
    deliver(lambda: sys.stdout.write(text))


def _width(table: Table) -> int:
    """The width of a table of figures, which must not be broken; 0 for one that may be folded."""
    if table.box is None:
        return 0
    console = Console(file=StringIO(), width=WIDTH_MAX)
    return Measurement.get(console, console.options, table).maximum


def folded(remark: str) -> str:
    """A sentence or two below a table, broken into lines that are read with ease."""
    return fill(remark, 100)
