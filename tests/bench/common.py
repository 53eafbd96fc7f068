"""What the benchmarks share: scenarios as text, timed runs without build, tables."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pagewake.bus.log_dir import LogWriter
from pagewake.engine.embedded import EmbeddedOutcome, run_embedded
from pagewake.observe.counter import ResultCounter
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml

THRASH = """
[scenario]
name = "bench"
duration = "{duration}"
[kernel]
profile = "posted-v7"
hz = {hz}
[host]
count = {hosts}
medium = {{ base = "nvme", parallelism = 64 }}
page_cluster = "off"
[[vm]]
name = "vm"
count = {vms}
vcpus = 4
memory = "16MiB"
limit = "8MiB"
[[vm.task]]
name = "faulter"
count = 4
pattern = "random"
working_set = "12MiB"
access = "write"
populated = true
touch = "{touch}"
"""
"""Every other touch misses; NVMe with a deep queue, so windows are rich."""


class Timed(NamedTuple):
    """One run without its build: seconds of CPU, faults, domain events, windows.

    A run is one thread, so its CPU time is its wall time on a machine that does nothing else.
    `task_ns_per_fault` is the simulated time that tasks ran per fault, over the whole run.
    """

    cpu_s: float
    faults: int
    events: int
    windows: int
    task_ns_per_fault: float = 0.0


def thrash(
    vms: int,
    duration: str,
    *,
    hosts: int = 1,
    hz: int = 100,
    touch: str = "20us",
    sets: Sequence[str] = (),
) -> Scenario:
    """The thrashing scenario at some size."""
    text = THRASH.format(vms=vms, hosts=hosts, duration=duration, hz=hz, touch=touch)
    return loads(text, "bench.toml", Path(), sets)


def timed_run(scenario: Scenario, warm_share: float = 0.3, log_dir: Path | None = None) -> Timed:
    """Build, run, and time what comes after the first `warm_share` of simulated time.

    The collector is off, as in `pagewake run`.
    """
    log = None if log_dir is None else LogWriter(log_dir, effective_toml(scenario))
    counter = ResultCounter()
    marks: list[Timed] = []

    def mark(sim_ns: int, windows: int) -> None:
        if not marks and sim_ns >= warm_share * scenario.duration_ns:
            marks.append(Timed(time.process_time(), counter.faults, counter.events, windows))

    plan = RunPlan.of("bench", scenario, shards=1)
    parts = build(plan)
    gc.collect()
    gc.disable()
    outcome = run_embedded(
        plan,
        parts,
        log=log,
        observer=counter.feed,
        on_progress=mark,
    )
    if log is not None:
        log.finish(outcome.digest, outcome.host_digests, [plan.code])
    ended = time.process_time()
    gc.enable()
    if log is not None:
        log.close()
    (warm,) = marks
    return Timed(
        ended - warm.cpu_s,
        counter.faults - warm.faults,
        counter.events - warm.events,
        outcome.windows - warm.windows,
        _task_ns(outcome) / max(counter.faults, 1),
    )


def _task_ns(outcome: EmbeddedOutcome) -> int:
    return sum(
        ns
        for summary in outcome.summaries
        for kind, ns in summary.cpu.items()
        if kind.startswith("task:")
    )


def quick() -> bool:
    """`--quick`: small sizes, to see that the benchmark works."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes")
    return bool(parser.parse_args().quick)


def table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
