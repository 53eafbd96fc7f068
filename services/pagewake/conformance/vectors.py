"""The conformance vector format: one typed struct per row, and reading files of it strictly.

A `.jsonl` file is a header and one row per line; `hash32` is a single object with its rows inside.
Either may be gzip'd.  Anything that the format does not have is a `DataError` with file and line.
"""

from __future__ import annotations

import codecs
import difflib
import gzip
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from pagewake.errors import ConfigError, DataError

FORMAT = "apf-conformance"
VERSION = 1  # of the format; a file of another one is refused

U32: TypeAlias = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Hex: TypeAlias = Annotated[str, Meta(pattern="^0x[0-9a-fA-F]{1,16}$")]
Byte: TypeAlias = Annotated[int, Meta(ge=0, le=255)]
# A token has 12 bits for the vcpu.
Cpu: TypeAlias = Annotated[int, Meta(ge=0, le=4095)]
Cpus: TypeAlias = Annotated[int, Meta(ge=1, le=4096)]
Failures: TypeAlias = Annotated[int, Meta(ge=-1, le=1_000_000)]
Task: TypeAlias = Annotated[int, Meta(ge=0)]
Bit: TypeAlias = Literal[0, 1]
Expect: TypeAlias = dict[str, Any]


class Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base of all rows: a key that the format does not have is an error."""


class Header(msgspec.Struct, frozen=True):
    """First line of a file, or the outside of a `hash32` object."""

    format: str
    version: int
    family: str


# --------------------------------------------------------------------------- sleepers


class Wait(Strict, frozen=True, tag_field="op", tag="wait"):
    task: Task
    cpu: Cpu
    token: U32
    expect: Expect


class CpuOffline(Strict, frozen=True, tag_field="op", tag="cpu_offline"):
    cpu: Cpu
    expect: Expect


class AllocFail(Strict, frozen=True, tag_field="op", tag="alloc_fail"):
    n: Failures
    expect: Expect


class WaitMeanwhile(Strict, frozen=True, tag_field="op", tag="wait"):
    at: Annotated[int, Meta(ge=1)]
    task: Task
    cpu: Cpu
    token: U32


class WakeMeanwhile(Strict, frozen=True, tag_field="op", tag="wake"):
    at: Annotated[int, Meta(ge=1)]
    cpu: Cpu
    token: U32


class OfflineMeanwhile(Strict, frozen=True, tag_field="op", tag="cpu_offline"):
    at: Annotated[int, Meta(ge=1)]
    cpu: Cpu


class AllocFailMeanwhile(Strict, frozen=True, tag_field="op", tag="alloc_fail"):
    at: Annotated[int, Meta(ge=1)]
    n: Failures


Meanwhile: TypeAlias = WaitMeanwhile | WakeMeanwhile | OfflineMeanwhile | AllocFailMeanwhile


class Wake(Strict, frozen=True, tag_field="op", tag="wake"):
    cpu: Cpu
    token: U32
    expect: Expect
    on_retry: list[Meanwhile] | None = None


SleeperOp: TypeAlias = Wait | Wake | CpuOffline | AllocFail


class SleepersRow(Strict, frozen=True):
    name: str
    cpus: Cpus
    ops: list[SleeperOp]
    tags: list[str] = []


# --------------------------------------------------------------------------- traps


class Trap(Strict, frozen=True):
    cpu: Cpu
    cr2: Hex
    error_code: Hex
    expect: Expect
    enabled: U32 | None = None
    host_reason: U32 | None = None


class TrapsRow(Strict, frozen=True):
    name: str
    cpus: Cpus
    steps: list[Trap]


# --------------------------------------------------------------------------- pf-interception


class InterceptRow(Strict, frozen=True, tag_field="kind", tag="intercept"):
    id: str
    exit_code: Literal[78, 1024]
    apf_reason: U32
    npt: Bit
    exit_info_2: Hex
    expect: Expect
    exit_info_1: Hex = "0x0"
    pending: list[Literal["exception", "interrupt", "nmi"]] = []
    mmu_ret: int = 1


class BlockingWaitRow(Strict, frozen=True, tag_field="kind", tag="blocking-wait"):
    id: str
    exit_info_2: Hex
    expect: Expect
    apf_reason: Literal[1] = 1
    early_wake: bool = False
    spurious_wakeups: Annotated[int, Meta(ge=0, le=100_000)] = 0


# --------------------------------------------------------------------------- nested-routing, latch


class Words(Strict, frozen=True):
    cr: U32 = 0
    dr: U32 = 0
    exceptions: U32 = 0
    misc: Hex = "0x0"


class Map(Strict, frozen=True):
    fill: Byte = 0
    bytes: list[tuple[Annotated[int, Meta(ge=0)], Byte]] = []
    unreadable: bool = False


class RoutingRow(Strict, frozen=True):
    id: str
    exit_code: U32
    apf_reason: U32
    npt: Bit
    expect: Expect
    code_name: str = ""
    setting: str = ""
    flags: list[str] = []
    l1: Words = Words()
    rcx: Hex = "0x0"
    exit_info_1: Hex = "0x0"
    msr_bitmap: Map = Map()
    io_bitmap: Map = Map()


class Run(Strict, frozen=True, tag_field="op", tag="run"):
    exit_code: U32
    expect: Expect
    enabled: U32 | None = None
    host_reason: U32 | None = None
    exit_required: bool = False
    exit_info_1: Hex = "0x0"
    exit_info_2: Hex = "0x0"


class Handle(Strict, frozen=True, tag_field="op", tag="handle"):
    expect: Expect
    in_l2: bool = False
    npt: Bit = 1
    l1: Words = Words()


class QueueException(Strict, frozen=True, tag_field="op", tag="queue_exception"):
    vector: Annotated[int, Meta(ge=0, le=31)]
    expect: Expect
    in_l2: bool = True
    l1: Words = Words()


class LatchRow(Strict, frozen=True):
    name: str
    steps: list[Run | Handle | QueueException]


# --------------------------------------------------------------------------- nested-vmx


class VmxControls(Strict, frozen=True):
    exceptions: U32 = 0
    pf_mask: U32 = 0
    pf_match: U32 = 0
    hlt_exiting: Bit = 0


class VmxExitRow(Strict, frozen=True, tag_field="kind", tag="exit"):
    id: str
    exit_reason: Annotated[int, Meta(ge=0, le=0xFFFF)]
    expect: Expect
    vector: Annotated[int, Meta(ge=0, le=31)] = 0
    apf_reason: U32 = 0
    ept: Bit = 1
    l1: VmxControls = VmxControls()


class VmxExceptionRow(Strict, frozen=True, tag_field="kind", tag="exception"):
    id: str
    vector: Annotated[int, Meta(ge=0, le=31)]
    expect: Expect
    error_code: U32 = 0
    nested_apf: Bit = 0
    token: Hex = "0x0"
    cr2: Hex = "0x0"
    l1: VmxControls = VmxControls()


# --------------------------------------------------------------------------- hash32


class HashRow(Strict, frozen=True, array_like=True):
    token: U32
    bucket: int


class HashFile(msgspec.Struct, frozen=True):
    vectors: list[HashRow]


Row: TypeAlias = (
    SleepersRow
    | TrapsRow
    | InterceptRow
    | BlockingWaitRow
    | RoutingRow
    | LatchRow
    | VmxExitRow
    | VmxExceptionRow
    | HashRow
)

ROW_TYPES: dict[str, Any] = {
    "hash32": HashRow,
    "sleepers": SleepersRow,
    "traps": TrapsRow,
    "pf-interception": InterceptRow | BlockingWaitRow,
    "latch": LatchRow,
    "nested-routing": RoutingRow,
    "nested-vmx": VmxExitRow | VmxExceptionRow,
}


# --------------------------------------------------------------------------- reading


class VectorFile(msgspec.Struct, frozen=True):
    """A file's family and its rows, each with the number of its line."""

    path: str
    family: str
    rows: list[tuple[int, Row]]


def read_vectors(path: Path) -> VectorFile:
    """Read and check a whole file: `ConfigError` if it cannot be read, `DataError` for content."""
    content = _content(path)
    if content.startswith(codecs.BOM_UTF8):
        message = f"{path}:1: begins with a byte order mark: save it as UTF-8 without one"
        raise DataError(message)
    lines = content.split(b"\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), None)
    if first is None:
        message = f"{path}: empty, a header line is expected"
        raise DataError(message)
    if path.name.removesuffix(".gz").endswith(".json"):
        first, lines = 0, [b"\n".join(lines)]
    family = _family(path, first + 1, lines[first])
    if family == "hash32":
        found = _decode(path, first + 1, lines[first], HashFile)
        rows = [(first + 1, row) for row in found.vectors]
        _expect_no_more(path, lines, first)
    else:
        numbered = [(n, line) for n, line in enumerate(lines, 1) if n > first + 1 and line.strip()]
        rows = [(n, _decode(path, n, line, ROW_TYPES[family])) for n, line in numbered]
    if not rows:
        message = f"{path}: no rows behind the header, so nothing is checked"
        raise DataError(message)
    return VectorFile(str(path), family, rows)


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); give the path of a vector file"
        raise ConfigError(message) from None
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        message = f"{path}: not a complete gzip file ({error})"
        raise DataError(message) from None


def _family(path: Path, line: int, text: bytes) -> str:
    try:
        header = msgspec.json.decode(text, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"{path}:{line}: not a vector file: its first line is no header such as"
            f' {{"format": "{FORMAT}", "version": {VERSION}, "family": "sleepers"}} ({error})'
        ) from None
    if header.format != FORMAT:
        message = f'{path}:{line}: format is "{header.format}", expected "{FORMAT}"'
        raise DataError(message)
    if header.version != VERSION:
        message = f"{path}:{line}: version {header.version} of the format, expected {VERSION}"
        raise DataError(message)
    if header.family not in ROW_TYPES:
        close = difflib.get_close_matches(header.family, ROW_TYPES, n=1, cutoff=0)
        message = f'{path}:{line}: unknown family "{header.family}", nearest is "{close[0]}"'
        raise DataError(message)
    return header.family


def _decode(path: Path, line: int, text: bytes, kind: Any) -> Any:  # noqa: ANN401
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path}:{line}: {error}"
        raise DataError(message) from None


def _expect_no_more(path: Path, lines: list[bytes], first: int) -> None:
    for number, line in enumerate(lines[first + 1 :], first + 2):
        if line.strip():
            message = f"{path}:{number}: a hash32 file is a single object, but more follows it"
            raise DataError(message)
