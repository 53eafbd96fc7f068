"""A recording's bytes as whole lines of text, in blocks: plain, gzip, xz or zstd, a file or a pipe.

How a file is packed is told by its first bytes, never by its name.  Memory is that of a block,
whatever the size of the file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import zstandard

from pagewake.bus.zstd_frames import Frames
from pagewake.errors import DataError

STDIN: Final = "-"
_CHUNK_BYTES = 1 << 18  # chosen: larger ones are not read faster
LINE_BYTES = 1 << 16
"""No line of a tracer is as long: its buffer of one event is a page."""
_MAGIC_BYTES = 8


class Packing(NamedTuple):
    """A way in which files are packed."""

    name: str
    unpack: Callable[[Any], Any]


_PLAIN = Packing("text", lambda raw: raw)
_PACKED: dict[bytes, Packing] = {
    b"\x1f\x8b": Packing("gzip", lambda raw: gzip.GzipFile(fileobj=raw)),
    b"\xfd7zXZ\0": Packing("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": Packing("zstd", lambda raw: io.BufferedReader(Frames(raw), _CHUNK_BYTES)),
}
_TORN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError)


class _Counted(io.RawIOBase):
    """Bytes read once; they go into a SHA-256 on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self.bytes = 0
        self.magic = self._begun = self._take(_MAGIC_BYTES)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        begun, self._begun = self._begun[:size], self._begun[size:]
        return begun or self._take(size)

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        self._sum.update(data)
        self.bytes += len(data)
        return data

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


class Source:
    """A recording, open to be read once."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = name
        self._raw = _Counted(file)
        packed = [how for magic, how in _PACKED.items() if self._raw.magic.startswith(magic)]
        self.packing = packed[0] if packed else _PLAIN

    @property
    def sha256(self) -> str:
        """Of the file as it stands, as far as it has been read."""
        return self._raw.sha256

    @property
    def bytes_read(self) -> int:
        """Of the file as it stands."""
        return self._raw.bytes

    def blocks(self) -> Iterator[str]:
        """The text in blocks that end at ends of lines; the last one may end within one.

        DataError if the packed data is torn, or if it is no text.
        """
        file = self.packing.unpack(self._raw)
        rest = b""
        try:
            while chunk := file.read(_CHUNK_BYTES):
                whole, end, begun = (rest + chunk).rpartition(b"\n")
                if end:
                    yield decoded(whole + end)
                rest = begun
                if len(rest) > LINE_BYTES:
                    raise DataError(self._no_text())
        except _TORN as error:
            raise DataError(
                f"{self.name}: the {self.packing.name} data is torn or damaged ({error});"
                " copy the file again, or unpack what is left of it and read that"
            ) from None
        if rest:
            yield decoded(rest)

    def _no_text(self) -> str:
        return (
            f"{self.name}: no text: no line ends within {LINE_BYTES} bytes;"
            " give what `trace`, `trace-cmd report` or `perf script` prints"
        )


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """A recording by its path, or `-` for standard input."""
    if name == STDIN:
        yield Source("<stdin>", sys.stdin.buffer)
        return
    with Path(name).open("rb") as file:
        yield Source(name, file)


def decoded(data: bytes) -> str:
    r"""Text; bytes that are no UTF-8, as a comm may have them, become `\xNN`."""
    return data.decode("utf-8", "backslashreplace")
