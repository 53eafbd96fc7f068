"""The embedded runtime: simulated hosts and their shards in one process, as fast as the CPU allows.

The participants are the objects of the cluster.  With a log only the bus differs: commits pass the
codec, and what is written is what was read.  Without one nobody reads records, so the two ends of
the window protocol hand each other the events themselves; the run is the same, event for event.

Simulated hosts do not interact, so a process may have all hosts of a run or some of them.  Each
step is one window of the host that is furthest behind, so progress means the same with one host
and with twenty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeAlias

from pagewake.bus.log_dir import LogFiles
from pagewake.bus.memory import MemoryBus
from pagewake.events.codec import FAULTS, JOURNAL_TOPIC
from pagewake.events.digest import combine_hosts, combine_vms
from pagewake.events.types import Event, ShardSummary
from pagewake.participants.build import HostPart
from pagewake.participants.participant import (
    HostParticipant,
    Out,
    ShardParticipant,
    domain_events,
)
from pagewake.participants.plan import RunPlan
from pagewake.participants.topology import HostPlace
from pagewake.simtime.window import Cut

Observer: TypeAlias = Callable[[list[Event]], None]
OnProgress: TypeAlias = Callable[[int, int], None]

STRETCH = 64
"""Windows of one host in a row: enough to use what its state brought into the CPU's caches."""


class HostOutcome(NamedTuple):
    """What one simulated host came to; `end_ns` is where it ended."""

    host: int
    end_ns: int
    windows: int
    digest: str
    summaries: list[ShardSummary]


class EmbeddedOutcome(NamedTuple):
    """What a run came to, host by host."""

    hosts: list[HostOutcome]

    @classmethod
    def together(cls, parts: Iterable[EmbeddedOutcome]) -> EmbeddedOutcome:
        """The outcome of all hosts, whichever process had them."""
        return cls(sorted(host for part in parts for host in part.hosts))

    @property
    def sim_ns(self) -> int:
        """Where the last simulated host ended."""
        return max(host.end_ns for host in self.hosts)

    @property
    def windows(self) -> int:
        return sum(host.windows for host in self.hosts)

    @property
    def digest(self) -> str:
        """The run's digest, of its hosts' own."""
        return combine_hosts(self.host_digests)

    @property
    def host_digests(self) -> list[str]:
        return [host.digest for host in self.hosts]

    @property
    def summaries(self) -> list[ShardSummary]:
        """Those of all shards, host by host."""
        return [summary for host in self.hosts for summary in host.summaries]


class InterruptedRun(KeyboardInterrupt):
    """Ctrl-C, or `should_stop`, and how far the run had got."""

    def __init__(self, sim_ns: int, windows: int) -> None:
        super().__init__(f"stopped at {sim_ns} ns of simulated time, after {windows} windows")
        self.sim_ns = sim_ns
        self.windows = windows


def run_embedded(
    plan: RunPlan,
    parts: Sequence[HostPart],
    indexes: Sequence[int] | None = None,
    *,
    log: LogFiles | None = None,
    observer: Observer | None = None,
    on_progress: OnProgress | None = None,
    cut: Cut | None = None,
    should_stop: Callable[[], bool] | None = None,
    ends_ns: Sequence[int] | None = None,
) -> EmbeddedOutcome:
    """Run to the end; `parts` are the domains of these hosts of the plan, as `build` makes them.

    `indexes` are all hosts by default.  `observer` gets the domain events of one shard and window
    at a time.  `on_progress` gets simulated time and windows.  A log is filled, not finished.
    `ends_ns` are the own durations of all hosts, where they are shorter.  Raises InterruptedRun,
    a KeyboardInterrupt.
    """
    limit_ns = plan.scenario.duration_ns
    indexes = range(len(parts)) if indexes is None else indexes
    hosts = [
        _Host(
            HostParticipant(
                plan,
                index,
                part.host,
                duration_ns=limit_ns if ends_ns is None else min(ends_ns[index], limit_ns),
                cut=cut,
            ),
            _shards(plan, index, part),
            log,
            observer,
        )
        for index, part in zip(indexes, parts, strict=True)
    ]
    if log is not None:
        for index in indexes:
            _declare(plan.topology.hosts[index], log)
    _run_all(hosts, on_progress, should_stop)
    return EmbeddedOutcome([host.outcome() for host in hosts])


def _declare(place: HostPlace, log: LogFiles) -> None:
    """Every partition that a host or its shards write to."""
    log.declare(FAULTS, place.index)
    for shard in place.shards:
        log.declare(shard.topic, shard.partition)
        log.declare(JOURNAL_TOPIC, shard.journal)


def _shards(plan: RunPlan, host: int, part: HostPart) -> list[ShardParticipant]:
    places = plan.topology.hosts[host].shards
    for shard in part.shards:
        shard.never_saved()
    return [
        ShardParticipant(plan, plan.shard_number(place.topic, place.partition), shard)
        for place, shard in zip(places, part.shards, strict=True)
    ]


def _run_all(
    hosts: list[_Host],
    on_progress: OnProgress | None,
    should_stop: Callable[[], bool] | None,
) -> None:
    """Run windows of the host that is furthest behind, a stretch at a time, until none is left.

    Which host runs when changes nothing: they do not interact.
    """
    behind = [(0, index) for index in range(len(hosts))]
    heapify(behind)
    windows = reached_ns = at_ns = 0
    while behind:
        index = heappop(behind)[1]
        host = hosts[index]
        for _ in range(STRETCH):
            try:
                if should_stop is not None and should_stop():
                    raise InterruptedRun(reached_ns, windows)
                host.window()
            except KeyboardInterrupt as stop:
                raise InterruptedRun(reached_ns, windows) from stop
            windows += 1
            ended = host.host.ended
            at_ns = host.end_ns() if ended else host.host.at_ns
            # The last window may reach beyond the end; what was reported does not go back.
            others_ns = behind[0][0] if behind else at_ns
            reached_ns = max(reached_ns, min(at_ns, others_ns))
            if on_progress is not None:
                on_progress(reached_ns, windows)
            if ended:
                break
        else:
            heappush(behind, (at_ns, index))


class _Host:
    """One simulated host and its shards; on the memory bus if there is a log."""

    __slots__ = ("host", "shards", "_bus", "_log", "_observer")

    def __init__(
        self,
        host: HostParticipant,
        shards: list[ShardParticipant],
        log: LogFiles | None,
        observer: Observer | None,
    ) -> None:
        self.host = host
        self.shards = shards
        self._bus = MemoryBus()
        self._log = log
        self._observer = observer

    def window(self) -> None:
        """Have every shard simulate the next window, and the host close it."""
        if self._log is None:
            self._window()
        else:
            self._window_of_records(self._log)

    def _window(self) -> None:
        sequencer = self.host.sequencer
        handed = sequencer.open()
        for shard in self.shards:
            reported, output = shard.follower.apply(handed[shard.source])
            self._observe(domain_events(output))
            sequencer.close(shard.source, reported)

    def _window_of_records(self, log: LogFiles) -> None:
        host = self.host
        if host.window < 0:
            self._send(host.start(), log)
        for shard in self.shards:
            for record in self._bus.take(shard.topic, shard.partition):
                step = shard.accept(record)
                assert step.rejected is None, step.rejected
                self._send(step.outs, log)
                self._send(shard.journal(), log)
                self._observe(step.events)
        for record in self._bus.take(host.topic, host.partition):
            step = host.accept(record)
            assert step.rejected is None, step.rejected
            self._send(step.outs, log)

    def _observe(self, events: list[Event]) -> None:
        if self._observer is not None and events:
            self._observer(events)

    def _send(self, outs: Sequence[Out], log: LogFiles) -> None:
        for out in outs:
            log.append(out.topic, out.partition, out.encoded)
            if out.topic != JOURNAL_TOPIC:  # nobody in the process reads it
                self._bus.append(out.topic, out.partition, out.record)

    def end_ns(self) -> int:
        """The instant at which the simulated host ended."""
        assert self.host.end_ns is not None
        return self.host.end_ns

    def outcome(self) -> HostOutcome:
        """What it came to: the digest of all its VMs, what its shards account for."""
        shards = [shard.follower.shard for shard in self.shards]
        digests: dict[str, str] = {}
        for shard in shards:
            digests |= shard.digests()
        return HostOutcome(
            self.host.partition,
            self.end_ns(),
            self.host.window + 1,
            combine_vms(digests),
            [shard.summary() for shard in shards],
        )
