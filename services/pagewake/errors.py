"""Errors that a person can act on, and the exit code each of them ends a command with.

The message says what is wrong, where, and what to do. Anything else that escapes a command is a
defect of pagewake itself and ends it with 70.
"""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Iterable

OUT_OF_MEMORY = (
    "this machine has too little memory for it: simulate less memory (vm.0.memory, vm.0.limit)"
    " or fewer VMs (vm.0.count) at a time"
)


class PagewakeError(Exception):
    """Base of all errors meant for a person."""

    exit_code = 70


class CheckFailedError(PagewakeError):
    """A check that the command exists for did not hold."""

    exit_code = 1


class ConfigError(PagewakeError):
    """Usage or configuration: a scenario, an option, a name."""

    exit_code = 2


class DataError(PagewakeError):
    """The content of a data file: a log, a trace, a vector file."""

    exit_code = 65


class BrokerError(PagewakeError):
    """A broker cannot be reached, or does not do what it is asked."""

    exit_code = 69


class InternalError(PagewakeError):
    """An invariant of pagewake itself is broken."""

    exit_code = 70


def described(error: Exception) -> str:
    """The error and where it was raised, in one line; PAGEWAKE_DEBUG=1 prints the traceback too."""
    if os.environ.get("PAGEWAKE_DEBUG") == "1":
        traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return (
        f"{type(error).__name__}: {error}{place}:"
        " a defect of pagewake; PAGEWAKE_DEBUG=1 shows the traceback"
    )


def nearest(word: str, options: Iterable[str]) -> str:
    """A hint for a mistyped name: the closest valid one, and all of them if none is close."""
    names = sorted(options)
    if not names:
        return "there is none to choose from"
    begun = [name for name in names if word and name.startswith(word)]
    written = [name for name in names if name.lower() == word.lower()]
    close = written or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if len(begun) == 1 or close:
        return f'did you mean "{(begun if len(begun) == 1 else close)[0]}"?'
    closest = difflib.get_close_matches(word, names, n=1, cutoff=0.4)
    head = f'nearest is "{closest[0]}"; ' if closest else ""
    return f"{head}valid are {', '.join(names)}"
