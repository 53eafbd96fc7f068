"""Files of arrivals: one instant a line, in seconds from the start of the run, never going back.

Blank lines and lines that begin with "#" are passed over.
"""

from __future__ import annotations

from array import array
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pagewake.errors import DataError
from pagewake.scenario.units import LARGEST

NS_PER_S = 1_000_000_000


class ArrivalsFile(NamedTuple):
    """The instants of a file by its absolute path, in ns."""

    path: str

    def instants(self) -> array[int]:
        """All of them, read once in a process."""
        return read_arrivals(Path(self.path))


@lru_cache(maxsize=16)
def read_arrivals(path: Path) -> array[int]:
    """The instants of a file; DataError names the line that is none."""
    found: array[int] = array("q")
    before = 0
    try:
        with path.open("r", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                text = line.strip()
                if text and not text.startswith("#"):
                    before = _instant(text, before, f"{path}:{number}")
                    found.append(before)
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text: one instant a line, in seconds") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not found:
        raise DataError(f"{path}: has no instant; write one a line, in seconds, such as 0.0125")
    return found


def _instant(text: str, before: int, where: str) -> int:
    try:
        value = Decimal(text) * NS_PER_S
        whole = int(value)
    except (InvalidOperation, ValueError, OverflowError):
        raise DataError(f'{where}: "{text}" is no number of seconds, such as 0.0125') from None
    if not 0 <= whole < LARGEST:
        raise DataError(f'{where}: "{text}" is outside of any run; from 0 to {LARGEST // 10**9}')
    if whole < before:
        raise DataError(f'{where}: "{text}" lies before the line above; sort the file ("sort -g")')
    return whole
