"""What zstd files hold, read as a stream that says so if it breaks off."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

import zstandard

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 1 << 17  # chosen: small beside a process, large beside a line


class Frames(io.RawIOBase):
    """The content of a zstd file, whose last frame may be torn: EOFError then, as gzip has it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = b""
        self._content = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        into = memoryview(buffer).cast("B")
        while not self._content and (packed := self._packed or self._file.read(_CHUNK_BYTES)):
            self._unpack(packed)
        if not self._content and self._frame is not None:
            raise EOFError("the last zstd frame has no end")
        taken = self._content[: len(into)]
        self._content = self._content[len(taken) :]
        into[: len(taken)] = taken
        return len(taken)

    def _unpack(self, packed: bytes) -> None:
        frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        self._content = frame.decompress(packed)
        self._packed = frame.unused_data
        self._frame = None if frame.eof else frame

    def close(self) -> None:
        self._file.close()
        super().close()
