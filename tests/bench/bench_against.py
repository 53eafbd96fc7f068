"""Events per second of this core against those of another checkout, in pairs.

`python -m tests.bench.bench_against BEFORE` runs each scenario in both by turns, so that what else
the machine does meets both, and prints the median of the ratios of each round.  "of the best" is
the fastest run of this core over the fastest of the other: what else the machine does only makes a
run slower.  BEFORE is another checkout with an environment of its own (`make .venv/.installed`);
without it this one is compared with itself, which shows how much the machine alone moves a ratio.
The core that runs is the one that is installed beside this interpreter: pure, or compiled after
`make compiled`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from tests.bench.common import table

HERE = Path(__file__).resolve().parents[2]
SCENARIOS = ((1, "60ms"), (16, "20ms"), (64, "10ms"), (250, "5ms"))
"""VMs of four vcpus on one host with NVMe, and how long: the last is the one of the target."""

CODE = """
import sys
from tests.bench.common import thrash, timed_run
timed = timed_run(thrash(int(sys.argv[1]), sys.argv[2], touch="5us"))
print(timed.events / timed.cpu_s)
"""


def rate(python: str, checkout: Path, vms: int, duration: str, *, pure: bool) -> float:
    """Domain events per second of CPU, of one run in a process of its own."""
    path = [str(checkout), *([str(checkout / "services")] if pure else [])]
    done = subprocess.run(
        [python, "-c", CODE, str(vms), duration],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("before", nargs="?", type=Path, default=HERE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    before = options.before.resolve()
    python = before / ".venv/bin/python"
    heads = ["VMs", "vcpus", "before/s", "now/s", "ratio", "lowest", "highest", "of the best"]
    rows: list[list[object]] = [[*heads]]
    for vms, duration in SCENARIOS[:1] if options.quick else SCENARIOS:
        pairs = []
        for _ in range(1 if options.quick else options.rounds):
            span = "2ms" if options.quick else duration
            known = python if python.exists() else sys.executable
            old = rate(str(known), before, vms, span, pure=True)
            pairs.append((old, rate(sys.executable, HERE, vms, span, pure=False)))
        ratios = [new / old for old, new in pairs]
        rows.append(
            [
                vms,
                4 * vms,
                f"{median(old for old, _ in pairs):,.0f}",
                f"{median(new for _, new in pairs):,.0f}",
                f"{median(ratios):.2f}",
                f"{min(ratios):.2f}",
                f"{max(ratios):.2f}",
                f"{max(new for _, new in pairs) / max(old for old, _ in pairs):.2f}",
            ]
        )
    table(rows)


if __name__ == "__main__":
    main()
