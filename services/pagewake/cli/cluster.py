"""`pagewake submit` and `runs`: a cluster from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import msgspec
import typer
from pydantic import ValidationError

from pagewake import __version__
from pagewake.bus.kafka import Copies, KafkaBus
from pagewake.cli.check import CheckOption, check
from pagewake.cli.fitting import ANYWAY
from pagewake.cli.guard import complain
from pagewake.cli.loading import load, tell_hints
from pagewake.cli.options import (
    JournalOption,
    JsonOption,
    KafkaOption,
    MqttOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    ShardsOption,
)
from pagewake.cli.output import print_json, print_line
from pagewake.cli.own_words import own_words
from pagewake.cli.progress import duration
from pagewake.cli.screen import print_result
from pagewake.cli.tables import run_table
from pagewake.cluster import client
from pagewake.cluster.clock import Clock, SystemClock
from pagewake.cluster.copies import copies_of
from pagewake.cluster.cost import ClusterCost, cost_of
from pagewake.cluster.kafka_errors import told_to_a_person
from pagewake.cluster.listener import take_back_statuses
from pagewake.cluster.logs import log_to_person, tell_person
from pagewake.cluster.runs import RunEntry, Runs
from pagewake.cluster.settings import COMMAND_WAIT_S, Settings
from pagewake.errors import ConfigError, nearest
from pagewake.events.journal import JournalMode, check_mode
from pagewake.observe.result import RunResult, without_journal
from pagewake.participants.plan import RunPlan
from pagewake.scenario.model import Scenario

Value = TypeVar("Value")


class RunListing(msgspec.Struct, frozen=True):
    """A row of the table of `pagewake runs`."""

    run: str
    status: str
    scenario: str
    seed: int
    hosts: int
    shards: int
    why: str = ""
    journal: JournalMode = "full"
    copies: int | None = None
    in_sync: int | None = None
    version: str = __version__


def settings_of(**flags: str | None) -> Settings:
    """The settings of the environment, with the flags that were given on top."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        name = "_".join(str(part) for part in error.errors()[0]["loc"]).upper()
        raise ConfigError(f"PAGEWAKE_{name}: {own_words(error)}") from None


def warn_of_unknown(environ: Iterable[str]) -> None:
    """A setting that is spelled wrong does nothing, which nobody would see."""
    known = {
        "PAGEWAKE_DEBUG",
        ANYWAY,
        *(f"PAGEWAKE_{name.upper()}" for name in Settings.model_fields),
    }
    for name in sorted(environ):
        plain = name.upper()
        if plain.startswith("PAGEWAKE_") and plain not in known:
            complain(f"{name} is no setting, and does nothing: {nearest(plain, known)}")


def on_bus(
    settings: Settings,
    clock: Clock,
    work: Callable[[KafkaBus], Awaitable[Value]],
    *,
    writes: bool = True,
) -> Value:
    """Run `work` with a connected bus, and return what it returns."""

    async def connected() -> Value:
        async with KafkaBus(settings.kafka_settings(COMMAND_WAIT_S), writes=writes) as bus:
            return await work(bus)

    log_to_person(clock)
    with told_to_a_person(settings.kafka):
        return asyncio.run(connected())


def submit(
    scenario: ScenarioArgument,
    seed: SeedOption = None,
    sets: SetOption = None,
    shards: ShardsOption = 1,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end and print what came of it.")
    ] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run.")] = None,
    journal: JournalOption = "full",
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
    checked: CheckOption = False,
) -> None:
    """Run a scenario on a cluster."""
    mode = check_mode(journal)
    if checked and not wait:
        raise ConfigError("--check looks at what came of the run: give --wait with it")
    loaded = load(scenario, sets or (), seed)
    _refuse_told(loaded)
    if mode == "none":
        _refuse_blind(loaded, checked=checked)
    tell_hints([loaded])
    clock = SystemClock()
    run = name or client.name_for(loaded.name, clock.wall_s())
    plan = RunPlan.of(run, loaded, shards, journal=mode)

    async def work(bus: KafkaBus) -> tuple[RunResult, ClusterCost] | None:
        started_s = clock.monotonic_s()
        await client.announce(bus, plan, clock.wall_s())
        if not wait:
            return None
        entry = await client.wait_until_ended(bus, plan.run, clock)
        result = await client.read_result(bus, entry, clock.monotonic_s() - started_s)
        return result, cost_of(result, entry.spent)

    came = on_bus(settings_of(kafka=kafka), clock, work)
    if came is None:
        print_json({"run": plan.run}) if as_json else print_line(plan.run)
        return
    result, cost = came
    saw = mode != "none"
    if as_json:
        told = msgspec.to_builtins(result) if saw else without_journal(result)
        print_json({**told, "cluster": cost})
    else:
        print_result(*run_table(result, _cost_figures(cost), saw_journal=saw))
    check((plan.run, result), also_wrongs=checked)


def _refuse_told(scenario: Scenario) -> None:
    """A story is told by one process: its choices have no lookahead to cut windows by."""
    if scenario.explore is not None and scenario.explore.choices:
        raise ConfigError(
            f"{scenario.name} has explore.choices, a story that one process tells: run it with "
            "pagewake run, or have explore --save make it a scenario by the clock"
        )


def _refuse_blind(scenario: Scenario, *, checked: bool) -> None:
    """What a run without a journal could not answer."""
    if checked:
        raise ConfigError("--check looks for killed tasks in the journal: give --journal faults")
    if scenario.expects:
        raise ConfigError(
            f"{scenario.name} expects something of its requests, which stand in the journal:"
            " give --journal faults"
        )


def _cost_figures(cost: ClusterCost) -> Iterator[tuple[str, str]]:
    per_fault = (
        f"{cost.records_per_fault:.3g} records and {cost.bytes_per_fault:,.0f} bytes a fault"
        if cost.records_per_fault is not None and cost.bytes_per_fault is not None
        else f"{cost.records:,} records and {cost.bytes:,} bytes"
    )
    yield "on kafka", f"{cost.faults_per_window:.3g} faults a window, {per_fault}"
    for name, process in cost.processes.items():
        wall_s = process.wall_s or 1.0
        parts = (
            f"{what} {100 * took_s / wall_s:.0f} %"
            for what, took_s in (
                ("waiting", process.waiting_s),
                ("codec", process.codec_s),
                ("simulation", process.simulation_s),
            )
        )
        yield name, f"{duration(process.wall_s)}: {', '.join(parts)}"


def copy_log(run: str, out: Path, kafka: str | None) -> None:
    """Copy a run's log from Kafka into a log directory, as `run --log` writes it."""
    settings = settings_of(kafka=kafka)
    copied = on_bus(settings, SystemClock(), lambda bus: client.export(bus, run, out), writes=False)
    print_line(copied)


runs = typer.Typer(
    name="runs",
    help="Runs of a cluster.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
RunArgument: TypeAlias = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]


@runs.command("list")
def list_runs(kafka: KafkaOption = None, as_json: JsonOption = False) -> None:
    """All runs and how they stand."""

    async def work(bus: KafkaBus) -> tuple[Runs, Mapping[str, Copies]]:
        known = await client.known_runs(bus)
        return known, await copies_of(bus, [entry.plan for entry in known.entries.values()])

    known, copies = on_bus(settings_of(kafka=kafka), SystemClock(), work, writes=False)
    rows = [_listed(name, entry, copies.get(name)) for name, entry in known.entries.items()]
    rows += [
        RunListing(name, "unreadable", "", 0, 0, 0, other.why, version=other.code)
        for name, other in known.unreadable.items()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        kept = "" if row.journal == "full" else f"  journal {row.journal}"
        copied = f"  {copies[row.run].words}" if row.run in copies else ""
        version = "" if row.version == __version__ else f"  version {row.version}"
        what = f"  {row.scenario} seed {row.seed}" if row.scenario else ""
        line = f"{row.run}  {row.status}{what}{version}{kept}{copied}  {row.why}"
        print_line(line.rstrip())


def _listed(name: str, entry: RunEntry, copies: Copies | None) -> RunListing:
    kept, in_sync = copies or (None, None)
    return RunListing(
        name,
        entry.status,
        entry.plan.scenario.name,
        entry.plan.scenario.seed,
        len(entry.plan.topology.hosts),
        len(entry.plan.topology.shards),
        entry.state.why if entry.state else "",
        entry.plan.journal,
        kept,
        in_sync,
        entry.announced.code,
    )


@runs.command("watch")
def watch_run(run: RunArgument, kafka: KafkaOption = None) -> None:
    """Wait until a run has ended; exit 1 if it broke off or was deleted."""

    clock = SystemClock()

    async def work(bus: KafkaBus) -> None:
        await client.entry_of(bus, run)
        await client.wait_until_ended(bus, run, clock)

    on_bus(settings_of(kafka=kafka), clock, work, writes=False)
    print_line(f"{run}  finished")


@runs.command("stop")
def stop_run(run: RunArgument, kafka: KafkaOption = None) -> None:
    """End a run where it is; it has a result and a log like any other."""
    on_bus(settings_of(kafka=kafka), SystemClock(), lambda bus: client.stop(bus, run))
    tell_person(f"run {run} is asked to end; wait for it with: pagewake runs watch {run}")


@runs.command("delete")
def delete_run(run: RunArgument, kafka: KafkaOption = None, mqtt: MqttOption = None) -> None:
    """Delete a run with its topics, and what the MQTT broker retains of it."""
    settings = settings_of(kafka=kafka, mqtt=mqtt)
    mqtt_address = settings.mqtt_address()
    clock = SystemClock()
    on_bus(settings, clock, lambda bus: client.delete(bus, run, clock))
    if mqtt_address is not None:
        asyncio.run(take_back_statuses(mqtt_address, run, clock))
    tell_person(f"run {run} is deleted, with its topics")
