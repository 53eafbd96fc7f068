"""Where results go: data on stdout, files under a temporary name first.

A reader that leaves early (`pagewake scenarios | head -1`) is no error: what was computed stands,
and the exit code stays what it was.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from pagewake.errors import ConfigError


def print_json(value: object) -> None:
    """One JSON document on stdout, indented; structs in the order of their fields."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    if sys.stdout.encoding != "utf-8":
        text = re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    deliver(lambda: sys.stdout.write(text + "\n"))


def print_line(line: str) -> None:
    """One line on stdout, never wrapped."""
    deliver(lambda: sys.stdout.write(line + "\n"))


def deliver(write: Callable[[], object]) -> None:
    """Let `write` write to stdout; ConfigError when that cannot be written."""
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        raise ConfigError(f"standard output cannot be written: {error.strerror}") from error


def _discard_stdout() -> None:
    """Let the interpreter flush at exit without failing on stdout once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def replacing(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary neighbour of `path`, then move it there: all or nothing."""
    place = resolved(path)
    temporary = _neighbour(path, place)
    try:
        write(temporary)
        temporary.replace(place)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def resolved(path: Path) -> Path:
    """The file that a path leads to, through links; ConfigError for a loop of links."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from None


def _neighbour(path: Path, place: Path) -> Path:
    """A temporary name beside `place`, which is where `path` goes."""
    if path.is_dir():
        raise ConfigError(f"{path} is a directory: name a file to write to")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is a device or a pipe, not a file: name a file to write to")
    if not place.parent.is_dir():
        raise ConfigError(f"{path}: the directory {place.parent} does not exist")
    return place.with_name(f".{place.name}.{os.getpid()}.tmp")
