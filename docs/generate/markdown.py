"""Small pieces of Markdown that the pages of the reference share."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

MADE = "<!-- made by `make generated` from {source}; change it there -->"


def head(title: str, source: str, about: str) -> str:
    """The beginning of a page."""
    return f"# {title}\n\n{MADE.format(source=source)}\n\n{about.strip()}\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; empty text if it would have no row."""
    lines = [_row(cells) for cells in rows]
    if not lines:
        return ""
    return "\n".join([_row(headings), "|" + " --- |" * len(headings), *lines]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def code(text: object) -> str:
    """As code; nothing for nothing."""
    return f"`{text}`" if text != "" else ""


def prose(documented: object) -> str:
    """A docstring as paragraphs, without the line breaks of the source."""
    text = inspect.getdoc(documented) or ""
    return "\n\n".join(re.sub(r"\s+", " ", part) for part in text.split("\n\n"))


def toml(value: object) -> str:
    """A value as a scenario file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(toml(each) for each in value)}]"
    return str(value)
