"""Time per fault at 10,000 vCPUs against 12 vCPUs; target: within 20 %.

3 VMs on one simulated host against 2,500 VMs on 20, the same work per VM, runs
alternating; medians.
"""

from __future__ import annotations

from statistics import median

from tests.bench.common import quick, table, thrash, timed_run


def main() -> None:
    small = quick()
    few = thrash(3, "4ms" if small else "80ms")
    many = thrash(60 if small else 2_500, "1ms" if small else "6ms", hosts=2 if small else 20)
    costs: dict[str, list[float]] = {"few": [], "many": []}
    for _ in range(1 if small else 5):
        for name, scenario in (("few", few), ("many", many)):
            run = timed_run(scenario)
            costs[name].append(run.cpu_s / run.faults * 1e6)
    few_us, many_us = median(costs["few"]), median(costs["many"])
    table(
        [
            ["vCPUs", "us per fault", "ratio"],
            [12, f"{few_us:.1f}", "1.00"],
            [240 if small else 10_000, f"{many_us:.1f}", f"{many_us / few_us:.2f}"],
        ]
    )


if __name__ == "__main__":
    main()
