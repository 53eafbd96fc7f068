"""Files of page traces: read once, from end to end, and kept packed for as long as they are used.

A trace is plain or packed, told by its first bytes; what is in it, `trace_text` says.  One pass
over a file checks every line, takes its SHA-256 and packs its rows; all tasks of a process that
replay it share that.  A trace source holds a name, so it pickles.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import zstandard

from pagewake.errors import DataError
from pagewake.scenario.library import trace_path
from pagewake.scenario.packed_trace import PackedTrace
from pagewake.scenario.trace_formats.blocks import TraceBlock
from pagewake.scenario.trace_text import Format, detected, read_blocks


class Readable(Protocol):
    """A file or pipe open for reading bytes."""

    def read(self, size: int, /) -> bytes: ...


_CHUNK_BYTES = 1 << 20  # parsed at a time; chosen: numpy is at its speed, and memory stays small
_MAGIC_BYTES = 6
OnRead = Callable[[Path, int, int], None]
"""Called now and then with a file, the bytes of it that have been read, and its size."""


class _Zlib:
    """What zlib packed without the head of a gzip file, as `damo record` does."""

    def __init__(self, raw: Readable) -> None:
        self._raw = raw
        self._unpack = zlib.decompressobj()

    def read(self, size: int, /) -> bytes:
        """As a file does."""
        data = b""
        while not data and not self._unpack.eof:
            packed = self._unpack.unconsumed_tail or self._raw.read(size)
            if not packed:
                raise EOFError("it ends before its end")
            data = self._unpack.decompress(packed, size)
        return data


class _Zstd:
    """What zstd packed, one frame after the other; a torn one is an EOFError."""

    _PIECE_BYTES = 1 << 14  # packed, at a time: a little may be very much when unpacked

    def __init__(self, raw: Readable) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False

    def read(self, size: int, /) -> bytes:
        """Something, if there is more; `size` is not kept."""
        data = b""
        while not data:
            packed = self._frame.unused_data if self._frame.eof else b""
            packed = packed or self._raw.read(min(size, self._PIECE_BYTES))
            if not packed:
                if self._begun and not self._frame.eof:
                    raise EOFError("it ends within a frame")
                return b""
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._begun = True
            data = self._frame.decompress(packed)
        return data


_PACKED: dict[bytes, tuple[str, Callable[[Any], Readable]]] = {
    b"\x1f\x8b": ("gzip", lambda raw: gzip.GzipFile(fileobj=raw)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", _Zstd),
    b"\x78\x9c": ("zlib", _Zlib),
}
"""By the first bytes of a file: how it is packed, and what unpacks it."""


class RawFile:
    """A file from which bytes are read once: they are counted, and go into a SHA-256."""

    def __init__(self, file: Readable, on_read: Callable[[int], None] | None = None) -> None:
        self._file = file
        self._on_read = on_read
        self._sum = hashlib.sha256()
        self._bytes = 0
        self.magic = self._begun = self._read(_MAGIC_BYTES)

    def read(self, size: int, /) -> bytes:
        """As a file does."""
        begun, self._begun = self._begun[:size], self._begun[size:]
        return begun + self._read(size - len(begun))

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._sum.update(data)
        self._bytes += len(data)
        if self._on_read is not None:
            self._on_read(self._bytes)
        return data

    @property
    def sha256(self) -> str:
        """Of all that has been read."""
        return self._sum.hexdigest()


def _chunks(name: str, raw: RawFile) -> Iterator[bytes]:
    """The text, unpacked, in chunks that do not depend on how the bytes came in."""
    packed = [how for magic, how in _PACKED.items() if raw.magic.startswith(magic)]
    form, unpack = packed[0] if packed else ("text", lambda raw: raw)
    file = unpack(raw)
    try:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    except OSError as error:
        if error.errno is not None or not packed:  # BZ2File and GzipFile raise it of their data
            raise
        raise _damaged(name, form, error) from None
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise _damaged(name, form, error) from None


def _damaged(name: str, form: str, error: Exception) -> DataError:
    return DataError(f"{name}: the {form} data is torn or damaged ({error})")


def read_trace(name: str, raw: RawFile) -> Iterator[TraceBlock]:
    """The blocks of an open file or pipe; DataError at the first line that is not valid."""
    return read_blocks(name, _chunks(name, raw))


def read_format(name: str, raw: RawFile) -> tuple[Format, Iterator[TraceBlock]]:
    """The same, with the format that it is in."""
    return detected(name, _chunks(name, raw))


class TraceFile(NamedTuple):
    """The content of a trace file, and the SHA-256 of the file as it stands."""

    trace: PackedTrace
    sha256: str


class TraceSource(NamedTuple):
    """A trace by the name a loaded scenario has for it: a path, or `builtin:NAME`."""

    name: str

    def open(self) -> PackedTrace:
        """The whole trace; DataError at the first line that is not one."""
        return trace_file(trace_path(self.name)).trace


def trace_file(path: Path, on_read: OnRead | None = None) -> TraceFile:
    """What is in a trace file; it is read once per file and version of it."""
    state = path.stat()
    return _place(path, state.st_mtime_ns, state.st_size).content(on_read)


class _Place:
    """Where the content of one version of a file is kept."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._content: TraceFile | None = None

    def content(self, on_read: OnRead | None) -> TraceFile:
        if self._content is None:
            tell = None if on_read is None else functools.partial(self._tell, on_read)
            with self._path.open("rb") as file:
                raw = RawFile(file, tell)
                trace = PackedTrace(read_trace(str(self._path), raw))
                while raw.read(_CHUNK_BYTES):  # what follows packed data is in the SHA-256 too
                    pass
            self._content = TraceFile(trace, raw.sha256)
        return self._content

    def _tell(self, on_read: OnRead, done: int) -> None:
        on_read(self._path, done, self._size)


@functools.lru_cache(maxsize=64)
def _place(path: Path, _mtime_ns: int, size: int) -> _Place:
    return _Place(path, size)
