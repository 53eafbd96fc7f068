"""A timed scenario that shows what a story shows, without the explorer.

A story is an order, and a timed run has only durations: how long a page-in takes, when an event of
the scenario comes, when the host takes the CPU from a vcpu thread.  These are drawn, anew each
time, until a run by the clock breaks the same property.  Instants are drawn from those at which
something happened in a run without any event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from pagewake.events import types as ev
from pagewake.explore.machine import CONTROLS, Choice, events_of
from pagewake.explore.properties import (
    Broken,
    Tally,
    broken_at_rest,
    broken_by,
    expression_of,
)
from pagewake.explore.search import Found, Plan
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.kvm.machine import Machine
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.interventions import INTERVENTIONS, ScheduledEvent
from pagewake.scenario.media import MediumReader
from pagewake.scenario.model import Scenario
from pagewake.scenario.units import format_duration
from pagewake.simtime.randomness import Draws
from pagewake.simtime.window import Follower, Sequencer

TRIES: Final = 4_000
LATENCIES_NS: Final = (300_000, 20_000, 50_000, 2_000_000)
"""Of a page-in: long and short beside what the machine does meanwhile."""
PAUSES_NS: Final = (1_000, 5_000, 100_000, 400_000, 3_000_000)
"""How long the host keeps the CPU from a thread."""
DURATION_NS: Final = 40_000_000
"""Long enough for all page-ins of a small machine, one after the other."""
TICKS_HZ: Final = 1000
OF_TABLE: Final = ("dummy", "leaked")
"""What the table of sleepers tells when all tasks are done, and the VM is over."""
SPINS: Final = 300
"""So many halts are none."""


class Ended(NamedTuple):
    """What a run by the clock came to; `machine` and `kernel` as properties want them."""

    vm: Machine
    kernel: GuestKernel
    events: list[ev.Event]


def run_timed(scenario: Scenario) -> Ended:
    """Run it to its end."""
    plan = RunPlan.of("timed", scenario, 1)
    part = build(plan)[0]
    place = plan.topology.hosts[0]
    name = place.shards[0].source
    kernel = part.shards[0].kernels[0]
    sequencer = Sequencer(part.host, [name], place.shard_of, scenario.duration_ns)
    follower = Follower(name, part.shards[0])
    events: list[ev.Event] = []
    while not sequencer.ended:
        reported, output = follower.apply(sequencer.open()[name])
        written = [*output.consumed, *output.to_host, *output.journal]
        events += sorted(written, key=lambda event: event.n)
        sequencer.close(name, reported)
    return Ended(kernel.vm, kernel, events)


def broken_in(scenario: Scenario, properties: Sequence[str]) -> list[Broken]:
    """What a run by the clock breaks."""
    ended = run_timed(scenario)
    found = [broken for event in ended.events if (broken := broken_by([event])) is not None]
    tally = Tally([expression_of(text) for text in properties])
    for event in ended.events:
        tally.add([event])
        found += tally.broken("always")
    if sum(type(event) is ev.VcpuHalted for event in ended.events) > SPINS:
        found.append(Broken("restless", "it halts and goes on again, for ever"))
    elif not ended.vm.in_flight and not ended.vm.joining:
        rest = [*broken_at_rest(ended), *tally.broken("finally")]
        over = ended.vm.frozen_ns is not None
        found += [each for each in rest if not over or each.property in OF_TABLE]
    return found


class _Levers(NamedTuple):
    """What can be set to make a story happen."""

    scenario: Scenario
    controls: list[ev.Control]
    vcpus: int


def timed(plan: Plan, found: Found) -> Scenario | None:
    """The first that shows it, if any of many does."""
    levers = _levers(plan.scenario, found.path)
    instants = {
        latency_ns: _instants(_with(levers.scenario, latency_ns, ())) for latency_ns in LATENCIES_NS
    }
    draws = Draws(plan.scenario.seed, "explore/timed")
    drawn = 0

    def below(number: int) -> int:
        nonlocal drawn
        drawn += 1
        return draws.below(drawn, number)

    for number in range(TRIES):
        latency_ns = LATENCIES_NS[below(len(LATENCIES_NS)) if number else 0]
        at = instants[latency_ns]
        stalls = [
            ev.VcpuStalled(
                0, plan.scenario.instances()[0].name, 0, below(levers.vcpus),
                PAUSES_NS[below(len(PAUSES_NS))], "handle-exit",
            )
            for _ in range(below(3) if number else 0)
        ]  # fmt: skip
        events = [
            ScheduledEvent(at_ns, INTERVENTIONS[type(control)], control)
            for control in (*levers.controls, *stalls)
            for at_ns in [max(0, at[below(len(at))] + below(3) - 1)]
        ]
        tried = _with(levers.scenario, latency_ns, events)
        if _shows(plan, found, tried):
            return _shortest(plan, found, tried)
    return None


def _shows(plan: Plan, found: Found, tried: Scenario) -> bool:
    return found.broken.property in {each.property for each in broken_in(tried, plan.properties)}


def _shortest(plan: Plan, found: Found, shown: Scenario) -> Scenario:
    """Without the events that it does not need."""
    for event in shown.events:
        events = tuple(each for each in shown.events if each is not event)
        tried = msgspec.structs.replace(shown, events=events)
        if _shows(plan, found, tried):
            shown = tried
    return shown


def _levers(scenario: Scenario, path: Sequence[Choice]) -> _Levers:
    vm = scenario.instances()[0].name
    listed = events_of(scenario)
    controls = [listed[choice.number] for choice in path if choice.kind == "event"]
    controls += [
        CONTROLS[choice.kind](vm, choice.number) for choice in path if choice.kind in CONTROLS
    ]
    ticks = any(choice.kind in ("tick", "preempt", "balance") for choice in path)
    kernel = msgspec.structs.replace(scenario.kernel, hz=TICKS_HZ if ticks else 0, idle_hz=0)
    about = msgspec.structs.replace(scenario.about, duration_ns=DURATION_NS)
    bare = msgspec.structs.replace(scenario, about=about, kernel=kernel, events=(), explore=None)
    return _Levers(bare, controls, scenario.vms[0].vcpus)


def _with(scenario: Scenario, latency_ns: int, events: Sequence[ScheduledEvent]) -> Scenario:
    medium = MediumReader().read({"latency": format_duration(latency_ns), "parallelism": 64})
    host = msgspec.structs.replace(scenario.host, medium=medium)
    return msgspec.structs.replace(scenario, host=host, events=tuple(events))


def _instants(scenario: Scenario) -> list[int]:
    return sorted({event.at_ns for event in run_timed(scenario).events})
