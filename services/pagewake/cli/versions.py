"""A log of another version is read as it is; a person is told whose it is, and what it lacks."""

from __future__ import annotations

from pathlib import Path

from pagewake import __version__
from pagewake.bus.log_reader import LogReader
from pagewake.cli.guard import complain
from pagewake.errors import ConfigError
from pagewake.events.journal import in_words

WITHOUT_PROGRESS = "0.1.0"
"""The version whose logs do not say how far tasks came."""


def need_journal(log: Path, command: str) -> None:
    """ConfigError if the log holds less of its journal than a command reads."""
    sums = LogReader(log).sums
    if sums is not None and sums.journal != "full":
        raise ConfigError(
            f"{command} reads the whole journal, and {log} keeps {in_words(sums.journal)}:"
            " run the scenario again with --journal full"
        )


def tell_version(log: Path) -> None:
    """Say so if another version wrote the log; ConfigError if it is none."""
    sums = LogReader(log).sums
    others = [code for code in (sums.codes if sums else ()) if code != __version__]
    if others:
        lacks = WITHOUT_PROGRESS in others
        more = "; it does not say how far its tasks came" if lacks else ""
        complain(
            f"the log was written by pagewake {', '.join(others)}, this is {__version__}{more}"
        )
