"""Files of recordings: packed, written by tools, torn, or none at all."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard

from pagewake.errors import DataError
from pagewake.recorded.lines import Line, read_lines
from pagewake.recorded.opening import opened
from tests.support.recordings import recording

WANTED = dict.fromkeys(
    f"kvm_{name}"
    for name in ("async_pf_ready", "async_pf_not_present", "inj_exception", "msr", "page_fault")
)
Pack = Callable[[bytes], bytes]
PACKED: tuple[Pack, ...] = (gzip.compress, lzma.compress, zstandard.compress)


def lines(path: Path | str) -> list[Line]:
    found = list(read_lines(str(path), WANTED))
    assert all(isinstance(item, Line) for item in found)
    return [item for item in found if isinstance(item, Line)]


def text(count: int) -> bytes:
    return b"".join(b"  a-1  [000] d..1.  1.%06d: kvm_msr: x\n" % n for n in range(count))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "f"


@pytest.mark.parametrize("pack", [bytes, *PACKED])
def test_files_are_unpacked_by_what_is_in_them(file: Path, pack: Pack) -> None:
    file.write_bytes(pack(text(100_000)))
    assert [line.number for line in lines(file)] == list(range(1, 100_001))


def test_parts_packed_one_behind_the_other_are_one_file(file: Path) -> None:
    for pack in PACKED:
        file.write_bytes(pack(text(10)) + pack(text(20)))
        assert len(list(read_lines(str(file), WANTED))) == 30


def test_a_file_s_sum_is_that_of_its_bytes(file: Path) -> None:
    file.write_bytes(gzip.compress(text(100_000)))
    with opened(str(file)) as source:
        assert sum(block.count("\n") for block in source.blocks()) == 100_000
    assert source.sha256 == sha256(file.read_bytes()).hexdigest()
    assert source.bytes_read == file.stat().st_size


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.BytesIO(gzip.compress(text(10)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
    assert [line.file for line in lines("-")] == ["<stdin>"] * 10


def test_crlf_is_an_end_of_line(file: Path) -> None:
    file.write_bytes(text(10).replace(b"\n", b"\r\n"))
    assert {line.text for line in lines(file)} == {"x"}


@pytest.mark.parametrize("pack", PACKED)
@pytest.mark.parametrize("kept", [0.1, 0.9, 1.5, 1.999])
def test_torn_packed_data_is_refused(file: Path, pack: Pack, kept: float) -> None:
    packed = pack(text(10_000))
    file.write_bytes((packed * 2)[: int(kept * len(packed))])
    with pytest.raises(DataError, match=r"f:\d+: the \w+ data is torn or damaged"):
        lines(file)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "f:1: no recording"),
        (b"\x7fELF\2\1\1\0", "f:1: binary, no text (a program)"),
        (b"\0" * 100, "f:1: binary, no text (it holds zeros)"),
        ("\ufeffa-1".encode("utf-16"), "f:1: binary, no text (UTF-16: convert it"),
        (b"BZh91AY", "f:1: binary, no text (packed by bzip2: unpack it)"),
        (b"x" * 1_000_000, "f:1: no line ends within 65536 bytes"),
        (gzip.compress(b"PERFILE2" + bytes(100)), "f:1: what perf writes can be read from a file"),
        (text(10) + b"x" * 1_000_000, "f:11: no line ends within 65536 bytes"),
    ],
    ids=["empty", "elf", "zeros", "utf16", "bzip2", "no ends", "perf.data.gz", "no end"],
)
def test_what_is_no_text_is_refused(file: Path, content: bytes, what: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError) as refused:
        lines(file)
    assert what in str(refused.value)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes programs, which are all there is on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()

    def make(name: str, script: str) -> None:
        path = tmp_path / "bin" / name
        path.write_text(f"#!{os.path.realpath('/bin/sh')}\n{script}\n")
        path.chmod(0o755)

    return make


TOOLS = [("trace-cmd", b"\x17\x08\x44tracing6\0"), ("perf", b"PERFILE2\0\0\0\0")]
PRINT = """for last; do :; done
echo "  a-1  [000]  1.000001: kvm_msr: of ${last##*/}" """


@pytest.mark.parametrize(("tool", "magic"), TOOLS)
def test_what_a_tool_writes_is_read_through_it(
    file: Path, tools: Callable[[str, str], None], tool: str, magic: bytes
) -> None:
    file.write_bytes(magic)
    tools(tool, PRINT)
    assert [line.text for line in lines(file)] == ["of f"]


@pytest.mark.parametrize(("tool", "magic"), TOOLS)
def test_a_tool_that_fails_or_is_missing_is_told(
    file: Path, tools: Callable[[str, str], None], tool: str, magic: bytes
) -> None:
    file.write_bytes(magic)
    with pytest.raises(
        DataError, match=rf'f:1: a file of {tool}, which is not on the PATH .*"{tool} '
    ):
        lines(file)
    tools(tool, PRINT + "; echo first >&2; echo it is broken >&2; exit 3")
    with pytest.raises(DataError, match=rf'f:2: "{tool} .*f" ends with 3: it is broken'):
        lines(file)


@pytest.mark.parametrize(
    "printed", ["trace-cmd", "trace-cmd-l-t", "trace-cmd-N", "perf", "perf-columns"]
)
def test_tools_print_the_same_events(printed: str) -> None:
    """Their fixtures are the beginning of one recording; a `-t` has nanoseconds beside it."""
    there = lines(recording(f"seq.{printed}.txt.gz"))
    here = lines(recording("seq.txt.gz"))[: len(there)]
    assert len(there) > 20
    assert [said(line) for line in there] == [said(line) for line in here]


def said(line: Line) -> tuple[int, int, str, str]:
    """Without what a tool leaves out of a text."""
    text = line.text.partition(" info")[0].partition("[imm")[0].partition(" (Fixed")[0]
    return line.time_ns // 1000, line.pid, line.event, text
