"""Text for a terminal or a pipe that knows ASCII alone: other characters are spelled, not lost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from unicodedata import normalize

SPELLED = {
    "─": "-", "━": "-", "│": "|", "±": "+-", "µ": "u", "→": "->", "…": "...", "▸": ">", "↑": "up",
    "↓": "down",
}  # fmt: skip
"""What commands, and the libraries that draw for them, write beside ASCII."""


def asks_for_ascii(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether LC_ALL is C or POSIX, and no word to Python says otherwise.

    Python itself writes UTF-8 there (PEP 540), and makes of `LANG=C` alone a locale with UTF-8
    (PEP 538).
    """
    told = environ.get("PYTHONUTF8") or environ.get("PYTHONIOENCODING")
    return not told and environ.get("LC_ALL") in ("C", "POSIX")


def spelled(text: str) -> str:
    """A text in ASCII: signs by `SPELLED`, letters without their accents, others as escapes."""
    return "".join(_spelled(character) for character in text)


def _spelled(character: str) -> str:
    if character.isascii():
        return character
    letters = normalize("NFKD", character).encode("ascii", "ignore").decode()
    escaped = character.encode("ascii", "backslashreplace").decode()
    return SPELLED.get(character) or letters or escaped


def spell(error: UnicodeError) -> tuple[str, int]:
    """The error handler of streams by which what an encoding lacks is spelled."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end
