"""What the cluster's commands do: announce a run, wait for it, read it back, copy it, end it."""

from __future__ import annotations

import asyncio
import difflib
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec

from pagewake import __version__
from pagewake.bus.kafka import Copies, KafkaBus
from pagewake.bus.log_dir import LogWriter
from pagewake.cluster.clock import Clock
from pagewake.cluster.copies import lone_copy
from pagewake.cluster.logs import tell_person
from pagewake.cluster.partition_log import PartitionLog
from pagewake.cluster.result import LogCopy, ResultReader, partition_logs
from pagewake.cluster.runs import Announced, RunEntry, Runs, StateChanged
from pagewake.cluster.stalls import Told, tell_if_stalled
from pagewake.errors import CheckFailedError, ConfigError
from pagewake.events.codec import FAULTS
from pagewake.events.journal import in_words
from pagewake.observe.result import RunResult
from pagewake.participants.commands import encode_command
from pagewake.participants.plan import RUNS_TOPIC, RunPlan, topic_name
from pagewake.scenario.writing import effective_toml

# Services hear of it and let go of the run's topics before these are gone.
LET_GO_S = 0.5
NEAREST_MAX = 5
"""A cluster has hundreds of runs; a mistyped name is like few of them."""


async def announce(bus: KafkaBus, plan: RunPlan, created_s: float) -> None:
    """Create the run's topics, then say that it is there; ConfigError if the name is taken."""
    await bus.create_topics({RUNS_TOPIC: (1, True)})
    known = await known_runs(bus)
    if plan.run in known.entries:
        raise ConfigError(
            f"there is a run {plan.run!r} already ({known.entries[plan.run].status}): "
            f"choose another --name, or delete it with: pagewake runs delete {plan.run}"
        )
    copies = Copies.lowest((await bus.create_topics(plan.topics())).values())
    if warning := await lone_copy(bus, plan.run, copies):
        tell_person(warning)
    logs = await bus.topic_logs(plan.topics())
    ids = {name: log.topic_id for name, log in logs.items() if log is not None and log.topic_id}
    await say(bus, plan.run, Announced.of(plan, created_s, ids))


async def say(bus: KafkaBus, key: str, what: msgspec.Struct | None) -> None:
    """A record of `pagewake.runs`; None deletes the key."""
    value = None if what is None else msgspec.json.encode(what)
    await (await bus.send(RUNS_TOPIC, 0, value, key.encode()))


async def known_runs(bus: KafkaBus) -> Runs:
    """All runs as they stand now."""
    await bus.create_topics({RUNS_TOPIC: (1, True)})
    runs = Runs()
    async for stored in bus.read(RUNS_TOPIC, 0):
        runs.feed(stored)
    return runs


async def entry_of(bus: KafkaBus, run: str) -> RunEntry:
    """One run; ConfigError with those whose names are near."""
    known = await known_runs(bus)
    entries = known.entries
    if run in known.unreadable:
        other = known.unreadable[run]
        raise ConfigError(
            f"run {run} is of version {other.code}, and {__version__} cannot read it ({other.why});"
            f" use that version, or delete the run with: pagewake runs delete {run}"
        )
    if run not in entries:
        close = difflib.get_close_matches(run, entries, n=NEAREST_MAX, cutoff=0.4)
        near = f"nearest: {', '.join(close)}; " if close else ""
        raise ConfigError(f"there is no run {run!r}; {near}all of them: pagewake runs list")
    return entries[run]


async def wait_until_ended(
    bus: KafkaBus, run: str, clock: Clock, told: Told = tell_person
) -> RunEntry:
    """Follow `pagewake.runs`; CheckFailedError if the run was stopped or deleted.

    Says whom a run waits for that stands still.
    """
    plan = (await entry_of(bus, run)).plan
    watcher = asyncio.create_task(tell_if_stalled(bus, plan, told, clock))
    try:
        return await _ended(bus, run)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _ended(bus: KafkaBus, run: str) -> RunEntry:
    runs = Runs()
    async for stored in bus.read(RUNS_TOPIC, 0, follow=True):
        if runs.feed(stored) != run or run not in runs.entries:
            continue
        entry = runs.entries[run]
        if entry.state is not None:
            raise CheckFailedError(f"run {run} was {entry.state.state}: {entry.state.why}")
        if entry.finished:
            return entry
    raise AssertionError("the topic of runs ended")


async def read_result(bus: KafkaBus, entry: RunEntry, wall_s: float) -> RunResult:
    """Count a finished run."""
    reader = ResultReader(entry.plan)
    logs = (log for log in partition_logs(entry.plan) if not log.topic.startswith("apf"))
    await _read(bus, entry.plan, logs, reader)
    return reader.finish(entry.ending(), wall_s)


async def export(bus: KafkaBus, run: str, directory: Path) -> str:
    """Copy a finished run's log to a directory; its digest."""
    entry = await entry_of(bus, run)
    if not entry.finished:
        raise CheckFailedError(f"run {run} {_unfinished(run, entry)}")
    if entry.plan.journal != "full":
        raise ConfigError(
            f"run {run} keeps {in_words(entry.plan.journal)}, and a log has all of it:"
            " submit the scenario again with --journal full"
        )
    with LogWriter(directory, effective_toml(entry.plan.scenario, entry.announced.code)) as writer:
        copy = LogCopy(entry.plan, writer)
        await _read(bus, entry.plan, partition_logs(entry.plan), copy)
        return copy.finish()


def _unfinished(run: str, entry: RunEntry) -> str:
    """Why there is nothing to export, and what to do."""
    if entry.state is None:
        return f"is running, and has no whole log yet; end it first: pagewake runs stop {run}"
    return (
        f"is {entry.status}, and has no whole log ({entry.state.why or 'no reason given'});"
        f" what there is of it stays in Kafka until: pagewake runs delete {run}"
    )


async def _read(
    bus: KafkaBus, plan: RunPlan, logs: Iterable[PartitionLog], taker: LogCopy | ResultReader
) -> None:
    for log in logs:
        async for stored in bus.read(topic_name(plan.run, log.topic), log.partition):
            taker.take(log, log.feed(stored.value))
        taker.take(log, log.finish())


async def stop(bus: KafkaBus, run: str) -> None:
    """Tell every simulated host to end where it is, as the command over MQTT does."""
    entry = await entry_of(bus, run)
    if not entry.active:
        raise ConfigError(f"run {run} is {entry.status}: there is nothing to stop")
    record = encode_command(run, f"stop-{uuid.uuid4().hex}", {"do": "stop"})
    for host in entry.plan.topology.hosts:
        await (await bus.send(topic_name(run, FAULTS), host.index, record))


async def delete(bus: KafkaBus, run: str, clock: Clock) -> None:
    """Topics and all; of whatever version it is."""
    if run not in (await known_runs(bus)).unreadable:
        await entry_of(bus, run)
    await say(bus, f"{run}/state", StateChanged("deleted"))
    await clock.sleep(LET_GO_S)
    await bus.delete_topics(await bus.topics(topic_name(run, "")))
    keys = {stored.key or b"" async for stored in bus.read(RUNS_TOPIC, 0)}
    for key in sorted(key for key in keys if key.startswith(f"{run}/".encode())):
        await say(bus, key.decode(errors="replace"), None)
    await say(bus, run, None)


def name_for(scenario: str, now_s: float) -> str:
    """A name for a run: its scenario and the moment."""
    stem = "".join(c if c.isalnum() or c == "-" else "-" for c in scenario)[:40].strip("-")
    return f"{stem}-{int(now_s * 1000)}"
