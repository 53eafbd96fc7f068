"""What `pagewake plan` says of three runs, beside what they are on a real cluster.

    python -m tests.bench.bench_plan [--quick]

Three shapes: one small VM on a disk, many VMs on one simulated host, several simulated hosts with
two guest services.  Each is planned from its beginning, as the command does it, then submitted.
Partitions, windows, records and bytes are those of the whole run; rates and CPU those of its
middle, with what every process takes while there is no run left out, and with the cores that other
work on the machine leaves.

The last table has what is left of the CPU of each process when the work that the probe timed is
taken off, for each record that it reads or writes: the costs of Kafka.  Their medians, with the
yardstick of the same minutes, are what stands in `services/pagewake/capacity/costs.py`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from subprocess import Popen
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import msgspec
from aiokafka import AIOKafkaConsumer

from pagewake.bus.kafka import FOLLOW_WAIT_MS, KafkaSettings, TopicPartition
from pagewake.bus.kafka_settings import fetch_options
from pagewake.capacity.costs import COSTS, Costs, yardstick_s
from pagewake.capacity.need import Need
from pagewake.capacity.probe import Probe, probe
from pagewake.capacity.reckoning import Terms, model_of, need_of, passing
from pagewake.capacity.stations import least
from pagewake.cluster.settings import ServiceKind
from pagewake.engine.run import without_collector
from pagewake.events.codec import FAULTS, TOPICS
from pagewake.participants.plan import RunPlan, topic_name
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml
from tests.bench.bench_model import machine
from tests.bench.bench_pingpong import round_trips_ms
from tests.bench.common import quick, thrash
from tests.bench.common import table as printed
from tests.bench.stations import SNAPSHOT_S, broker_s, cpu_s, idle_s
from tests.support.processes import KAFKA, START, Cluster, answers, new_run, running

SERVICES: tuple[ServiceKind, ...] = ("host", "guest")
MIB = 1 << 20
BEGINNING = 60_000.0
"""Less than the command simulates, because the runs are short: a part of each, as of a long run."""
LOOK_S = 0.2
IDLE_S = 5.0
EDGES = (0.1, 0.95)
"""Of the windows: before, VMs are built and touch new memory, behind that the result is read."""
RUN_S = 900.0
WAIT_S = 120.0
RECORD_BYTES = 2_000
BARE_ROUNDS = 200


class Shape(NamedTuple):
    """A run, and how many guest services it has."""

    name: str
    scenario: Scenario
    guests: int


def shapes(*, small: bool) -> Sequence[Shape]:
    """The three."""
    size = 1.0 if small else 4.0
    poor = load("natapov-2010", [f"scenario.duration={10 * size:g}s"])
    return (
        Shape("poor windows", poor, 1),
        Shape("many VMs", thrash(16, f"{5 * size:g}ms"), 1),
        Shape("several hosts", thrash(24, f"{4 * size:g}ms", hosts=6), 2),
    )


class Sample(NamedTuple):
    """Totals at an instant: windows, and CPU seconds by kind of service."""

    at_s: float
    windows: int
    cpu_s: Mapping[str, float]
    idle_s: float
    memory_bytes: Mapping[ServiceKind, int]


class Measured(NamedTuple):
    """What a run was; `cpu_s` a window, of each kind of service and of the broker."""

    result: dict[str, Any]
    windows_per_s: float
    cpu_s: Mapping[str, float]
    cores: float
    memory_bytes: Mapping[ServiceKind, int]

    @classmethod
    def of(cls, result: dict[str, Any], seen: Sequence[Sample], idle: Mapping[str, float]) -> Self:
        """Of the middle of a run; `idle` is what each takes in a second without one."""
        least, most = (share * result["windows"] for share in EDGES)
        middle = [sample for sample in seen if least <= sample.windows <= most]
        if len(middle) < 2:
            raise SystemExit("a run was over between two looks at it: measure longer ones")
        first, last = middle[0], middle[-1]
        took_s, windows = last.at_s - first.at_s, last.windows - first.windows
        spent = {kind: last.cpu_s[kind] - first.cpu_s[kind] for kind in last.cpu_s}
        cores = (sum(spent.values()) + last.idle_s - first.idle_s) / took_s
        each = {kind: (spent[kind] - idle[kind] * took_s) / windows for kind in spent}
        memory = {kind: max(each.memory_bytes[kind] for each in seen) for kind in SERVICES}
        return cls(result, windows / took_s, each, cores, memory)


class Beside(NamedTuple):
    """A run as it was planned, and as it was measured."""

    shape: Shape
    plan: RunPlan
    probe: Probe
    need: Need
    costs: Costs
    measured: Measured


def cpu_of(cluster: Cluster) -> dict[str, float]:
    """Of each kind of service and of the broker, so far."""
    found = {"broker": broker_s(), "host": 0.0, "guest": 0.0}
    for name, process in cluster.processes.items():
        found[name.partition("-")[0]] += cpu_s(process.pid)
    return found


def memory_of(cluster: Cluster) -> dict[ServiceKind, int]:
    """Resident memory of the largest process of each kind."""
    found = dict.fromkeys(SERVICES, 0)
    for name, process in cluster.processes.items():
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        kind = next(kind for kind in SERVICES if name.startswith(kind))
        found[kind] = max(found[kind], pages * os.sysconf("SC_PAGE_SIZE"))
    return found


async def watched(cluster: Cluster, plan: RunPlan, submitted: Popen[str]) -> list[Sample]:
    """How far a run is while it is under way, by the ends of its partitions."""
    found: list[Sample] = []
    topic, hosts = topic_name(plan.run, FAULTS), len(plan.topology.hosts)
    settings = KafkaSettings(bootstrap=KAFKA)
    consumer = AIOKafkaConsumer(**settings.options(), **fetch_options(FOLLOW_WAIT_MS))
    await consumer.start()
    try:
        while topic not in await consumer.topics() and submitted.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        places = [TopicPartition(topic, host) for host in range(hosts)]
        while submitted.poll() is None:
            windows = sum((await consumer.end_offsets(places)).values())
            spent, resident = cpu_of(cluster), memory_of(cluster)
            found.append(Sample(time.monotonic(), windows, spent, idle_s(), resident))
            await asyncio.sleep(LOOK_S)
    finally:
        await consumer.stop()
    return found


def measure(cluster: Cluster, plan: RunPlan, idle: Mapping[str, float]) -> Measured:
    """Submit it, to its end, and delete it."""
    path = cluster.directory / f"{plan.run}.toml"
    path.write_text(effective_toml(plan.scenario))
    submitted = cluster.submit(plan.run, str(path))
    seen = asyncio.run(watched(cluster, plan, submitted))
    out, err = submitted.communicate()
    if submitted.returncode:
        raise RuntimeError(err)
    cluster.run("runs", "delete", plan.run, within_s=RUN_S)
    return Measured.of(msgspec.json.decode(out), seen, idle)


def beside(cluster: Cluster, shape: Shape) -> Beside:
    """Plan it, measure it."""
    for number in range(len(cluster.processes), shape.guests + 1):
        name = f"guest-{number}" if cluster.processes else "host"
        cluster.start(name)
        cluster.until_said(name, "serving", WAIT_S)
    plan = RunPlan.of(new_run(), shape.scenario, 1)
    before, began_s = cpu_of(cluster), time.monotonic()
    time.sleep(IDLE_S)
    took_s = time.monotonic() - began_s
    idle = {kind: (spent_s - before[kind]) / took_s for kind, spent_s in cpu_of(cluster).items()}
    measured = measure(cluster, plan, idle)
    with without_collector():
        found = probe(plan, BEGINNING)
    bare_s = median(asyncio.run(round_trips_ms(RECORD_BYTES, BARE_ROUNDS))) / 1000
    here = COSTS.here(yardstick_s())._replace(round_trip_s=bare_s)  # as long as others have it be
    need = need_of(plan, found, here, Terms(cores=measured.cores))
    return Beside(shape, plan, found, need, here, measured)


# ---------------------------------------------------------------------------------- tables


def predictions(found: Sequence[Beside]) -> None:
    """Every figure of every run."""
    rows: list[list[object]] = [["run", "guests", "", "predicted", "measured", "off by"]]
    for each in found:
        within = f"{100 * each.need.basis.amounts_within:.1f} %"
        rows.append(
            [each.shape.name, each.shape.guests, "amounts said to be within", within, "", ""]
        )
        for what, predicted, measured in figures(each):
            off = f"{100 * (predicted / measured - 1):+.1f} %"
            row = [each.shape.name, each.shape.guests, what]
            rows.append([*row, f"{predicted:,.6g}", f"{measured:,.6g}", off])
    printed(rows)


def figures(each: Beside) -> Iterator[tuple[str, float, float]]:
    """Name, predicted, measured."""
    need, measured = each.need, each.measured
    told = measured.result["cluster"]
    yield "windows", need.windows, told["windows"]
    yield "records", need.records, told["records"]
    yield "bytes", need.bytes, told["bytes"]
    model = model_of(each.plan, each.probe, each.costs)
    processes: dict[ServiceKind, int] = {"host": 1, "guest": each.shape.guests}
    _, windows_per_s = least(model.bounds(processes, measured.cores))
    yield f"windows/s, {measured.cores:.2f} cores", windows_per_s, measured.windows_per_s
    for station in model.stations:
        cpu_ms = 1000 * measured.cpu_s[station.service]
        yield f"{station.service}, CPU ms a window", 1000 * station.cpu_s, cpu_ms
    yield "broker, CPU ms a window", 1000 * model.broker_s, 1000 * measured.cpu_s["broker"]
    for each_service in need.services:
        share = each_service.state_bytes / processes[each_service.service]
        resident = measured.memory_bytes[each_service.service]
        yield (
            f"{each_service.service}, MiB",
            (each_service.base_bytes + share) / MIB,
            resident / MIB,
        )


def costs(found: Sequence[Beside], turns_s: float) -> None:
    """What is left of the CPU of each process, for a record: the medians are the costs."""
    rows: list[list[object]] = [["for a record, CPU us", *SERVICES, "broker", "round trip, us"]]
    columns: list[list[float]] = []
    for each in found:
        seen, cpu_s = each.probe.seen, each.measured.cpu_s
        windows = seen["windows"]
        left = [
            (cpu_s[service] * windows - seen[f"cpu {service}"]) / passing(seen, service)
            for service in SERVICES
        ]
        records = sum(seen[f"records {topic}"] for topic in TOPICS)
        broker = cpu_s["broker"] * windows / records
        columns.append([*left, broker, each.costs.round_trip_s])
        rows.append([each.shape.name, *(f"{1e6 * cost:,.0f}" for cost in columns[-1])])
    middle = [median(column) for column in zip(*columns, strict=True)]
    rows.append(["median", *(f"{1e6 * cost:,.0f}" for cost in middle)])
    table = COSTS.here(turns_s)
    then = [*(table.record_s[service] for service in SERVICES), table.broker_record_s]
    rows.append(["table", *(f"{1e6 * cost:,.0f}" for cost in (*then, table.round_trip_s))])
    printed(rows)
    print(f"yardstick: {1000 * turns_s:.1f} ms, in the table {1000 * COSTS.turns_s:.1f} ms")


def main() -> None:
    """Print the tables."""
    print(machine())
    if not answers(KAFKA):
        print(f"skipped, no Kafka at {KAFKA}: {START}", file=sys.stderr)
        return
    found: list[Beside] = []
    with TemporaryDirectory() as name:
        for cluster in running(Path(name), snapshot_s=SNAPSHOT_S):
            found += [beside(cluster, shape) for shape in shapes(small=quick())]
    predictions(found)
    print()
    costs(found, yardstick_s())


if __name__ == "__main__":
    main()
