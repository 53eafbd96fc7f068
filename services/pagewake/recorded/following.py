"""A recording that grows, read without waiting: `trace_pipe`, a file that is appended to, a pipe.

A file that is renamed and begun anew (log rotation) is read to its end first, then the new one is.
One that is cut to a shorter length is read anew from its beginning, and what was cut off unread is
lost.  Only what has a line end is given out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple, TypeAlias

from pagewake.errors import DataError
from pagewake.recorded.opening import LINE_BYTES, PACKINGS, STDIN, decoded, starts

_CHUNK_BYTES = 1 << 18  # chosen: some ten thousandths of a second to read, some hundredths to parse


class Grown(NamedTuple):
    """More lines of the file."""

    text: str


class Begun(NamedTuple):
    """The file begins anew; lines were `lost` if it was cut, and `torn` is one without an end."""

    lost: bool
    torn: str


More: TypeAlias = Grown | Begun


class Follower:
    """Reads one growing file; `-` is standard input."""

    def __init__(self, name: str) -> None:
        """OSError if it cannot be opened."""
        self.name = "<stdin>" if name == STDIN else name
        self.ended = False
        """A pipe's writers are gone: there will be no more."""
        self.at_end = False
        """All that there is has been read; more may come."""
        self.bytes_read = 0
        self._path = None if name == STDIN else Path(name)
        self._file = self._open()
        self._rest = b""

    def _open(self) -> int:
        self._at = 0
        self._sized = False
        if self._path is None:
            os.set_blocking(sys.stdin.fileno(), False)
            return sys.stdin.fileno()
        # Else opening a pipe waits for its writer, and reading trace_pipe for an event.
        return os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self) -> More | None:
        """What has come since; None if there is nothing.  DataError if it is no text."""
        try:
            data = os.read(self._file, _CHUNK_BYTES)
        except BlockingIOError:
            self.at_end = True
            return None
        except OSError as error:
            raise DataError(f"{self.name}:1: cannot be read: {error.strerror}") from None
        self.at_end = not data
        if not data:
            return self._nothing()
        if not self.bytes_read and (b"\0" in data or starts(PACKINGS, data)):
            raise DataError(
                f"{self.name}:1: packed or binary: what grows is followed as text;"
                " import reads packed recordings"
            )
        self.bytes_read += len(data)
        self._at += len(data)
        whole, end, self._rest = (self._rest + data).rpartition(b"\n")
        if len(self._rest) > LINE_BYTES:
            raise DataError(f"{self.name}: no line ends within {LINE_BYTES} bytes: no recording")
        return Grown(decoded(whole + end))

    def _nothing(self) -> More | None:
        """The end, for now: perhaps the file is another one by now, or was cut."""
        if self._path is None:
            self.ended = True
            return None
        here = os.fstat(self._file)
        self._sized = self._sized or here.st_size > 0  # those of tracefs and pipes never are
        if self._sized and here.st_size < self._at:
            os.lseek(self._file, 0, os.SEEK_SET)
            return self._anew(lost=True)
        try:
            there = self._path.stat()
        except OSError:  # renamed, and the next one is not there yet
            return None
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return None
        os.close(self._file)
        self._file = self._open()
        return self._anew(lost=False)

    def _anew(self, *, lost: bool) -> Begun:
        torn, self._rest, self._at = decoded(self._rest), b"", 0
        self.at_end = False
        return Begun(lost, torn)

    def close(self) -> None:
        """Stop reading it."""
        if self._path is None:
            os.set_blocking(self._file, True)  # its terminal or pipe is others' too
        else:
            os.close(self._file)
