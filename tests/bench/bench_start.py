"""What a start takes: an import, the version, help; beside an interpreter that does nothing.

    python -m tests.bench.bench_start [--quick]

CPU of a process with its children, the median of some.  What may not be imported is a test's
matter (`tests/unit/cli/test_start.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

from tests.bench.common import quick, table

STARTS = {
    "python, nothing": ("-c", "pass"),
    "import pagewake": ("-c", "import pagewake"),
    "pagewake --version": ("-m", "pagewake", "--version"),
    "pagewake --help": ("-m", "pagewake", "--help"),
    "pagewake run --help": ("-m", "pagewake", "run", "--help"),
}


def cpu_ms(arguments: tuple[str, ...]) -> float:
    """Milliseconds of CPU, user and system, of one process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    taken = after.children_user + after.children_system
    return 1e3 * (taken - before.children_user - before.children_system)


def main() -> None:
    """Print the table."""
    rounds = 1 if quick() else 15
    rows: list[list[object]] = [["start", "CPU ms"]]
    for name, arguments in STARTS.items():
        rows.append([name, f"{median(cpu_ms(arguments) for _ in range(rounds)):.0f}"])
    table(rows)


if __name__ == "__main__":
    main()
