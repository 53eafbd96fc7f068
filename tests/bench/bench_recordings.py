"""How fast recordings are imported and checked, and in how much memory, by their size.

    python -m tests.bench.bench_recordings [--quick]

A recording of a real kernel is repeated: from a moment at which nothing is outstanding to another,
with times and tokens that go on, so that every check holds and there is no violation.  Once as it
is, once with nine lines of an event that nobody reads to one of it.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.common import quick, table
from tests.support.recordings import recording

SIZES_MB = (64, 256, 1024)
QUICK_SIZES_MB = (4,)
OTHERS = 9
OTHER = "          <idle>-0       [001] d.h1. {}: irq_handler_entry: irq=24 name=virtio0\n"
LINE = re.compile(r"(.*\[\d+\] \S+) +(\d+)\.(\d{6}): (\w+): (.*\n)")
TOKEN = re.compile(r"token 0x([0-9a-f]+)(.*)", re.DOTALL)
BROADCAST = 0xFFFFFFFF
LEARNED = 200  # lines, after which none is of what was outstanding as it began


class Part(NamedTuple):
    """A line without what changes: its time, and a token."""

    before: str
    at_us: int
    after: str
    token: int | None
    rest: str


class Unit(NamedTuple):
    """What is repeated: its lines, how long it lasts, and the tokens that each vcpu uses in it."""

    parts: Sequence[Part]
    length_us: int
    ids: dict[int, int]

    def repeated(self, times: int) -> Iterator[str]:
        at_us = times * self.length_us
        for part in self.parts:
            seconds, us = divmod(part.at_us + at_us, 1_000_000)
            told = ""
            if part.token is not None:
                told = f"token {part.token + (times * self.ids[part.token & 0xFFF] << 12):#x}"
            yield f"{part.before} {seconds:5}.{us:06}: {part.after}{told}{part.rest}"


def unit() -> Unit:
    """The longest stretch between two moments at which all is quiet."""
    lines = gzip.decompress(recording("burst.txt.gz").read_bytes()).decode().splitlines(True)
    parts = [_part(line) for line in lines if line[0] != "#"]
    quiet = _quiet(parts)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    chosen = parts[quiet[0] : quiet[-1]]
    for part in chosen:
        if part.token is not None:
            first.setdefault(part.token & 0xFFF, part.token >> 12)
            last[part.token & 0xFFF] = max(part.token >> 12, last.get(part.token & 0xFFF, 0))
    ids = {vcpu: last[vcpu] - first[vcpu] + 1 for vcpu in first}
    return Unit(chosen, parts[quiet[-1]].at_us - chosen[0].at_us, ids)


def _quiet(parts: Sequence[Part]) -> list[int]:
    """Entries into the guest at which no token is outstanding, and no READY without its ACK."""
    found: list[tuple[int, int]] = []
    outstanding: set[int | None] = set()
    unacknowledged = 0
    for number, part in enumerate(parts):
        if "async_pf_not_present" in part.after:
            outstanding.add(part.token)
        elif "async_pf_ready" in part.after:
            outstanding.discard(part.token)
        elif "vec 243" in part.after:
            unacknowledged += 1
        elif "4b564d07" in part.after:
            unacknowledged -= 1
        elif not outstanding and "kvm_entry" in part.after and number > LEARNED:
            found.append((unacknowledged, number))
    least = min(unacknowledged for unacknowledged, _ in found)  # it begins with some
    return [number for unacknowledged, number in found if unacknowledged == least]


def _part(line: str) -> Part:
    found = LINE.fullmatch(line)
    assert found, line
    before, seconds, us, event, text = found.groups()
    at_us = int(seconds) * 1_000_000 + int(us)
    token = TOKEN.fullmatch(text)
    if token is None or int(token[1], 16) == BROADCAST:
        return Part(before, at_us, f"{event}: {text}", None, "")
    return Part(before, at_us, f"{event}: ", int(token[1], 16), token[2])


def write(path: Path, size_mb: int, others: int) -> None:
    """A recording of that size, and so many other lines to each of its lines."""
    repeated, times = unit(), 0
    with path.open("w") as file:
        while file.tell() < size_mb * 1_000_000:
            lines = repeated.repeated(times)
            if others:
                lines = (line + OTHER.format(_time(line)) * others for line in lines)
            file.writelines(lines)
            times += 1


def _time(line: str) -> str:
    return line.split(": ", 1)[0].rsplit(" ", 1)[1]


class Cost(NamedTuple):
    wall_s: float
    cpu_s: float
    peak_mib: float


def imported(path: Path, to: Path) -> Cost:
    """What an import costs from start to end; it finds no violation."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "pagewake", "import", str(path), "-o", str(to)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(time.perf_counter() - began, cpu_s, usage.ru_maxrss / 1024)


def main() -> None:
    rows = [["lines of others", "MB", "wall s", "CPU s", "MB/CPU s", "peak MiB"]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.txt"
        for size_mb in QUICK_SIZES_MB if quick() else SIZES_MB:
            for others in (0, OTHERS):
                write(path, size_mb, others)
                cost = imported(path, Path(folder) / f"log-{size_mb}-{others}")
                mb = path.stat().st_size / 1e6
                rows.append([
                    f"{others / (others + 1):.0%}", f"{mb:,.0f}", f"{cost.wall_s:.1f}",
                    f"{cost.cpu_s:.1f}", f"{mb / cost.cpu_s:.1f}", f"{cost.peak_mib:,.0f}",
                ])  # fmt: skip
    table(rows)


if __name__ == "__main__":
    main()
