"""Tables and sentences for a person, on a terminal or plain."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from io import BytesIO, TextIOWrapper
from textwrap import fill
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from pagewake.cli.figures import Figures
from pagewake.cli.output import deliver

PLAIN_WIDTH = 120
"""Of text that goes to a file or a pipe: the same on every machine, or what its tables need."""
FOLDED_MAX = 100
"""A longer line is not read with ease."""
AS_IT_IS: Mapping[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""Names that users give, and keys such as `[[vm]]`, are printed, not interpreted."""
WORDS = "pagewake explain WORD says what a word means"


def print_text(*parts: RenderableType) -> None:
    """Tables and lines for a person on stdout; plain and of one width when it is no terminal."""
    if sys.stdout.isatty():
        console = Console(file=sys.stdout, **AS_IT_IS)
        deliver(lambda: console.print(*parts, sep="\n"))
        return
    plain = TextIOWrapper(BytesIO(), encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    width = max([PLAIN_WIDTH, *(part.width for part in parts if isinstance(part, Figures))])
    Console(file=plain, width=width, color_system=None, **AS_IT_IS).print(*parts, sep="\n")
    plain.seek(0)
    text = "".join(f"{line.rstrip()}\n" for line in plain)
    deliver(lambda: sys.stdout.write(text))


def print_result(*parts: RenderableType) -> None:
    """As `print_text`; on a terminal, with a word on where the words of it are explained."""
    words = [Text(WORDS, style="dim")] if sys.stdout.isatty() else []
    print_text(*parts, *words)


def folded(remark: str) -> str:
    """A sentence or two below a table, broken into lines that are read with ease."""
    width = Console(file=sys.stdout).width if sys.stdout.isatty() else FOLDED_MAX
    return fill(remark, min(FOLDED_MAX, width))
