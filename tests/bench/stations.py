"""A cluster measured as the stations of `pagewake.capacity.stations`, predicted and measured.

The demands are those of the first run, with one guest service; what other runs do is predicted from
them and then measured.  A window is alone for a bare round trip and the CPU time of both services;
that of their clients of Kafka is in both, so this is a little too long.  `cores` are those that
others left while a run was measured.  Where none was idle, that bound tests one thing only: that a
window costs as much CPU as in the first run.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from pagewake.capacity.stations import Model, Station, least
from pagewake.cluster.settings import ServiceKind
from pagewake.scenario.writing import effective_toml
from tests.bench.bench_pingpong import round_trips_ms
from tests.bench.common import table, thrash
from tests.support.processes import LIBRARIES, Cluster, new_run, running, until

VMS_PER_HOST = 32
SNAPSHOT_S = 5.0
RECORD_BYTES = 2_000
BARE_ROUNDS = 1_000
WARM_WINDOWS = 30  # of every host: the first ones touch new memory
WARM_S = 120.0
MANY_GUESTS = (1, 2, 3, 4, 6, 8, 16)
TICKS = os.sysconf("SC_CLK_TCK")
BROKER = LIBRARIES.parents[1] / "kafka.pid"
"""Of the broker of `make brokers`; what another one takes is not known, and counts as nothing."""


class Sizes(NamedTuple):
    """Hosts and guest services of each run: the one that calibrates, then those predicted."""

    runs: Sequence[tuple[int, int]]
    stretches: int
    stretch_s: float


FULL = Sizes(((6, 1), (1, 1), (2, 1), (4, 1), (6, 2), (6, 3)), 3, 5.0)
SMALL = Sizes(((2, 1), (1, 1), (2, 2)), 1, 1.0)


class Sample(NamedTuple):
    """Totals at an instant."""

    at_s: float
    windows: float
    faults: float
    size: float
    host_s: float
    guest_s: float
    broker_s: float
    idle_s: float


class Rates(NamedTuple):
    """What was measured over a stretch: a second, and CPU seconds a window (`*_s`)."""

    windows: float
    faults: float
    size: float
    host_s: float
    guest_s: float
    broker_s: float
    cores: float

    @classmethod
    def between(cls, first: Sample, last: Sample) -> Rates:
        """Per second and per window of the time between."""
        spent = Sample(*(end - start for start, end in zip(first, last, strict=True)))
        assert spent.windows > 0, "no window closed in a whole stretch"
        ours_s = spent.host_s + spent.guest_s + spent.broker_s
        return cls(
            spent.windows / spent.at_s,
            spent.faults / spent.at_s,
            spent.size / spent.at_s,
            spent.host_s / spent.windows,
            spent.guest_s / spent.windows,
            spent.broker_s / spent.windows,
            (ours_s + spent.idle_s) / spent.at_s,
        )

    @classmethod
    def middle(cls, stretches: Sequence[Rates]) -> Rates:
        """The median of each."""
        return cls(*(median(column) for column in zip(*stretches, strict=True)))


def model_of(bare_s: float, rates: Rates, hosts: int) -> Model:
    """The stations of a run of so many hosts, by what was measured; one shard a host."""
    stations = (Station("host", rates.host_s, hosts), Station("guest", rates.guest_s, hosts))
    return Model(hosts, bare_s + rates.host_s + rates.guest_s, stations, rates.broker_s)


def read(cluster: Cluster, run: str) -> Sample:
    """Now: the services' own counters, and the system's for broker and idle time."""
    at_s, broker_cpu_s, idle_cpu_s = time.monotonic(), broker_s(), idle_s()
    totals = defaultdict[tuple[str, bool], float](float)
    for name in cluster.processes:
        for family in text_string_to_metric_families(cluster.get(name, "/metrics")[1]):
            for sample in family.samples:
                if sample.labels.get("run", run) == run:
                    totals[sample.name, name == "host"] += sample.value
    return Sample(
        at_s,
        totals["pagewake_window_wall_seconds_count", True],
        totals["pagewake_page_not_present_total", False],
        sum(totals["pagewake_run_bytes_total", host] for host in (False, True)),
        totals["process_cpu_seconds_total", True],
        totals["process_cpu_seconds_total", False],
        broker_cpu_s,
        idle_cpu_s,
    )


def broker_s() -> float:
    """CPU time of the broker so far."""
    return cpu_s(int(BROKER.read_text())) if BROKER.exists() else 0.0


def cpu_s(process: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def idle_s() -> float:
    """What all cores had nothing to do for so far."""
    idle, waiting = Path("/proc/stat").read_text().split(maxsplit=6)[4:6]
    return (int(idle) + int(waiting)) / TICKS


def measured(cluster: Cluster, hosts: int, sizes: Sizes) -> Rates:
    """A run of so many hosts, measured on its way and deleted."""
    run = new_run()
    path = cluster.directory / f"{run}.toml"
    path.write_text(effective_toml(thrash(VMS_PER_HOST * hosts, "1000s", hosts=hosts)))
    _done(cluster, "submit", str(path), "--name", run)
    until(lambda: read(cluster, run).windows >= WARM_WINDOWS * hosts, f"{run} is warm", WARM_S)
    samples = [read(cluster, run)]
    for _ in range(sizes.stretches):
        time.sleep(sizes.stretch_s)
        samples.append(read(cluster, run))
    _done(cluster, "runs", "delete", run)  # under way: a stop waits for the end of its windows
    return Rates.middle([Rates.between(*pair) for pair in pairwise(samples)])


def _done(cluster: Cluster, *arguments: str) -> None:
    done = cluster.run(*arguments, within_s=WARM_S)
    if done.returncode:
        raise RuntimeError(done.stderr)


def all_measured(directory: Path, sizes: Sizes) -> list[Rates]:
    """Every run, on services of its own that stay from one to the next."""
    found = []
    for cluster in running(directory, snapshot_s=SNAPSHOT_S):
        _join(cluster, "host")
        for hosts, guests in sizes.runs:
            for number in range(len(cluster.processes), guests + 1):
                _join(cluster, f"guest-{number}")
            found.append(measured(cluster, hosts, sizes))
    return found


def _join(cluster: Cluster, name: str) -> None:
    cluster.start(name)
    cluster.until_said(name, "serving")


def machines(directory: Path, *, small: bool) -> None:
    """Three tables: service times, predictions beside measurements, and machines not at hand."""
    sizes = SMALL if small else FULL
    bare_ms = asyncio.run(round_trips_ms(RECORD_BYTES, BARE_ROUNDS // (10 if small else 1)))
    found = all_measured(directory, sizes)
    base = found[0]
    bare_s = median(bare_ms) / 1000
    _service_times(bare_s, base)
    print()
    _predictions(bare_s, sizes, found)
    print()
    _more_machines(model_of(bare_s, base, sizes.runs[0][0]), base)


def _service_times(bare_s: float, base: Rates) -> None:
    figures = (
        ("bare round trip, ms", 1000 * bare_s),
        ("host service, CPU ms", 1000 * base.host_s),
        ("guest service, CPU ms", 1000 * base.guest_s),
        ("alone: these three, ms", 1000 * (bare_s + base.host_s + base.guest_s)),
        ("broker, CPU ms", 1000 * base.broker_s),
        ("faults", base.faults / base.windows),
        ("bytes written", base.size / base.windows),
    )
    table([["a window", ""], *([name, f"{value:,.2f}"] for name, value in figures)])


def _predictions(bare_s: float, sizes: Sizes, found: Sequence[Rates]) -> None:
    rows: list[list[object]] = [
        [
            "hosts",
            "guests",
            "cores",
            "bound by",
            "windows/s at most",
            "measured",
            "error",
            "faults/s",
        ]
    ]
    for (hosts, guests), rates in zip(sizes.runs, found, strict=True):
        processes: dict[ServiceKind, int] = {"host": 1, "guest": guests}
        name, bound = least(model_of(bare_s, found[0], hosts).bounds(processes, rates.cores))
        rows.append(
            [
                hosts,
                guests,
                f"{rates.cores:.2f}",
                name,
                f"{bound:,.0f}",
                f"{rates.windows:,.0f}",
                f"{100 * (rates.windows / bound - 1):+.0f} %",
                f"{rates.faults:,.0f}",
            ]
        )
    table(rows)


def _more_machines(model: Model, base: Rates) -> None:
    """A core for each service: more guests help until the host service is busy."""
    rows: list[list[object]] = [
        ["guests", "bound by", "windows/s", "faults/s", "hosts to reach it", "broker's cores"]
    ]
    for guests in MANY_GUESTS:
        bounds = {"guest services": guests / base.guest_s, "host service": 1 / base.host_s}
        name, bound = least(bounds)
        rows.append(
            [
                guests,
                name,
                f"{bound:,.0f}",
                f"{bound * base.faults / base.windows:,.0f}",
                ceil(bound * model.alone_s),
                f"{bound * model.broker_s:.1f}",
            ]
        )
    table(rows)
