"""One size on a cluster: a run that is announced, measured from its log, stopped and deleted.

The client does nothing while it measures but note the ends of the partitions; it reads the log when
the run has been stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from statistics import fmean
from typing import NamedTuple

from pagewake.bus.kafka import KafkaBus, KafkaError
from pagewake.cluster import client
from pagewake.cluster.clock import Clock
from pagewake.cluster.listener import MqttListener, take_back_statuses
from pagewake.cluster.logs import tell_person
from pagewake.cluster.mqtt_address import MqttAddress
from pagewake.cluster.stalls import awaited
from pagewake.errors import BrokerError, CheckFailedError, ConfigError, PagewakeError
from pagewake.events.journal import JournalMode
from pagewake.load.embedded import Tell
from pagewake.load.log import HostStretch, Offsets, RunLog, events_per_s, faults_per_s
from pagewake.load.measured import Cost, Latencies, Measurement, cost_of, total
from pagewake.load.plan import WARM_LIMIT_S, WARM_WINDOWS, scenario_for
from pagewake.load.usage import Usage
from pagewake.participants.plan import RunPlan

LOOK_S = 0.25
"""Between two looks at the log: far below a measurement, far above a request."""
TAKEN_UP_S = 120.0
"""Chosen: longer than a group takes to form again after a death and a large run to be built."""
PATIENT_S = 20.0  # between two lines that say whom it waits for
WINDOWS_MIN = 5
"""Of every simulated host: fewer give no percentiles of anything."""
LONGER_S = 120.0
"""What a size may take beyond its time until every host has closed `WINDOWS_MIN` windows."""
ENDED_S = 60.0
"""A service that was asked to stop ends with the window it works on."""


class _Marks(NamedTuple):
    """The measured stretch, in offsets and by our clock."""

    since: Offsets
    until: Offsets
    since_s: float
    until_s: float


async def measure(
    bus: KafkaBus,
    mqtt: MqttAddress | None,
    vcpus: int,
    warm_s: float,
    duration_s: float,
    tell: Tell,
    clock: Clock,
    journal: JournalMode = "full",
) -> Measurement:
    """Announce a run, wait until all of its hosts go, warm up, measure.

    `mqtt` None: nobody says what the services use.  Whatever happens, the run is deleted.
    """
    scenario = scenario_for(vcpus)
    plan = RunPlan.of(client.name_for(scenario.name, clock.wall_s()), scenario, 1, journal=journal)
    usage, latencies = Usage(plan.run, clock), Latencies()
    async with _heard(mqtt, usage, clock):
        try:
            tell("starting", 0.0)
            await client.announce(bus, plan, clock.wall_s())
            async with RunLog(bus.settings, plan) as log:
                await _under_way(bus, plan, log, tell, clock)
                marks = await _measured(log, warm_s, duration_s, tell, clock)
                await _stop(bus, plan.run, clock)
                tell("counting", 1.0)
                stretches = await log.read(marks.since, marks.until, latencies)
        finally:
            await _to_the_end(_clean_up(bus, plan, clock))
    return _summed(plan, marks, stretches, latencies, usage)


@asynccontextmanager
async def _heard(mqtt: MqttAddress | None, usage: Usage, clock: Clock) -> AsyncIterator[None]:
    """Listen to a run while the block lasts; afterwards nothing is retained of it."""
    if mqtt is None:
        yield
        return
    async with MqttListener(mqtt, usage.topics, usage.hear, clock):
        try:
            yield
        finally:
            await _to_the_end(take_back_statuses(mqtt, usage.run, clock))


async def _under_way(bus: KafkaBus, plan: RunPlan, log: RunLog, tell: Tell, clock: Clock) -> None:
    """Wait until every simulated host has closed windows; says now and then for whom."""
    started_s = clock.monotonic_s()
    patient_s = PATIENT_S
    while await log.closes() < WINDOWS_MIN:
        waited_s = clock.monotonic_s() - started_s
        if waited_s > TAKEN_UP_S:
            raise ConfigError(
                f"run {plan.run}: not all simulated hosts were under way within"
                f" {TAKEN_UP_S:g} s: are a host and a guest service running (pagewake serve)?"
            )
        if waited_s > patient_s:
            patient_s += PATIENT_S
            tell_person(f"run {plan.run}: waiting for {await awaited(bus, plan)}")
        tell("waiting for the first windows", 0.0)
        await clock.sleep(LOOK_S)


async def _measured(
    log: RunLog, warm_s: float, duration_s: float, tell: Tell, clock: Clock
) -> _Marks:
    """Warm up, and let the time pass; longer if windows take long."""
    await _pass(warm_s, 0.0, warm_s + duration_s, tell, clock)
    started_s = clock.monotonic_s()
    while await log.closes() < WARM_WINDOWS and clock.monotonic_s() < started_s + WARM_LIMIT_S:
        tell("warming up", warm_s / (warm_s + duration_s))
        await clock.sleep(LOOK_S)
    since, since_s = await log.ends(), clock.monotonic_s()
    await _pass(duration_s, warm_s, warm_s + duration_s, tell, clock)
    while await log.closes(since) < WINDOWS_MIN:
        if clock.monotonic_s() - since_s > duration_s + LONGER_S:
            raise CheckFailedError(
                f"fewer than {WINDOWS_MIN} windows within {duration_s + LONGER_S:g} s:"
                " is a service lost (pagewake top)?"
            )
        await clock.sleep(LOOK_S)
    return _Marks(since, await log.ends(), since_s, clock.monotonic_s())


async def _pass(for_s: float, done_s: float, all_s: float, tell: Tell, clock: Clock) -> None:
    until_s = clock.monotonic_s() + for_s
    while (left_s := until_s - clock.monotonic_s()) > 0:
        tell("measuring" if done_s else "warming up", (done_s + for_s - left_s) / all_s)
        await clock.sleep(min(LOOK_S, left_s))


async def _stop(bus: KafkaBus, run: str, clock: Clock) -> None:
    """End the run by a command; its services are idle when the counting begins."""
    await client.stop(bus, run)
    deadline_s = clock.monotonic_s() + ENDED_S
    while (await client.entry_of(bus, run)).active:
        if clock.monotonic_s() > deadline_s:
            tell_person(f"run {run} has not ended within {ENDED_S:g} s; it is deleted as it is")
            return
        await clock.sleep(LOOK_S)


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Do work that a cancellation has to wait for."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _clean_up(bus: KafkaBus, plan: RunPlan, clock: Clock) -> None:
    """Delete a run, in whatever state it is; its topics alone if it was not announced yet."""
    run = plan.run
    try:
        entry = (await client.known_runs(bus)).entries.get(run)
        if entry is None:
            await bus.delete_topics(list(plan.topics()))
            return
        if entry.active:
            await client.stop(bus, run)
        await client.delete(bus, run, clock)
    except (KafkaError, PagewakeError, OSError, TimeoutError) as error:
        tell_person(f"run {run} could not be deleted ({error!r}): pagewake runs delete {run}")


def _summed(
    plan: RunPlan,
    marks: _Marks,
    stretches: list[HostStretch | None],
    latencies: Latencies,
    usage: Usage,
) -> Measurement:
    hosts = [stretch for stretch in stretches if stretch is not None]
    if len(hosts) < len(stretches):
        raise CheckFailedError(
            f"run {plan.run}: too few windows to tell a rate: give a longer --duration"
        )
    vcpus = sum(vm.vcpus * vm.count for vm in plan.scenario.vms)
    rate = faults_per_s(hosts)
    faults, windows = sum(host.faults for host in hosts), sum(host.windows for host in hosts)
    costs = [
        cost_of(used.service, used.cpu_share, rate, used.memory_bytes)
        for used in usage.between(marks.since_s, marks.until_s)
    ]
    memory = total(cost.memory_bytes for cost in _complete(costs))
    return Measurement(
        vcpus=vcpus,
        vms=len(plan.scenario.instances()),
        hosts=len(hosts),
        wall_s=marks.until_s - marks.since_s,
        windows=windows,
        faults_per_s=rate,
        events_per_s=events_per_s(hosts),
        faults_per_window=faults / windows,
        simulated_per_wall=fmean(host.simulated_s / host.wall_s for host in hosts),
        window=latencies.summary(),
        cpu_s_per_million_faults=total(cost.cpu_s_per_million_faults for cost in _complete(costs)),
        memory_bytes_per_vcpu=None if memory is None else memory / vcpus,
        kafka_bytes_per_fault=sum(host.size for host in hosts) / faults if faults else None,
        services=costs,
    )


def _complete(costs: list[Cost]) -> list[Cost]:
    """The costs, or none at all where one kind of service said nothing."""
    kinds = {cost.service.split()[0] for cost in costs}
    return costs if {"host", "guest"} <= kinds else []


async def reachable(mqtt: MqttAddress, clock: Clock) -> bool:
    """Whether the MQTT broker answers: without it nobody says what the services use."""
    try:
        async with MqttListener(mqtt, (), lambda _topic, _payload: None, clock):
            return True
    except BrokerError as error:
        tell_person(f"{error}; CPU and memory of the services are not measured")
        return False
