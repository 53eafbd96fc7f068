"""How long a recorded program takes to read and run, and in how much memory, by its length.

    python -m tests.bench.bench_trace [--quick]

A recording of a program that fetches, loads and stores by turns is written as lackey prints it, and
run in a process of its own: with nothing missing, so that every look ahead reaches far.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench.common import quick, table

ACCESSES = (1_000_000, 2_000_000, 4_000_000, 8_000_000, 25_000_000)
QUICK_ACCESSES = (20_000, 40_000)
PAGES = 365
LOOP = 2_000  # accesses of one stretch, which is written again and again over other pages
SCENARIO = """
[scenario]
name = "recorded"
duration = "10s"
[kernel]
profile = "6.x"
[host]
medium = "nvme"
page_cluster = "off"
[[vm]]
name = "vm"
vcpus = 1
memory = "64MiB"
limit = "2MiB"
[[vm.task]]
name = "program"
pattern = "trace"
trace = "{path}"
cpi = {cpi}
"""


class Cost(NamedTuple):
    wall_s: float
    cpu_s: float
    peak_mib: float


def record(path: Path, accesses: int) -> None:
    """So many accesses in lackey's form, a few to each page before the next."""
    with path.open("w") as file:
        file.write("==1== Lackey, an example Valgrind tool\n")
        for at in range(0, accesses, LOOP):
            file.write("".join(_stretch(at // LOOP, min(LOOP, accesses - at))))


def _stretch(number: int, accesses: int) -> list[str]:
    code, data = 0x401000 + number % 7 * 4096, 0x1FFF000000 + number % (PAGES - 7) * 4096
    return [
        f"I  {code + at % 4096:08x},3\n" if at % 3 else f" {'LSM'[at % 9 // 3]} {data + at:08x},8\n"
        for at in range(accesses)
    ]


def run(path: Path, cpi: int) -> Cost:
    """What one run costs from start to end."""
    scenario = path.with_suffix(".toml")
    scenario.write_text(SCENARIO.format(path=path, cpi=cpi))
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "pagewake", "run", str(scenario), "--json"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "the run failed"
    wall_s = time.perf_counter() - began
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    sizes = QUICK_ACCESSES if quick() else ACCESSES
    rows = [["accesses", "MB", "cpi", "wall s", "CPU s", "peak MiB"]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.trace"
        for accesses in sizes:
            record(path, accesses)
            for cpi in (1, 10):
                cost = run(path, cpi)
                rows.append([
                    f"{accesses:,}", f"{path.stat().st_size / 1e6:,.1f}", str(cpi),
                    f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_mib:,.0f}",
                ])  # fmt: skip
    table(rows)


if __name__ == "__main__":
    main()
