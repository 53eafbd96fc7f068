"""What a start takes: an import, the version, help; beside an interpreter that does nothing.

    python -m tests.bench.bench_start [--quick]

CPU of a process with its children, the median of some.  What may not be imported is a test's
matter (`tests/unit/cli/test_start.py`).
"""

from __future__ import annotations

import resource
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
    before = _children_s()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return 1e3 * (_children_s() - before)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    rounds = 1 if quick() else 15
    rows: list[list[object]] = [["start", "CPU ms"]]
    for name, arguments in STARTS.items():
        rows.append([name, f"{median(cpu_ms(arguments) for _ in range(rounds)):.0f}"])
    table(rows)


if __name__ == "__main__":
    main()
