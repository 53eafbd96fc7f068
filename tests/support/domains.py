"""A small simulated host and small VMs, for tests of what connects the two.

A VM steps, misses a page, sleeps until it is ready, and steps again, until it has missed often
enough; it also ticks, and answers when its pages are aged, frozen or not.  The host has one device
that serves in order of arrival, so the order in which it hears of misses shows in every answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import TypeAlias, TypeVar

from msgspec.structs import replace

from pagewake import __version__
from pagewake.bus.log_dir import LogWriter
from pagewake.engine.embedded import EmbeddedOutcome, Observer, OnProgress, run_embedded
from pagewake.events.codec import APF_GUEST, APF_NESTED
from pagewake.events.digest import RunningDigest
from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    AgePages,
    Control,
    Event,
    Journal,
    MediumChanged,
    PageNotPresent,
    PageReady,
    PagesAged,
    ShardSummary,
    TaskFinished,
    TaskSlept,
    TaskWoken,
    ToHost,
    ToShard,
    VcpuHalted,
)
from pagewake.participants.build import HostPart
from pagewake.participants.plan import RunPlan
from pagewake.participants.topology import HostPlace, ShardPlace, Topology
from pagewake.scenario.loading import loads
from pagewake.simtime.ports import Calm, ShardOutput
from pagewake.simtime.randomness import Draws
from pagewake.simtime.window import Cut

AnEvent = TypeVar("AnEvent", bound=Event)
MISS, TICK = "miss", "tick"


class FakeHost:
    """Serves misses one after another; ages every VM's pages now and then."""

    def __init__(
        self, seed: int, lookahead_ns: int, vms: Sequence[str], agings: Sequence[int] = ()
    ) -> None:
        self.lookahead_ns = lookahead_ns
        self.reads = seed % 4
        self.draws = Draws(seed, "device")
        self.free_ns = 0
        self.served = 0
        self.windows = 0
        self.inserted = 0
        self.heard: list[tuple[int, str, int]] = []
        self.due: list[tuple[int, str, int, ToShard]] = []
        for at_ns in agings:
            self.put(MediumChanged(at_ns, "", 0, "other"))
            for vm in vms:
                self.put(AgePages(at_ns, vm, 0, [1, 2, 3]))

    def put(self, event: ToShard) -> None:
        self.inserted += 1
        heappush(self.due, (event.at_ns, event.vm, self.inserted, event))

    def handle(self, events: Sequence[ToHost]) -> None:
        self.windows += 1
        for event in events:
            self.heard.append((event.at_ns, event.vm, event.n))
            if isinstance(event, PageNotPresent):
                service_ns = self.lookahead_ns + self.draws.below(self.served, 50)
                self.served += 1
                self.free_ns = max(self.free_ns, event.at_ns) + service_ns
                self.put(PageReady(self.free_ns, event.vm, 0, 0, event.gfn, 0, event.token))

    def take(self, from_ns: int, until_ns: int) -> list[ToShard]:
        taken = []
        while self.due and self.due[0][0] < until_ns:
            taken.append(heappop(self.due)[3])
        return taken

    def go_on(self, from_ns: int) -> int | None:
        """It only answers."""

    def next_ns(self) -> int | None:
        return self.due[0][0] if self.due else None

    def calm(self) -> Calm:
        """Its one device takes requests in turn, and they cause nothing else."""
        return Calm(self.reads, self.lookahead_ns, self.free_ns + self.lookahead_ns)

    def intervene(self, control: Control) -> None:
        self.put(control)


class FakeVm:
    """One vcpu, one task; `misses` None: it never finishes."""

    def __init__(self, seed: int, name: str, misses: int | None, tick_ns: int = 0) -> None:
        self.name = name
        self.draws = Draws(seed, name)
        self.misses = misses
        self.tick_ns = tick_ns
        self.missed = 0
        self.slept_ns = 0
        self.n = 1
        self.inserted = 0
        self.frozen_ns: int | None = None
        self.digest = RunningDigest()
        self.heap: list[tuple[int, int, int, str | ToShard]] = []
        self.output = ShardOutput()
        self.push(self.draws.below(0, 40), 2, MISS)
        if tick_ns:
            self.push(tick_ns, 2, TICK)

    def push(self, at_ns: int, rank: int, what: str | ToShard) -> None:
        self.inserted += 1
        heappush(self.heap, (at_ns, rank, self.inserted, what))

    def numbered(self, event: AnEvent) -> AnEvent:
        event = replace(event, n=self.n)
        self.n += 1
        self.digest.add(event)
        return event

    def tell(self, event: ToHost) -> None:
        if self.frozen_ns is None:
            event = self.numbered(event)
        self.output.to_host.append(event)

    def note(self, event: Journal) -> None:
        self.output.journal.append(self.numbered(event))

    def run(self, until_ns: int) -> None:
        while self.heap and self.heap[0][0] < until_ns:
            at_ns, _, _, what = heappop(self.heap)
            if isinstance(what, str):
                self.step(at_ns, what)
            else:
                self.consume(at_ns, what)

    def step(self, at_ns: int, what: str) -> None:
        if self.frozen_ns is not None:
            return
        if what == TICK:
            self.note(VcpuHalted(at_ns, self.name, 0, 0, "hlt"))
            self.push(at_ns + self.tick_ns, 2, TICK)
            return
        self.missed += 1
        self.slept_ns = at_ns
        self.tell(
            PageNotPresent(
                at_ns,
                self.name,
                0,
                0,
                Gfn(self.missed),
                "write",
                3,
                1,
                0,
                "injected",
                Token(self.missed),
            )
        )
        self.note(TaskSlept(at_ns, self.name, 0, 0, "task-0", Token(self.missed)))

    def consume(self, at_ns: int, what: ToShard) -> None:
        if self.frozen_ns is None:
            self.output.consumed.append(self.numbered(what))
        if isinstance(what, AgePages):
            self.tell(PagesAged(at_ns, self.name, 0, what.gfns, []))
        elif isinstance(what, PageReady) and self.frozen_ns is None:
            waited_ns = at_ns - self.slept_ns
            token = what.token or Token(0)
            self.note(TaskWoken(at_ns, self.name, 0, 0, "task-0", token, "token", waited_ns))
            if self.missed == self.misses:
                self.note(TaskFinished(at_ns, self.name, 0, 0, "task-0"))
                self.frozen_ns = at_ns
            else:
                self.push(at_ns + self.draws.below(self.missed, 300), 2, MISS)

    def next_ns(self) -> int | None:
        misses = [entry[0] for entry in self.heap if entry[3] == MISS]
        return min(misses, default=None) if self.frozen_ns is None else None


class FakeShard:
    """Some VMs, advanced together."""

    def __init__(self, vms: Sequence[FakeVm]) -> None:
        self.vms = {vm.name: vm for vm in vms}

    def advance(self, until_ns: int, deliveries: Sequence[ToShard]) -> ShardOutput:
        for delivery in deliveries:
            rank = 0 if isinstance(delivery, AgePages) else 1
            self.vms[delivery.vm].push(delivery.at_ns, rank, delivery)
        whole = ShardOutput()
        for vm in self.vms.values():
            vm.run(until_ns)
            whole.to_host += vm.output.to_host
            whole.journal += vm.output.journal
            whole.consumed += vm.output.consumed
            vm.output = ShardOutput()
        whole.to_host.sort(key=lambda event: (event.at_ns, event.vm, event.n))
        return whole

    def next_ns(self) -> int | None:
        instants = [vm.next_ns() for vm in self.vms.values()]
        return min((instant for instant in instants if instant is not None), default=None)

    def frozen_ns(self) -> int | None:
        frozen = [vm.frozen_ns for vm in self.vms.values() if vm.frozen_ns is not None]
        return max(frozen) if len(frozen) == len(self.vms) else None

    def never_saved(self) -> None:
        for vm in self.vms.values():
            vm.digest.lines = None

    def digests(self) -> dict[str, str]:
        return {name: vm.digest.hexdigest() for name, vm in self.vms.items()}

    def summary(self) -> ShardSummary:
        return ShardSummary({name: vm.missed for name, vm in self.vms.items()})


FakePart: TypeAlias = tuple[FakeHost, list[tuple[str, FakeShard]]]
"""A simulated host with its shards, each beside the topic of its partition."""

EMPTY = """
[scenario]
name = "domains"
duration = "{duration_ns}ns"
[host]
medium = "nvme"
page_cluster = "off"
[[vm]]
name = "vm"
vcpus = 1
memory = "1MiB"
limit = "1MiB"
[[vm.task]]
name = "task"
pattern = "work"
"""


def plan_of(parts: Sequence[FakePart], duration_ns: int) -> RunPlan:
    """A plan in which these domains take part; of its scenario only the duration is true."""
    counts: dict[str, int] = {APF_GUEST: 0, APF_NESTED: 0}
    guests = sum(topic == APF_GUEST for _, shards in parts for topic, _ in shards)
    hosts = []
    for index, (_, shards) in enumerate(parts):
        places = []
        for topic, shard in shards:
            number = counts[topic]
            counts[topic] += 1
            journal = number + (guests if topic == APF_NESTED else 0)
            places.append(ShardPlace(index, topic, number, journal, list(shard.vms)))
        hosts.append(HostPlace(index, places))
    scenario = loads(EMPTY.format(duration_ns=duration_ns), "domains.toml", Path())
    return RunPlan("embedded", scenario, 1, Topology(hosts), __version__)


def run_domains(
    parts: Sequence[FakePart],
    duration_ns: int,
    *,
    log: LogWriter | None = None,
    observer: Observer | None = None,
    on_progress: OnProgress | None = None,
    cut: Cut | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> EmbeddedOutcome:
    """An embedded run of these domains; its log is finished."""
    plan = plan_of(parts, duration_ns)
    outcome = run_embedded(
        plan,
        [HostPart(host, [shard for _, shard in shards]) for host, shards in parts],  # type: ignore[arg-type, misc]
        log=log,
        observer=observer,
        on_progress=on_progress,
        cut=cut,
        should_stop=should_stop,
    )
    if log is not None:
        log.finish(outcome.digest, outcome.host_digests, [plan.code])
    return outcome
