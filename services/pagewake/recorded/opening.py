"""A recording's bytes as whole lines of text, in blocks: a file or a pipe, plain or packed.

How a file is packed is told by its first bytes, never by its name.  What trace-cmd and perf write
themselves is read through them.  Memory is that of a block, whatever the size of the file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple

import zstandard

from pagewake.bus.zstd_frames import Frames
from pagewake.errors import DataError

STDIN: Final = "-"
_CHUNK_BYTES = 1 << 18  # chosen: larger ones are not read faster
LINE_BYTES: Final = 1 << 16
"""No line of a tracer is as long: its buffer of one event is a page."""
_MAGIC_BYTES = 8


class Packing(NamedTuple):
    """A way in which files are packed."""

    name: str
    unpack: Callable[[Any], Any]


_PLAIN = Packing("text", lambda raw: raw)
PACKINGS: Final[dict[bytes, Packing]] = {
    b"\x1f\x8b": Packing("gzip", lambda raw: gzip.GzipFile(fileobj=raw)),
    b"\xfd7zXZ\0": Packing("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": Packing("zstd", lambda raw: io.BufferedReader(Frames(raw), _CHUNK_BYTES)),
}
_TORN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError)

_PERF = (
    "perf", "script", "-f", "--ns", "--show-lost-events",
    "-F", "comm,pid,tid,cpu,time,event,trace", "-i",
)  # fmt: skip
_TOOLS: dict[bytes, tuple[str, ...]] = {
    b"\x17\x08\x44traci": ("trace-cmd", "report", "-t", "-i"),
    b"PERFILE2": _PERF,
    b"2ELIFREP": _PERF,
}
"""By the first bytes of a file: who prints it as text."""
_OTHERS = {
    b"BZh": "packed by bzip2: unpack it",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"\x04\x22\x4d\x18": "packed by lz4: unpack it",
    b"\xff\xfe": "UTF-16: convert it (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16: convert it (iconv -f UTF-16 -t UTF-8)",
    b"\x7fELF": "a program",
}


class _Counted(io.RawIOBase):
    """Bytes read once; they go into a SHA-256 on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self.bytes = 0
        self.magic = self._begun = self._take(_MAGIC_BYTES)

    def read(self, size: int = -1, /) -> bytes:
        begun, self._begun = self._begun[:size], self._begun[size:]
        return begun or self._take(size)

    def _take(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            name = getattr(self._file, "name", "")
            raise DataError(f"{name}:1: cannot be read: {error.strerror}; copy it") from None
        self._sum.update(data)
        self.bytes += len(data)
        return data

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


class Source:
    """A recording, open to be read once."""

    def __init__(self, name: str, file: BinaryIO, path: Path | None) -> None:
        """`path` is None for what is no file."""
        self.name = name
        self._raw = _Counted(file)
        self._path = path
        self._lines = 0

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
        packing = starts(PACKINGS, self._raw.magic) or _PLAIN
        tool = starts(_TOOLS, self._raw.magic)
        try:
            if tool is None:
                yield from self._text(packing.unpack(self._raw))
            else:
                yield from self._printed(tool)
        except _TORN as error:
            raise self._wrong(
                f"the {packing.name} data is torn or damaged ({error}); copy the file again,"
                " or unpack what is left of it and read that"
            ) from None

    def _text(self, file: IO[bytes]) -> Iterator[str]:
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            if not self._lines:
                self._must_be_text(rest + chunk)
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            if end:
                self._lines += whole.count(b"\n") + 1
                yield decoded(whole + end)
            if len(rest) > LINE_BYTES:
                raise self._wrong(f"no line ends within {LINE_BYTES} bytes: this is no recording")
        if rest:
            yield decoded(rest)

    def _must_be_text(self, begin: bytes) -> None:
        tool = starts(_TOOLS, begin)
        if tool is not None:
            raise self._wrong(
                f"what {tool[0]} writes can be read from a file alone, not packed, not from a pipe"
            )
        other = starts(_OTHERS, begin)
        if other is not None or b"\0" in begin[:LINE_BYTES]:
            raise self._wrong(
                f"binary, no text ({other or 'it holds zeros'}); give what tracefs' trace,"
                " trace-cmd report or perf script prints"
            )

    def _printed(self, tool: tuple[str, ...]) -> Iterator[str]:
        """What a tool prints of its own file."""
        command = " ".join((*tool, self.name))
        if self._path is None:
            self._must_be_text(self._raw.magic)
        if shutil.which(tool[0]) is None:
            raise self._wrong(
                f"a file of {tool[0]}, which is not on the PATH here: install it, or give what"
                f' "{command}" prints where it is'
            )
        while self._raw.read(_CHUNK_BYTES):  # for its SHA-256
            pass
        given = (*tool, str(self._path))
        with (
            tempfile.TemporaryFile() as told,
            subprocess.Popen(given, stdout=subprocess.PIPE, stderr=told) as run,  # noqa: S603
        ):
            assert run.stdout is not None
            try:
                yield from self._text(run.stdout)
            except BaseException:
                run.kill()  # who reads has had enough
                raise
            code = run.wait()
            told.seek(0)
            last = decoded(told.read()).strip().rpartition("\n")[2]
        if code:
            raise self._wrong(f'"{command}" ends with {code}: {last}')

    def _wrong(self, what: str) -> DataError:
        return DataError(f"{self.name}:{self._lines + 1}: {what}")


def starts(table: dict[bytes, Any], begin: bytes) -> Any:  # noqa: ANN401 - what the table holds
    """What a table of first bytes says of a file's."""
    return next((what for magic, what in table.items() if begin.startswith(magic)), None)


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """A recording by its path, or `-` for standard input."""
    if name == STDIN:
        yield Source("<stdin>", sys.stdin.buffer, None)
        return
    path = Path(name)
    with path.open("rb") as file:
        yield Source(name, file, path)


def decoded(data: bytes) -> str:
    r"""Text; bytes that are no UTF-8, as a comm may have them, become `\xNN`."""
    return data.decode("utf-8", "backslashreplace")
