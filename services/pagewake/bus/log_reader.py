"""Reading a log directory back, and saying what is wrong with it, by file and line.

A file is read as a stream, plain or compressed (`.gz`, `.zst`).  Each line must be a commit whose
bytes are what its content hash says; per source the commits are numbered without a gap and their
parts complete; windows do not go back, and within one window the shards' commits stand in order of
the shards.  `digest.txt` has the count, the last content hash and the hash of each file.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import zstandard

from pagewake.bus.log_lines import LineChecker, LoggedCommit
from pagewake.bus.log_sums import (
    DIGEST_NAME,
    RUN_NAME,
    SUM_BYTES,
    FileSum,
    Sums,
    parse_sums,
    sum_of,
)
from pagewake.bus.zstd_frames import Frames
from pagewake.errors import ConfigError, DataError
from pagewake.events.codec import TOPICS

_CHUNK_BYTES = 1 << 17  # chosen: small beside a process, large beside a line
_FILE = re.compile(rf"({'|'.join(map(re.escape, TOPICS))})-(\d+)\.jsonl")
_BROKEN_STREAM = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


class LogProblem(NamedTuple):
    """Something wrong; `line` 0 stands for the file as a whole."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class LogFile(NamedTuple):
    """The file of one topic partition; `name` is what `digest.txt` calls it."""

    topic: str
    partition: int
    name: str
    path: Path


class LogReader:
    """A log directory.  Its problems are `problems()`, or a DataError where they are met."""

    def __init__(self, directory: Path) -> None:
        """ConfigError when there is no such directory, DataError when it holds no log."""
        try:
            is_there = directory.is_dir()
        except OSError as error:
            raise ConfigError(f"{directory}: cannot be read: {error.strerror}") from None
        if not is_there:
            what = "is no directory" if directory.exists() else "does not exist"
            raise ConfigError(f"{directory} {what}: name a log directory that `--log` wrote")
        self.directory = directory
        self.faults: list[LogProblem] = []
        self.run_toml = self._text(RUN_NAME)
        self.sums = self._sums()
        self.files = self._find_files()
        if self.run_toml is None and self.sums is None and not self.files:
            raise DataError(f"{directory} holds no log: neither {RUN_NAME} nor {DIGEST_NAME}")
        self._compare_names()

    def _text(self, name: str) -> str | None:
        try:
            return (self.directory / name).read_bytes().decode()
        except FileNotFoundError:
            self._fault(name, "missing: removed, or the log was not finished")
        except (OSError, UnicodeDecodeError) as error:
            self._fault(name, f"cannot be read: {error}")
        return None

    def _sums(self) -> Sums | None:
        text = self._text(DIGEST_NAME)
        if text is None:
            return None
        try:
            sums = parse_sums(text)
        except DataError as error:
            self._fault(DIGEST_NAME, str(error))
            return None
        if self.run_toml is not None and sum_of(self.run_toml.encode()) != sums.run_toml:
            self._fault(RUN_NAME, f"edited: its content is not what {DIGEST_NAME} says")
        return sums

    def _find_files(self) -> list[LogFile]:
        found: list[LogFile] = []
        try:
            paths = sorted(self.directory.iterdir())
        except OSError as error:
            raise ConfigError(f"{self.directory}: cannot be read: {error.strerror}") from None
        for path in paths:
            name = path.name.removesuffix(".zst").removesuffix(".gz")
            if match := _FILE.fullmatch(name):
                found.append(LogFile(match[1], int(match[2]), name, path))
        return sorted(found, key=lambda file: (TOPICS.index(file.topic), file.partition))

    def _compare_names(self) -> None:
        names = [file.name for file in self.files]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self._fault(name, "there twice, plain and compressed: remove one")
        if self.sums is None:
            return
        for name in self.sums.files:
            if name not in names:
                self._fault(name, f"missing, but {DIGEST_NAME} lists it")
        for name in names:
            if name not in self.sums.files:
                self._fault(name, f"not listed in {DIGEST_NAME}")

    def _fault(self, file: str, what: str) -> None:
        self.faults.append(LogProblem(file, 0, what))

    def problems(self) -> list[LogProblem]:
        """Everything that is wrong with the directory, by file and line."""
        problems = list(self.faults)
        for file in self.files:
            for _ in self.scan(file, problems):
                pass
        return problems

    def scan(self, file: LogFile, problems: list[LogProblem]) -> Iterator[LoggedCommit]:
        """The commits that can be read; what is wrong is appended to `problems`.

        While a line is missing, its problem may later turn out to be two lines swapped, so the
        problems of a file are final only when it is exhausted.
        """
        codes = self.sums.codes if self.sums is not None else None
        checker = LineChecker(file.topic, codes)
        first = len(problems)
        hasher = blake2b(digest_size=SUM_BYTES)
        for line in _lines(file.path, checker):
            hasher.update(line)
            commit = checker.take(line)
            if checker.problems:
                problems[first:] = _named(file, checker)
            if commit is not None:
                yield commit
        checker.end()
        expected = self.sums.files.get(file.name) if self.sums is not None else None
        if expected is not None and not checker.problems:
            _compare(checker, expected, hasher.hexdigest())
        problems[first:] = _named(file, checker)


def _named(file: LogFile, checker: LineChecker) -> list[LogProblem]:
    return [LogProblem(file.path.name, line, what) for line, what in checker.problems]


def _compare(checker: LineChecker, expected: FileSum, content: str) -> None:
    """Hold a file whose every line is good against what `digest.txt` says of it."""
    found = checker.line
    if found < expected.records:
        missing = expected.records - found
        checker.problem(
            f"dropped: {missing} of {expected.records} lines are missing behind this one"
        )
    elif found > expected.records:
        checker.problem(f"added: {DIGEST_NAME} counts {expected.records} lines, not {found}")
    elif checker.last_hash != expected.last:
        checker.problem(f"edited: {DIGEST_NAME} has {expected.last} as the last content hash")
    elif content != expected.hash:
        checker.problems.append((0, f"edited: its content is not what {DIGEST_NAME} says"))


def _lines(path: Path, checker: LineChecker) -> Iterator[bytes]:
    """Lines with their newline; a stream that breaks off is a problem of the line it breaks in."""
    try:
        with _open(path) as stream:
            yield from stream
    except _BROKEN_STREAM as error:
        checker.line += 1
        checker.problem(f"torn: the compressed stream breaks off: {error}")
    except OSError as error:
        checker.problems.append((0, f"cannot be read: {error.strerror or error}"))


def _open(path: Path) -> BinaryIO:
    match path.suffix:
        case ".gz":
            return cast("BinaryIO", gzip.open(path, "rb"))
        case ".zst":
            return io.BufferedReader(Frames(path.open("rb")), _CHUNK_BYTES)
        case _:
            return path.open("rb")


__all__ = ["LogFile", "LogProblem", "LogReader", "LoggedCommit"]
