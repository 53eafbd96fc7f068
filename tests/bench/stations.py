"""A cluster as stations that each window visits: what bounds its rate, predicted and measured.

A window of a simulated host goes through the host service, Kafka and a guest service, and the next
one of that host only then, so as many windows are under way as there are hosts.  With the demand of
each station, CPU seconds a window, the asymptotic bounds of operational analysis hold (P. J.
Denning, J. P. Buzen: The operational analysis of queueing network models, ACM Computing Surveys 10
(3), 1978), whatever the times are distributed like:

    windows/s <= hosts / (a window's time when alone)
    windows/s <= 1 / (demand of the busiest process: of a guest service, its share of the hosts)
    windows/s <= cores / (demand of all processes and the broker)

A window is alone for a bare round trip and the CPU time of both services; that of their clients of
Kafka is in both, so this is a little too long.  The demands are those of the first run, with one
guest service; what other runs do is predicted from them and then measured.  `cores` are those that
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


class Model(NamedTuple):
    """The service times: a window's time when alone, and what it demands of each station."""

    bare_s: float
    host_s: float
    guest_s: float
    broker_s: float

    @property
    def alone_s(self) -> float:
        """From the opening of a window to that of the next one, if nothing else goes on."""
        return self.bare_s + self.host_s + self.guest_s

    def bounds(self, hosts: int, guests: int, cores: float) -> dict[str, float]:
        """Windows a second that each station allows."""
        share = -(-hosts // guests) / hosts
        return {
            "round trips": hosts / self.alone_s,
            "host service": 1 / self.host_s,
            "a guest service": 1 / (self.guest_s * share),
            "cores": cores / (self.host_s + self.guest_s + self.broker_s),
        }


def least(bounds: dict[str, float]) -> tuple[str, float]:
    """The bound that binds, and its name."""
    name = min(bounds, key=bounds.__getitem__)
    return name, bounds[name]


def read(cluster: Cluster, run: str) -> Sample:
    """Now: the services' own counters, and the system's for broker and idle time."""
    at_s, broker_s, idle_s = time.monotonic(), _broker_s(), _idle_s()
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
        broker_s,
        idle_s,
    )


def _broker_s() -> float:
    if not BROKER.exists():
        return 0.0
    fields = Path(f"/proc/{BROKER.read_text().strip()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _idle_s() -> float:
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
    model = Model(median(bare_ms) / 1000, base.host_s, base.guest_s, base.broker_s)
    _service_times(model, base)
    print()
    _predictions(model, sizes, found)
    print()
    _more_machines(model, base)


def _service_times(model: Model, base: Rates) -> None:
    figures = (
        ("bare round trip, ms", 1000 * model.bare_s),
        ("host service, CPU ms", 1000 * model.host_s),
        ("guest service, CPU ms", 1000 * model.guest_s),
        ("alone: these three, ms", 1000 * model.alone_s),
        ("broker, CPU ms", 1000 * model.broker_s),
        ("faults", base.faults / base.windows),
        ("bytes written", base.size / base.windows),
    )
    table([["a window", ""], *([name, f"{value:,.2f}"] for name, value in figures)])


def _predictions(model: Model, sizes: Sizes, found: Sequence[Rates]) -> None:
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
        name, bound = least(model.bounds(hosts, guests, rates.cores))
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
        bounds = {"guest services": guests / model.guest_s, "host service": 1 / model.host_s}
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
