"""Lines of recordings, in the shapes that kernels and tools print."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pagewake.errors import DataError
from pagewake.recorded.lines import Item, Line, LineReader, Lost, Unreadable, read_lines

WANTED = frozenset({"kvm_async_pf_ready", "kvm_entry"})
Pack = Callable[[bytes], bytes]
READY = "token 0x9d001 gva 0x3b3e800"


def items(text: str, wanted: frozenset[str] = WANTED) -> list[Item]:
    return list(LineReader("f", wanted).feed(text))


@pytest.mark.parametrize(
    ("line", "comm", "pid", "tgid", "cpu", "time_ns"),
    [
        pytest.param(
            f"       CPU 1/KVM-591     [001] d..1.   355.856402: kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, None, 1, 355_856_402_000, id="tracefs 6.1",
        ),
        pytest.param(
            f"            qemu-591   [001]   355.856402: kvm_async_pf_ready: {READY}",
            "qemu", 591, None, 1, 355_856_402_000, id="tracefs 2.6.38, trace-cmd report",
        ),
        pytest.param(
            f"       CPU 1/KVM-591     (    560) [001] .... 35.856402: kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, 560, 1, 35_856_402_000, id="record-tgid",
        ),
        pytest.param(
            f"       CPU 1/KVM-591     (-------) [001] .... 5.856402: kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, None, 1, 5_856_402_000, id="tgid unknown",
        ),
        pytest.param(
            f"       CPU 1/KVM-591     1d..2.   355.856402123: kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, None, 1, 355_856_402_123, id="trace-cmd report -l -t",
        ),
        pytest.param(
            f"       CPU 1/KVM   560/591   [001]   355.856402: kvm:kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, 560, 1, 355_856_402_000, id="perf script, pid and tid",
        ),
        pytest.param(
            f"       fc_vcpu 1   591 [001]   355.856402: kvm:kvm_async_pf_ready: {READY}",
            "fc_vcpu 1", 591, None, 1, 355_856_402_000, id="perf script",
        ),
        pytest.param(
            f"fc_vcpu 1   591 K   355.856402123:    1 kvm:kvm_async_pf_ready: {READY}",
            "fc_vcpu 1", 591, None, None, 355_856_402_123, id="perf script, other columns",
        ),
    ],
)  # fmt: skip
def test_who_when_and_what(
    line: str, comm: str, pid: int, tgid: int | None, cpu: int | None, time_ns: int
) -> None:
    (found,) = items(line + "\n")
    assert found == Line(time_ns, comm, pid, tgid, cpu, "kvm_async_pf_ready", READY, 1, "f")


def test_lost_events_are_told_with_their_cpu() -> None:
    lost = items("CPU:3 [LOST 17 EVENTS]\nCPU:3 [LOST EVENTS]\n")
    assert lost == [Lost(0, 3, 17, 1, "f"), Lost(0, 3, None, 2, "f")]


def test_what_nobody_reads_is_counted() -> None:
    reader = LineReader("f", WANTED)
    line = "  a-1  [000] d..1.  1.000001: sched_switch: prev_comm=a: b\n"
    assert list(reader.feed("# tracer: nop\n#\n" + line * 3)) == []
    assert reader.others["sched_switch"] == 3


def test_a_torn_line_is_unreadable() -> None:
    (line, torn) = items(f"  a-1  [000] d..1.  1.000001: kvm_entry: vcpu 0\n  a-1  [0{READY}\n")
    assert isinstance(line, Line)
    assert torn == Unreadable(1_000_001_000, "no line of a recording", 2, "f")


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lzma.compress, zstandard.compress]
)  # fmt: skip
def test_files_are_unpacked_by_what_is_in_them(tmp_path: Path, pack: Pack) -> None:
    text = "  a-1  [000] d..1.  1.000001: kvm_entry: vcpu 0\n" * 100_000
    (tmp_path / "f").write_bytes(pack(text.encode()))
    assert sum(1 for _ in read_lines(str(tmp_path / "f"), WANTED)) == 100_000


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.compress])
def test_torn_packed_data_is_refused(tmp_path: Path, pack: Pack) -> None:
    text = "".join(f"  a-1  [000] d..1.  1.{n:06}: kvm_entry: vcpu 0\n" for n in range(10_000))
    packed = pack(text.encode())
    (tmp_path / "f").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="torn or damaged"):
        list(read_lines(str(tmp_path / "f"), WANTED))


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello\n" * 10)
    with pytest.raises(DataError, match="no recording"):
        list(read_lines(str(tmp_path / "f"), WANTED))
