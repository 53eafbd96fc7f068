"""100,000 vCPUs (25,000 VMs of 16 MiB) in one process; target: under 8 GiB."""

from __future__ import annotations

import resource
import time

from tests.bench.common import quick, table, thrash, timed_run

TARGET_GIB = 8


def main() -> None:
    small = quick()
    vms, hosts = (250, 2) if small else (25_000, 200)
    started = time.process_time()
    run = timed_run(thrash(vms, "2ms", hosts=hosts), 0.0)
    cpu_s = time.process_time() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    table(
        [
            ["vCPUs", "faults", "build + run s", "run s", "peak GiB", "KiB per vCPU", "of 8 GiB"],
            [
                vms * 4,
                run.faults,
                f"{cpu_s:.1f}",
                f"{run.cpu_s:.1f}",
                f"{peak_gib:.2f}",
                f"{peak_gib * 1024**2 / vms / 4:.0f}",
                f"{peak_gib / TARGET_GIB:.2f}",
            ],
        ]
    )


if __name__ == "__main__":
    main()
