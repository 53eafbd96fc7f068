"""Where an output may go: said before a long run and not after it.

A file that is there is replaced only by its like, so neither a scenario, nor a trace, nor anything
else that somebody wrote is lost to a slip of the fingers.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pagewake.cli.output import resolved
from pagewake.errors import ConfigError

PROBE_BYTES = 256 * 1024
"""As much as a small page takes: a place without room for it is full."""


class Kind(NamedTuple):
    """What is written: its name, and how every file of it begins."""

    name: str
    begins: bytes


PAGE = Kind("a page", b"<!DOCTYPE html>")
POINTS = Kind("a file of finished points", b'{"axes"')
FTRACE = Kind("a trace of tracefs", b"# tracer:")
TIMELINE = Kind("a timeline of pagewake", b'{"displayTimeUnit"')


def refuse_place(output: Path | None, log: Path | None = None, kind: Kind = PAGE) -> None:
    """ConfigError where an output cannot go, or would replace something that is not its like."""
    if output is None:
        return
    if str(output) == "-":
        raise ConfigError(f"- is no file, and stdout has the result: name a file for {kind.name}")
    place = resolved(output)
    if log is not None and place.is_relative_to(resolved(log)):
        raise ConfigError(f"{output} lies inside the log {log}: name a file outside of it")
    if not place.parent.is_dir():
        raise ConfigError(f"{output}: the directory {place.parent} does not exist")
    if place.is_dir():
        raise ConfigError(f"{output} is a directory: name a file to write to")
    if place.exists() and not place.is_file():
        raise ConfigError(f"{output} is a device or a pipe, not a file: name a file to write to")
    if place.is_file() and place.stat().st_size and _beginning(place, kind) != kind.begins:
        raise ConfigError(
            f"{output} is there, and is not {kind.name}: it would be lost; name another file"
        )
    probe(place.parent, str(output))


def probe(directory: Path, named: str) -> None:
    """ConfigError, by the name that its user knows, for a directory that nothing fits into."""
    temporary = directory / f".pagewake.{os.getpid()}.tmp"
    try:
        temporary.write_bytes(bytes(PROBE_BYTES))
    except OSError as error:
        raise ConfigError(f"{named}: cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _beginning(place: Path, kind: Kind) -> bytes:
    try:
        with place.open("rb") as file:
            return file.read(len(kind.begins))
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror}") from None
