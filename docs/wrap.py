"""Prose in lines of at most 100 columns: `python -m docs.wrap`, or `make format`.

Tables, fenced blocks, headings and comments stay as they are, and what is code or a link's target
is never broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from docs.console import MARKDOWN

COLUMNS = 100
FENCE = "```"
_UNBROKEN = re.compile(r"(?:`[^`]*`|\]\([^)]*\)|[^\s`])+")
_ITEM = re.compile(r"(\s*(?:[-*]|\d+\.) )(.*)")
_MEANS_SOMETHING = re.compile(r"(?:[-+*]|#+|\d+[.)])$|[>|]|<!--")
"""What begins a list, a heading, a quotation, a table if it comes to stand first in a line."""


def wrapped(text: str, first: str = "", rest: str = "") -> str:
    """A paragraph; `first` stands before its first line, `rest` before the others."""
    lines: list[str] = []
    line = first
    for word in _UNBROKEN.findall(text):
        begun = line not in (first, rest)
        fits = len(line) + begun + len(word) <= COLUMNS
        if fits or not begun or _MEANS_SOMETHING.match(word):
            line += " " * begun + word
        else:
            lines.append(line)
            line = rest + word
    return "\n".join([*lines, line])


def rewrapped(page: str) -> str:
    """A page with its paragraphs and list items wrapped anew, the rest as it was."""
    return "\n".join(_blocks(page.splitlines())) + "\n"


def _blocks(lines: list[str]) -> Iterator[str]:
    held: list[str] = []
    fenced = commented = False
    for line in lines:
        fence = line.lstrip().startswith(FENCE)
        commented = commented or line.startswith("<!--")
        plain = not (fenced or fence or commented) and _is_prose(line)
        if held and (not plain or _ITEM.match(line)):
            yield _joined(held)
            held = []
        if plain:
            held.append(line)
        else:
            yield line
        fenced ^= fence
        commented = commented and "-->" not in line
    if held:
        yield _joined(held)


def too_wide(page: str) -> list[str]:
    """Lines that could be shorter."""
    could = set(rewrapped(page).splitlines())
    return [line for line in page.splitlines() if len(line) > COLUMNS and line not in could]


def _is_prose(line: str) -> bool:
    """Whether a line outside of fences and comments is of a paragraph or a list item."""
    indented = line.startswith("    ") and not _ITEM.match(line)
    return bool(line.strip()) and not indented and not line.startswith(("#", "|", ">", "---"))


def _joined(held: list[str]) -> str:
    text = " ".join(line.strip() for line in held)
    item = _ITEM.match(held[0])
    if item is None:
        return wrapped(text)
    return wrapped(item[2] + text[len(held[0].strip()) :], item[1], " " * len(item[1]))


def main() -> None:
    """Wrap the pages in which a line is too wide; the others are laid out as their authors like."""
    for path in MARKDOWN:
        text = path.read_text("utf-8")
        if too_wide(text):
            path.write_text(rewrapped(text), "utf-8")


if __name__ == "__main__":
    main()
