"""Bad recordings: refused with file and line, or read with what is unknown of them."""

from __future__ import annotations

import gzip
import lzma
import re
from pathlib import Path

import pytest
import zstandard

from pagewake.errors import ConfigError, DataError
from pagewake.recorded.check import RecordedChecks, check_recording
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from tests.support.recordings import recording

TEXT = gzip.decompress(recording("burst.txt.gz").read_bytes())
LINES = TEXT.splitlines(keepends=True)
SEQ = gzip.decompress(recording("seq.txt.gz").read_bytes())
TIME = re.compile(rb" ([0-9]+)\.([0-9]{6}): ")


def woven(*texts: bytes) -> bytes:
    lines = [text.splitlines(keepends=True) for text in texts]
    return b"".join(b"".join(pair) for pair in zip(*lines, strict=False))


REFUSED = {
    "empty": (b"", ":1: no recording"),
    "binary": (b"\x7fELF" + bytes(100), ":1: binary"),
    "prose": (b"all is well\n" * 10, ":1: no recording"),
    "torn gzip": (gzip.compress(TEXT)[:30_000], r":\d+: the gzip data is torn"),
    "torn xz": (lzma.compress(TEXT)[:30_000], r":\d+: the xz data is torn"),
    "torn zstd": (zstandard.compress(TEXT)[:30_000], r":\d+: the zstd data is torn"),
    "line by line": (woven(TEXT, b"".join(LINES[1000:])), r":\d+: the time has gone back"),
    "counter": (TIME.sub(rb" \1\2: ", TEXT), ":13: 19021716 is a count of a clock"),
    "negative": (TIME.sub(rb" -\1.\2: ", TEXT), ":1: no recording"),
    "other events": (
        b"".join(line for line in LINES if b"kvm_" not in line),
        r":1: no line is one of a vcpu thread of KVM \(there are 440 of sched_switch\); record",
    ),
    "two VMs": (
        b"".join(
            line.replace(b"KVM-122 ", b"KVM-12%d " % (2 + n % 2)) for n, line in enumerate(LINES)
        ),
        r":\d+: threads 12\d and 12\d both are vcpu 1",
    ),
}  # fmt: skip
SPANS = {
    "cut off": (TEXT[:300_000], "unreadable", "no end"),
    "a line torn out": (
        TEXT.replace(LINES[2000], LINES[2000][:-9]),
        "unreadable",
        "two lines in one",
    ),
    "zeros": (TEXT.replace(LINES[2000], bytes(512) + b"\n"), "unreadable", "no line of a"),
    "one behind the other": (TEXT + TEXT, "unreadable", "goes back"),
    "a time that wraps": (
        b"".join(LINES[:3000] + [TIME.sub(rb" 1.\2: ", line) for line in LINES[3000:]]),
        "unreadable",
        "goes back",
    ),
    "overwritten": (
        TEXT.replace(b"89694/89694", b"89694/99694"), "lost", "10000 events are lost",
    ),
    "lost": (
        TEXT.replace(LINES[2000], b"CPU:1 [LOST 12 EVENTS]\n"), "lost", "12 events of CPU 1",
    ),
}  # fmt: skip


def imported(folder: Path, *contents: bytes) -> RecordedChecks:
    names = []
    for number, content in enumerate(contents):
        names.append(folder / f"f{number}")
        names[-1].write_bytes(content)
    import_files([str(name) for name in names], folder / "log")
    return check_recording(RecordingReader(folder / "log"))


@pytest.mark.parametrize(("content", "what"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, content: bytes, what: str
) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}/f0{what}") as refused:
        imported(tmp_path, content)
    assert refused.value.exit_code == 65
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(("content", "why", "what"), SPANS.values(), ids=SPANS)
def test_what_is_unknown_is_told_and_breaks_no_rule(
    tmp_path: Path, content: bytes, why: str, what: str
) -> None:
    checks = imported(tmp_path, content)
    assert checks.breaches == []
    assert any(span.why == why and what in span.what for span in checks.spans)


@pytest.mark.parametrize(
    "content",
    [
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"CPU 1/KVM-", b"CPU \xff1: -2 [/KVM-").replace(b"CPU 0/", b"caf\xe9 0/"),
        re.sub(rb"(?m)^ +", b"", TEXT),
    ],
    ids=["CRLF", "comms that are no UTF-8", "blanks stripped"],
)
def test_what_can_be_read_all_the_same_is_read_alike(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plain").mkdir()
    assert imported(tmp_path, content).events == imported(tmp_path / "plain", TEXT).events


def test_parts_of_one_recording_are_one(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    parts = imported(tmp_path, b"".join(LINES[3000:]), b"".join(LINES[:3000]))
    whole = imported(tmp_path / "whole", TEXT)
    assert parts.events == whole.events
    assert [span.why for span in parts.spans] == [span.why for span in whole.spans]


def test_a_file_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="f0 is given 2 times"):
        import_files([str(tmp_path / "f0")] * 2, tmp_path / "log")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Reading the memory of a process at address 0 is an error of the device."""
    with pytest.raises(DataError, match="/proc/self/mem:1: cannot be read: Input/output error"):
        import_files(["/proc/self/mem"], tmp_path / "log")


def test_files_of_other_clocks_are_told(tmp_path: Path) -> None:
    checks = imported(tmp_path, SEQ, TIME.sub(rb" 17000\1.\2: ", TEXT))
    (apart,) = [span for span in checks.spans if span.why == "clock"]
    assert "s after" in apart.what
    assert "trace_clock mono" in apart.what


def test_gigabytes_of_other_events_leave_nothing_behind(tmp_path: Path) -> None:
    other = b"  a-1  [000] d..1.    19.021717: irq_handler_entry: irq=1 name=x\n"
    content = b"".join([*LINES[:100], other * 100_000, *LINES[100:]])
    (tmp_path / "plain").mkdir()
    assert imported(tmp_path, content).events == imported(tmp_path / "plain", TEXT).events
    assert RecordingReader(tmp_path / "log").recording.others["irq_handler_entry"] == 100_000


def test_threads_that_vm_names_in_vain_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the threads that --vm names") as it:
        import_files([str(recording("seq.txt.gz"))], tmp_path / "log", groups=[[99999]])
    assert "193" in str(it.value)
