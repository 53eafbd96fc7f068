"""The imported directory: a recording as events, beside what is known of it as a whole.

    recording.toml        `Recording`: sources, kernel, VMs, what could be checked, what is unknown
    recorded.jsonl[.zst]  `Record`s, one a line: an event, a span or a finding, with its line

A record of an event reads `{"line":4711,"event":{"event":"ApfStarted",..}}`; `file` is the number
of its source in `recording.toml`, left out for the first.  Events stand in the order of `n` per VM,
and `at_ns` counts from the first line of the recording (`begin_ns` on its own clock).  Spans and
findings stand where they belong; behind a span nothing that was known before it is.

    with RecordingWriter(directory, names) as writer:    RecordingReader(directory).recording
        writer.add(found)                                RecordingReader(directory).found()
        writer.finish(recording)
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from hashlib import blake2b
from operator import or_
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import msgspec
import tomli_w
import zstandard

from pagewake.bus.log_dir import NewDirectory, unwritable
from pagewake.bus.log_sums import SUM_BYTES
from pagewake.bus.zstd_frames import Frames
from pagewake.errors import ConfigError, DataError
from pagewake.events.types import EVENTS
from pagewake.recorded.placed import Finding, Found, Span
from pagewake.verify.log_run import PlacedEvent

RECORDING_NAME = "recording.toml"
RECORDS_NAME = "recorded.jsonl"
FORM = 1
"""Of the directory; a reader refuses others."""


class SourceFile(msgspec.Struct, frozen=True):
    """A file that was read; `sha256` of it as it stands, packed or not."""

    name: str
    sha256: str
    bytes: int


class RecordedVm(msgspec.Struct, frozen=True):
    """A VM, and the thread of each of its vcpus by number."""

    name: str
    vcpus: dict[str, int]


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """An invariant; `why` it could not be checked, or only in part.

    `heard` false: without these lines its checker would call wrong what is not.
    """

    name: str
    possible: bool
    why: str = ""
    heard: bool = True


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a recording as a whole.

    `lines`: how many of each event were read, `others` how many of events that nobody reads.
    `counts`: what was met on the way, such as page-ins that were outstanding at the beginning.
    `joined_by`: tokens by which a guest's own recording was joined to its host's, as if its clock,
    `guest_behind_ns` behind, were the host's; 0 where there is one side.
    `records` and `sum` say what `recorded.jsonl` must contain.
    """

    form: int = FORM
    version: str
    sources: list[SourceFile]
    profile: str
    why: str
    vms: list[RecordedVm]
    begin_ns: int
    length_ns: int
    sync_fault_ns: int
    lines: dict[str, int]
    others: dict[str, int]
    counts: dict[str, int]
    checks: list[Check]
    joined_by: int = 0
    guest_behind_ns: int = 0
    records: int = 0
    sum: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of `recorded.jsonl`."""

    line: int
    event: Any
    file: int = 0


_any_record: Any = reduce(or_, (*EVENTS, Span, Finding))


class _ReadRecord(msgspec.Struct, frozen=True):
    line: int
    event: _any_record
    file: int = 0


def _zstd(path: Path) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(Frames(path.open("rb")), 1 << 17))


_PACKED: dict[str, Callable[[Path], BinaryIO]] = {
    "": lambda path: path.open("rb"),
    ".zst": _zstd,
    ".gz": lambda path: cast(BinaryIO, gzip.GzipFile(path)),
}
_TORN = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


class RecordingWriter:
    """Writes an imported directory.  As a context manager it leaves nothing unless finished."""

    def __init__(self, directory: Path, sources: Sequence[str]) -> None:
        """`sources` by name, as places name them; ConfigError when `directory` is not free."""
        self._new = NewDirectory(directory)
        self._encoder = msgspec.json.Encoder()
        self._files = {name: number for number, name in enumerate(sources)}
        self._sum = blake2b(digest_size=SUM_BYTES)
        self._records = 0
        path = self._new.temporary / f"{RECORDS_NAME}.zst"
        self._file = zstandard.ZstdCompressor().stream_writer(path.open("wb"))

    def add(self, found: Sequence[Found]) -> None:
        """Append what the stitcher found."""
        encode, files = self._encoder.encode, self._files
        for one in found:
            event = one.event if isinstance(one, PlacedEvent) else one
            line = encode(Record(one.line, event, files[one.file])) + b"\n"
            self._sum.update(line)
            self._file.write(line)
            self._records += 1

    def finish(self, recording: Recording) -> Recording:
        """Write what is known of the whole, and give the directory its name."""
        try:
            self._file.close()  # type: ignore[no-untyped-call]
            whole = msgspec.structs.replace(
                recording, records=self._records, sum=self._sum.hexdigest()
            )
            text = tomli_w.dumps(msgspec.to_builtins(whole))
            (self._new.temporary / RECORDING_NAME).write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritable(self._new.directory, error) from error
        self._new.keep()
        return whole

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()  # type: ignore[no-untyped-call]
        self._new.close()


def is_recording(directory: Path) -> bool:
    """Whether this is an imported directory, and no log of a run."""
    return (directory / RECORDING_NAME).is_file()


class RecordingReader:
    """Reads an imported directory."""

    def __init__(self, directory: Path) -> None:
        """ConfigError when there is none, DataError when it is damaged."""
        self.directory = directory
        path = directory / RECORDING_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(
                f"{directory} is no imported recording: it has no {RECORDING_NAME};"
                " name a directory that `pagewake import -o` wrote"
            ) from None
        try:
            self.recording = msgspec.toml.decode(text, type=Recording)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: torn or edited: {error}; import the recording again"
            ) from None
        if self.recording.form != FORM:
            raise DataError(
                f"{path}: has form {self.recording.form}, this version reads {FORM};"
                " import the recording again"
            )

    def found(self) -> Iterator[Found]:
        """Events, spans and findings in order; DataError at a line that is torn or edited."""
        names = [source.name for source in self.recording.sources]
        decode = msgspec.json.Decoder(_ReadRecord).decode
        total = blake2b(digest_size=SUM_BYTES)
        number = 0
        with self._open() as file:
            for number, line in enumerate(self._lines(file), 1):
                total.update(line)
                try:
                    record = decode(line)
                    file_name = names[record.file]
                except (msgspec.DecodeError, IndexError) as error:
                    raise self._damaged(number, str(error)) from None
                event = record.event
                if isinstance(event, Span | Finding):
                    yield event
                else:
                    yield PlacedEvent(event, file_name, record.line)
        if (number, total.hexdigest()) != (self.recording.records, self.recording.sum):
            raise self._damaged(number, f"is not what {RECORDING_NAME} says")

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        try:
            yield from file
        except _TORN as error:
            raise DataError(
                f"{self.directory / RECORDS_NAME}: torn: {error}; import the recording again"
            ) from None

    def _open(self) -> BinaryIO:
        for suffix, unpacked in _PACKED.items():
            path = self.directory / (RECORDS_NAME + suffix)
            if path.is_file():
                return unpacked(path)
        raise DataError(f"{self.directory}: {RECORDS_NAME} is missing; import the recording again")

    def _damaged(self, line: int, what: str) -> DataError:
        return DataError(
            f"{self.directory / RECORDS_NAME}:{line}: {what}: torn or edited;"
            " import the recording again"
        )
