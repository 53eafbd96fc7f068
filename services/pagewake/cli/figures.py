"""Tables of numbers, and lists of counts, that fit a terminal without breaking a number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import wrap

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pagewake.cli.plain import spelled

WIDTH_MAX = 2_000
"""What a table is measured at: wider than any of them, so nothing folds."""
GLUED_MAX = 40
"""A longer part of a list is a sentence, and may be broken at any of its spaces."""
MEASURED = re.compile(r"(?<=\d) (?=%|(?:ns|us|ms|s)\b)")
"""Between a number and its unit, which is never broken."""
GLUE = "\N{NO-BREAK SPACE}"
ALL_OF_IT = "a pipe (| less -S) or --json has all"
PLAIN_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
"""`SIMPLE_HEAD` for a terminal that can draw nothing but ASCII."""


class Figures:
    """`words` columns of words on the left, numbers after them.

    Where a terminal is too narrow, headings break at their spaces, and those of words behind their
    dots; then columns of numbers are left out, those that `first_out` names in its order, then from
    the right, and a line says which. Words are folded last.
    """

    def __init__(
        self,
        headings: Sequence[str],
        *,
        words: int = 1,
        first_out: Sequence[str] = (),
        title: str | None = None,
    ) -> None:
        self.headings = list(headings)
        self.words = words
        self.title = title
        self._rows: list[tuple[Sequence[str | Text], str]] = []
        numbers = range(words, len(self.headings))
        named = [index for name in first_out for index in numbers if self.headings[index] == name]
        self._out = [*named, *(index for index in reversed(numbers) if index not in named)][:-1]

    def add_row(self, *cells: str | Text, style: str = "") -> None:
        """One cell for each heading."""
        self._rows.append((cells, style))

    @property
    def width(self) -> int:
        """What it takes with nothing left out or folded."""
        return self._measured(
            Console(width=WIDTH_MAX, markup=False, emoji=False), self._table(frozenset())
        ).maximum

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table of as many columns as there is room for, and a word on the others."""
        if self.title:
            yield Text(self.title, style="bold")
        out = self._left_out(console, options.max_width)
        whole = self._table(out, plain=options.ascii_only)
        fits = self._measured(console, whole).minimum <= options.max_width
        yield whole if fits else self._table(out, broken=True, plain=options.ascii_only)
        if out:
            names = ", ".join(self.headings[index] for index in sorted(out))
            yield Text(f"left out for width: {names}; {ALL_OF_IT}", style="dim")

    def _left_out(self, console: Console, width: int) -> frozenset[int]:
        for count in range(len(self._out)):
            out = frozenset(self._out[:count])
            if self._measured(console, self._table(out, broken=True)).minimum <= width:
                return out
        return frozenset(self._out)

    def _measured(self, console: Console, table: Table) -> Measurement:
        return Measurement.get(console, console.options.update(width=WIDTH_MAX), table)

    def _table(self, out: frozenset[int], *, broken: bool = False, plain: bool = False) -> Table:
        table = Table(
            box=PLAIN_HEAD if plain else SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        shown = [index for index in range(len(self.headings)) if index not in out]
        for index in shown:
            heading = spelled(self.headings[index]) if plain else self.headings[index]
            if index < self.words:
                key = heading.replace(".", ".\n") if broken else heading
                table.add_column(key, overflow="fold")
            else:
                lines = heading.split(" ") if broken else [heading]
                column = (str(cells[index]) for cells, _ in self._rows)
                least = max(map(cell_len, [*lines, *column]))
                table.add_column("\n".join(lines), justify="right", no_wrap=True, min_width=least)
        for cells, style in self._rows:
            table.add_row(*(cells[index] for index in shown), style=style)
        return table


class Counted:
    """A list such as `slept 12, halted 3`: broken behind its commas, not within a count."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many lines as the width asks for."""
        parts = re.split("(?<=,) ", self.text)
        most = min(GLUED_MAX, options.max_width)
        glued = (
            part.replace(" ", GLUE) if len(part) <= most else MEASURED.sub(GLUE, part)
            for part in parts
        )
        lines = wrap(" ".join(glued), options.max_width)
        yield Text("\n".join(lines).replace(GLUE, " "))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Wide enough for a word; happy with one line."""
        return Measurement(1, max(1, len(self.text))).with_maximum(options.max_width)
