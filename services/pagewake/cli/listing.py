"""Named things as a table: a line for what each is, one for every detail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table


def two_columns() -> Table:
    """An empty table of names and what is said of each."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def under(*headings: str) -> Table:
    """An empty table under these headings."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading)
    return table


def listing(listed: Iterable[Mapping[str, object]]) -> Table:
    """Named things with what is said of each, a line for every detail."""
    table = two_columns()
    for item in listed:
        table.add_row(str(item["name"]), str(item["description"]))
        for key, text in _details(item):
            table.add_row("", f"{key}: {text}")
    return table


def _details(item: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """Whatever else an entry says, tables one row per key."""
    for key, value in item.items():
        if key in ("name", "description") or value in ("", None):
            continue
        if isinstance(value, Mapping):
            yield from value.items()
        else:
            yield key, value
