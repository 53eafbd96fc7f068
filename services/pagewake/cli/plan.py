"""`pagewake plan`: what a cluster needs for a scenario, before there is one."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Annotated

import typer
from rich.console import RenderableType

from pagewake.capacity.costs import COSTS, yardstick_s
from pagewake.capacity.need import Need, Size
from pagewake.capacity.probe import EFFORT, probe
from pagewake.capacity.reckoning import Terms, need_of
from pagewake.cli.cluster import settings_of
from pagewake.cli.figures import Figures
from pagewake.cli.fitting import refuse_start
from pagewake.cli.loading import load, tell_hints
from pagewake.cli.options import (
    JournalOption,
    JsonOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    ShardsOption,
)
from pagewake.cli.output import print_json
from pagewake.cli.progress import duration, factor
from pagewake.cli.screen import folded, print_result
from pagewake.cluster.client import name_for
from pagewake.engine.run import without_collector
from pagewake.events.journal import check_mode
from pagewake.observe.report.words import counted
from pagewake.participants.plan import RunPlan

NAMED_S = 1e9
"""When `submit` would name the run: any time of this century makes names of one length, which is in
every record."""
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

CopiesOption = Annotated[
    int | None,
    typer.Option(
        "--copies",
        min=1,
        help="Copies of each topic (default: PAGEWAKE_KAFKA_REPLICATION, else 1: no broker is"
        " asked for its own).",
        show_default=False,
    ),
]
CoresOption = Annotated[
    float | None,
    typer.Option(
        "--cores",
        min=0.01,
        help="Cores that all processes and the broker share (default: each has its own).",
        show_default=False,
    ),
]
ExactOption = Annotated[
    bool,
    typer.Option("--exact", help="Simulate the whole run, however long, not its beginning."),
]


def plan(
    scenario: ScenarioArgument,
    seed: SeedOption = None,
    sets: SetOption = None,
    shards: ShardsOption = 1,
    journal: JournalOption = "full",
    name: Annotated[str | None, typer.Option("--name", help="Name of the run.")] = None,
    copies: CopiesOption = None,
    cores: CoresOption = None,
    exact: ExactOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a cluster needs for a scenario: topics, bytes, cores, memory, and for how long.

    It simulates the beginning as the services would, and scales it to the whole run; what Kafka
    takes comes from a table that was measured. No broker is asked.
    """
    mode = check_mode(journal)
    settings = settings_of()
    loaded = load(scenario, sets or (), seed)
    refuse_start(loaded, hosts=1)
    tell_hints([loaded])
    run = RunPlan.of(name or name_for(loaded.name, NAMED_S), loaded, shards, journal=mode)
    with without_collector():
        found = probe(run, inf if exact else EFFORT)
    terms = Terms(copies or settings.kafka_replication or 1, cores or inf, settings.snapshot_s)
    need = need_of(run, found, COSTS.here(yardstick_s()), terms)
    if as_json:
        print_json(need)
    else:
        print_result(*_tables(need))


def _tables(need: Need) -> list[RenderableType]:
    return [
        _head(need),
        _topics(need),
        _services(need),
        _sizes(need),
        *map(folded, _remarks(need)),
    ]


def _head(need: Need) -> str:
    parts = (
        counted(need.hosts, "simulated host"),
        counted(need.vms, "VM"),
        counted(need.vcpus, "vcpu"),
        counted(need.shards, "shard"),
        duration(need.sim_ns / 1e9),
    )
    about = "" if need.basis.exact else "about "
    return (
        f"{need.scenario}: seed {need.seed}, {', '.join(parts)}\n"
        f"{about}{need.windows:,.0f} windows, {need.faults:,.0f} faults, {need.events:,.0f} events"
    )


def _topics(need: Need) -> Figures:
    copies = counted(need.copies, "copy", "copies")
    table = Figures(["topic", "partitions", "records", "bytes", f"disk, {copies}"])
    for topic in need.topics:
        table.add_row(
            topic.topic,
            f"{topic.partitions:,}",
            f"{topic.records:,.0f}",
            _bytes(topic.bytes),
            _bytes(topic.disk_bytes),
        )
    table.add_row(
        "together",
        f"{need.partitions:,}",
        f"{sum(topic.records for topic in need.topics):,.0f}",
        _bytes(sum(topic.bytes for topic in need.topics)),
        _bytes(need.disk_bytes),
    )
    return table


def _services(need: Need) -> Figures:
    heads = ["service", "pays at most", "CPU a window", "memory each", "and for VMs"]
    table = Figures(heads)
    for each in need.services:
        table.add_row(
            each.service,
            f"{each.processes_max:,}",
            duration(each.cpu_ms_per_window / 1000),
            _bytes(each.base_bytes),
            _bytes(each.state_bytes),
        )
    broker_s = need.sizes[0].cores["broker"] / need.sizes[0].windows_per_s
    row = (f"{need.brokers:,}", duration(broker_s), _bytes(need.broker_bytes), "-")
    table.add_row("broker", *row)
    return table


def _sizes(need: Need) -> Figures:
    kinds = [each.service for each in need.services]
    heads = ["bound by", *kinds, "windows/s", "faults/s", "records/s", "bytes/s", "network/s"]
    busy = [f"{kind} cores" for kind in (*kinds, "broker")]
    table = Figures([*heads, *busy, "cores", "takes"], first_out=busy)
    for size in need.sizes:
        table.add_row(*_size_cells(size))
    return table


def _size_cells(size: Size) -> list[str]:
    return [
        size.bound_by,
        *(f"{number:,}" for number in size.processes.values()),
        *(factor(rate) for rate in (size.windows_per_s, size.faults_per_s, size.records_per_s)),
        _bytes(size.bytes_per_s),
        _bytes(size.network_bytes_per_s),
        *(f"{busy:.2f}" for busy in size.cores.values()),
        f"{size.cores_in_all:.2f}",
        duration(size.takes_s),
    ]


def _remarks(need: Need) -> Iterator[str]:
    basis = need.basis
    if basis.exact:
        yield "The whole run was simulated: its amounts are exact."
    else:
        yield (
            f"{100 * basis.simulated:.2g} % of the run was simulated, and amounts are scaled from"
            f" that: {100 * basis.amounts_within:.1f} % is what its parts differ by, and what the"
            " run does later is not known (--exact simulates it all)."
        )
    yield (
        "The topics of a run keep everything, whatever the brokers' own retention is, until"
        f" {need.kept}; of snapshots the broker keeps the newest two of each participant."
    )
    yield (
        "Rates are the most there can be; they and cores are right within a factor of"
        f" {basis.rates_within:g}. What services simulate was timed here, for"
        f" {duration(basis.cpu_s)}. What Kafka takes was measured on {basis.costs_taken}"
        f" ({basis.costs_machine}; {basis.costs_command}); this machine takes {basis.slower:.2g}"
        " times as long now."
    )


def _bytes(size: float) -> str:
    for unit, scale in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= scale:
            return f"{factor(size / scale)} {unit}"
    return f"{size:.0f} B"
