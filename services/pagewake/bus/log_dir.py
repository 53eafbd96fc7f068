"""Writing a log directory: `run.toml`, a JSON-lines file per topic partition, `digest.txt`.

All is written into a temporary neighbour and renamed at the end, so a directory of that name is a
whole log or it is not there.  `log_reader` is the other direction.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Self

from pagewake.bus.log_sums import (
    DIGEST_NAME,
    RUN_NAME,
    SUM_BYTES,
    FileSum,
    Sums,
    format_sums,
    sum_of,
)
from pagewake.errors import ConfigError
from pagewake.events.codec import Encoded
from pagewake.events.journal import JournalMode

BUFFER_BYTES = 256 * 1024
"""A file is opened, appended to and closed per buffer; every partition may hold one."""


def file_name(topic: str, partition: int) -> str:
    """`faults-0.jsonl` for partition 0 of `faults`."""
    return f"{topic}-{partition}.jsonl"


class _LogFile:
    """The file of one partition, open only while it is appended to: descriptors are few."""

    __slots__ = ("path", "pending", "pending_bytes", "hash", "records", "last")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        self.hash = blake2b(digest_size=SUM_BYTES)
        self.records = 0
        self.last = "-"
        path.touch()

    def append(self, encoded: Encoded) -> None:
        self.pending.append(encoded.record)
        self.pending_bytes += len(encoded.record)
        self.records += 1
        self.last = encoded.hash
        if self.pending_bytes >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.pending:
            text = b"\n".join([*self.pending, b""])
            self.hash.update(text)
            self.pending.clear()
            self.pending_bytes = 0
            with self.path.open("ab") as file:
                file.write(text)

    def sum(self) -> FileSum:
        return FileSum(self.hash.hexdigest(), self.records, self.last)


class NewDirectory:
    """A directory that is whole or not there: filled as a neighbour, and renamed at the end.

    As a context manager it leaves nothing behind unless it was kept.
    """

    def __init__(self, directory: Path) -> None:
        """ConfigError when `directory` cannot be written, or has something in it."""
        self.directory = directory
        self._place = self._resolved()
        self._missing: list[Path] = []
        self.temporary = self._make_temporary()

    def _resolved(self) -> Path:
        try:
            return self.directory.resolve()
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"{self.directory}: cannot be written: {error}") from None

    def _make_temporary(self) -> Path:
        try:
            self._refuse_place()
            place = self._place
            self._missing = [up for up in place.parents if not up.exists()]
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(mkdtemp(prefix=f".{place.name}.", dir=place.parent))
            temporary.chmod(0o777 & ~_umask())
        except OSError as error:
            raise unwritable(self.directory, error) from error
        return temporary

    def _refuse_place(self) -> None:
        """Refuse now what could not be given the log's name at the end."""
        directory, place = self.directory, self._place
        if directory.is_symlink():
            raise ConfigError(f"{directory} is a symbolic link: name a new directory for the log")
        if place == Path.cwd():
            raise ConfigError(f"{directory} is the current directory: name a new one for the log")
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigError(
                f"{directory} exists and is not an empty directory: "
                f"remove it or name another one for the log"
            )
        around = next((up for up in place.parents if (up / DIGEST_NAME).exists()), None)
        if around is not None:
            raise ConfigError(f"{directory} lies inside the log {around}: name one outside of it")

    def keep(self) -> None:
        """Give the directory its name."""
        try:
            self.temporary.replace(self._place)
        except OSError as error:
            raise unwritable(self.directory, error) from error

    def close(self) -> None:
        """Remove what was written, unless it is kept."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for made in self._missing:
            with suppress(OSError):  # not empty: the log, or somebody else's file, is in it
                made.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def unwritable(directory: Path, error: OSError) -> ConfigError:
    """Why nothing can be written into a directory."""
    where = f" ({error.filename})" if error.filename else ""
    return ConfigError(f"{directory}: cannot be written: {error.strerror}{where}")


class LogFiles:
    """Files of a log that is being written; each is one process's alone."""

    def __init__(self, directory: Path, temporary: Path) -> None:
        """They are in `temporary`; `directory` is the name that the log will have."""
        self.directory = directory
        self._temporary = temporary
        self._files: dict[str, _LogFile] = {}

    def declare(self, topic: str, partition: int) -> None:
        """Have a file for this partition, even if nothing is ever appended."""
        name = file_name(topic, partition)
        if name not in self._files:
            self._files[name] = _LogFile(self._temporary / name)

    def append(self, topic: str, partition: int, encoded: Encoded) -> None:
        """Append a record to the file of a declared partition."""
        try:
            self._files[f"{topic}-{partition}.jsonl"].append(encoded)
        except OSError as error:
            raise unwritable(self.directory, error) from error

    def sums(self) -> dict[str, FileSum]:
        """Write what is left; what the files contain, by name."""
        try:
            for file in self._files.values():
                file.flush()
        except OSError as error:
            raise unwritable(self.directory, error) from error
        return {name: file.sum() for name, file in self._files.items()}


class LogWriter(LogFiles):
    """Writes one log.  As a context manager it leaves nothing behind unless it was finished."""

    def __init__(self, directory: Path, run_toml: str, journal: JournalMode = "full") -> None:
        """`run_toml` is the text of `run.toml`; ConfigError when `directory` cannot be written."""
        self.run_toml = run_toml
        self.journal = journal
        self._new = NewDirectory(directory)
        super().__init__(directory, self._new.temporary)
        self._elsewhere: dict[str, FileSum] = {}
        try:
            (self._temporary / RUN_NAME).write_text(run_toml, encoding="utf-8", newline="\n")
        except OSError as error:
            self.close()
            raise unwritable(directory, error) from error

    def files(self) -> LogFiles:
        """Of this log, for whoever else writes a part of it, and hands back their sums."""
        return LogFiles(self.directory, self._temporary)

    def adopt(self, sums: dict[str, FileSum]) -> None:
        """Files that were written elsewhere belong to the log."""
        assert not self._elsewhere.keys() & sums.keys(), "a file is one process's alone"
        self._elsewhere |= sums

    def finish(self, digest: str, host_digests: list[str], codes: list[str]) -> None:
        """Write what is left and `digest.txt`, and give the directory its name."""
        sums = self.sums() | self._elsewhere
        files = {name: sums[name] for name in sorted(sums, key=_natural)}
        try:
            run_sum = sum_of(self.run_toml.encode())
            text = format_sums(Sums(digest, host_digests, codes, run_sum, files, self.journal))
            (self._temporary / DIGEST_NAME).write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise unwritable(self.directory, error) from error
        self._new.keep()

    def close(self) -> None:
        """Remove what was written, unless the log is finished."""
        self._new.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _natural(name: str) -> tuple[str, int]:
    """Sorts `faults-2.jsonl` before `faults-10.jsonl`."""
    topic, partition = name.removesuffix(".jsonl").rsplit("-", 1)
    return topic, int(partition)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
