"""The memory that a run is said to need against what it takes, by kinds of VMs.

    python -m tests.bench.bench_footprint [--quick]

The estimate is to be below, and not far: a run is refused for it (`participants/footprint.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pagewake.participants.footprint import memory_bytes
from pagewake.scenario.loading import loads
from tests.bench.common import quick, table

INTERPRETER_MIB = 40
"""Python with pagewake and numpy, before there is a VM."""
SCENARIO = """
[scenario]
name = "footprint"
duration = "1ms"
[kernel]
profile = "posted-v7"
[host]
medium = "nvme"
page_cluster = "off"
[[vm]]
name = "vm"
count = {vms}
vcpus = {vcpus}
memory = "{memory}"
limit = "{limit}"
[[vm.task]]
name = "toucher"
count = {vcpus}
pattern = "random"
working_set = "{working_set}"
access = "write"
populated = {populated}
"""


class Vms(NamedTuple):
    vms: int
    vcpus: int
    memory: str
    limit: str
    working_set: str
    populated: str = "true"


SIZES = (
    Vms(1, 1, "16GiB", "16GiB", "14GiB"),
    Vms(1, 1, "64GiB", "64GiB", "1GiB", "false"),
    Vms(8, 4, "2GiB", "1GiB", "1800MiB"),
    Vms(1_000, 1, "16MiB", "8MiB", "12MiB"),
    Vms(500, 8, "16MiB", "8MiB", "12MiB"),
    Vms(5_000, 1, "1MiB", "1MiB", "512KiB"),
)
QUICK_SIZES = (Vms(1, 1, "1GiB", "1GiB", "900MiB"),)


def taken_mib(text: str) -> float:
    """Peak of a process that runs it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pagewake", "run", "/dev/stdin", "--json"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(text.encode())
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "the run failed"
    return usage.ru_maxrss / 1024


def main() -> None:
    rows: list[list[str]] = [[*Vms._fields, "said MiB", "taken MiB", "said of taken"]]
    for vms in QUICK_SIZES if quick() else SIZES:
        text = SCENARIO.format(**vms._asdict())
        said = INTERPRETER_MIB + memory_bytes(loads(text, "footprint.toml", Path())) / 2**20
        taken = taken_mib(text)
        rows.append([*map(str, vms), f"{said:.0f}", f"{taken:.0f}", f"{said / taken:.2f}"])
    table(rows)


if __name__ == "__main__":
    main()
