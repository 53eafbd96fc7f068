"""`digest.txt` of a log directory: what the run came to, and what its files must contain.

One line each, columns separated by two spaces, the value before the name as `sha256sum` has it:

    <digest>   run
    <digest>   host-0                            one per simulated host
    <version>  code                              one per code version that wrote records
    <mode>     journal                           none or faults; no such line: full
    <hash>     run.toml
    <hash>     faults-0.jsonl  <records>  <content hash of the last record, or ->
    <hash>     digest.txt                        over the lines above

Hashes are over uncompressed content, so a file may be compressed afterwards.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from pagewake.errors import DataError
from pagewake.events.journal import JournalMode

DIGEST_NAME = "digest.txt"
RUN_NAME = "run.toml"
SUM_BYTES = 16
"""128 bits: against damage and accidents, not against forgery."""


class FileSum(NamedTuple):
    """What a file of records must contain; `last` is `-` when it is empty."""

    hash: str
    records: int
    last: str


class Sums(NamedTuple):
    """The content of `digest.txt`."""

    digest: str
    host_digests: list[str]
    codes: list[str]
    run_toml: str
    files: dict[str, FileSum]
    journal: JournalMode = "full"


def sum_of(content: bytes) -> str:
    """The hash by which `digest.txt` knows a file."""
    return blake2b(content, digest_size=SUM_BYTES).hexdigest()


def format_sums(sums: Sums) -> str:
    lines = [f"{sums.digest}  run"]
    lines += [f"{digest}  host-{index}" for index, digest in enumerate(sums.host_digests)]
    lines += [f"{code}  code" for code in sums.codes]
    if sums.journal != "full":
        lines += [f"{sums.journal}  journal"]
    lines += [f"{sums.run_toml}  {RUN_NAME}"]
    lines += [
        f"{file.hash}  {name}  {file.records}  {file.last}" for name, file in sums.files.items()
    ]
    text = "".join(f"{line}\n" for line in lines)
    return f"{text}{sum_of(text.encode())}  {DIGEST_NAME}\n"


def parse_sums(text: str) -> Sums:
    """The content of `digest.txt`; DataError when it is not as it was written."""
    lines = text.splitlines(keepends=True)
    above = "".join(lines[:-1])
    if not lines or lines[-1] != f"{sum_of(above.encode())}  {DIGEST_NAME}\n":
        raise DataError("torn or edited: its last line is not the hash of the lines above")
    sums = Sums("", [], [], "", {})
    for line in lines[:-1]:
        sums = _with_line(sums, line.rstrip("\n").split("  "))
    return sums


def _with_line(sums: Sums, columns: list[str]) -> Sums:
    match columns:
        case [value, "run"]:
            return sums._replace(digest=value)
        case [value, "code"]:
            sums.codes.append(value)
        case [("none" | "faults") as mode, "journal"]:
            return sums._replace(journal=mode)
        case [value, name] if name == RUN_NAME:
            return sums._replace(run_toml=value)
        case [value, name] if name.startswith("host-"):
            sums.host_digests.append(value)
        case [value, name, records, last] if records.isdecimal():
            sums.files[name] = FileSum(value, int(records), last)
        case _:
            raise DataError(f"no line of it is like {'  '.join(columns)!r}")
    return sums
