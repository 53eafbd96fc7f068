"""The embedded runtime: all participants of a run in one process, as fast as the CPU allows.

The participants are the objects of the cluster; only the bus differs.  Commits to the shards and
to the host pass the codec, so what this runtime accepts would have survived the wire; the journal,
which nobody in the process reads, is encoded only for a log.

Simulated hosts do not interact.  Each step is one window of the host that is furthest behind, so
progress means the same with one host and with twenty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeAlias

from pagewake.bus.log_dir import LogWriter
from pagewake.bus.memory import MemoryBus
from pagewake.events.codec import JOURNAL_TOPIC
from pagewake.events.digest import combine_hosts, combine_vms
from pagewake.events.types import Event, ShardSummary
from pagewake.participants.build import HostPart
from pagewake.participants.participant import (
    HostParticipant,
    Out,
    ShardParticipant,
)
from pagewake.participants.plan import RunPlan
from pagewake.simtime.window import Cut

Observer: TypeAlias = Callable[[list[Event]], None]
OnProgress: TypeAlias = Callable[[int, int], None]

STRETCH = 64
"""Windows of one host in a row: enough to use what its state brought into the CPU's caches."""


class EmbeddedOutcome(NamedTuple):
    """What a run came to.

    `sim_ns` is where its last simulated host ended; `summaries` are those of all shards.
    """

    sim_ns: int
    windows: int
    digest: str
    host_digests: list[str]
    summaries: list[ShardSummary]


class InterruptedRun(KeyboardInterrupt):
    """Ctrl-C, or `should_stop`, and how far the run had got."""

    def __init__(self, sim_ns: int, windows: int) -> None:
        super().__init__(f"stopped at {sim_ns} ns of simulated time, after {windows} windows")
        self.sim_ns = sim_ns
        self.windows = windows


def run_embedded(
    plan: RunPlan,
    parts: Sequence[HostPart],
    *,
    log: LogWriter | None = None,
    observer: Observer | None = None,
    on_progress: OnProgress | None = None,
    cut: Cut | None = None,
    should_stop: Callable[[], bool] | None = None,
    ends_ns: Sequence[int] | None = None,
) -> EmbeddedOutcome:
    """Run to the end; `parts` are the domains of the plan, as `build` makes them.

    `observer` gets the domain events of one shard and window at a time.  `on_progress` gets
    simulated time and windows.  A log is finished, not closed.  `ends_ns` are the hosts' own
    durations, where they are shorter.  Raises InterruptedRun, a KeyboardInterrupt.
    """
    limit_ns = plan.scenario.duration_ns
    hosts = [
        _Host(
            HostParticipant(plan, index, part.host, duration_ns=min(end_ns, limit_ns), cut=cut),
            _shards(plan, index, part, journal=log is not None),
            log,
            observer,
        )
        for index, (part, end_ns) in enumerate(
            zip(parts, ends_ns or [limit_ns] * len(parts), strict=True)
        )
    ]
    if log is not None:
        for topic, count in plan.topology.partitions().items():
            for partition in range(count):
                log.declare(topic, partition)
    windows = _run_all(hosts, on_progress, should_stop)
    digests = [host.digest() for host in hosts]
    outcome = EmbeddedOutcome(
        max(host.end_ns() for host in hosts),
        windows,
        combine_hosts(digests),
        digests,
        [summary for host in hosts for summary in host.summaries()],
    )
    if log is not None:
        log.finish(outcome.digest, digests, [plan.code])
    return outcome


def _shards(plan: RunPlan, host: int, part: HostPart, *, journal: bool) -> list[ShardParticipant]:
    places = plan.topology.hosts[host].shards
    return [
        ShardParticipant(
            plan, plan.shard_number(place.topic, place.partition), shard, journal=journal
        )
        for place, shard in zip(places, part.shards, strict=True)
    ]


def _run_all(
    hosts: list[_Host],
    on_progress: OnProgress | None,
    should_stop: Callable[[], bool] | None,
) -> int:
    """Run windows of the host that is furthest behind, a stretch at a time, until none is left.

    Returns how many there were.  Which host runs when changes nothing: they do not interact.
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
    return windows


class _Host:
    """One simulated host and its shards on the memory bus."""

    __slots__ = ("host", "shards", "_bus", "_log", "_observer")

    def __init__(
        self,
        host: HostParticipant,
        shards: list[ShardParticipant],
        log: LogWriter | None,
        observer: Observer | None,
    ) -> None:
        self.host = host
        self.shards = shards
        self._bus = MemoryBus()
        self._log = log
        self._observer = observer

    def window(self) -> None:
        """Have every shard simulate the window that is open; the host closes it, opens the next."""
        host, observer = self.host, self._observer
        if host.window < 0:
            self._send(host.start())
        for shard in self.shards:
            for record in self._bus.take(shard.topic, shard.partition):
                step = shard.accept(record)
                self._send(step.outs)
                if observer is not None and step.events:
                    observer(step.events)
                assert step.rejected is None, step.rejected
        for record in self._bus.take(host.topic, host.partition):
            step = host.accept(record)
            self._send(step.outs)
            assert step.rejected is None, step.rejected

    def _send(self, outs: Sequence[Out]) -> None:
        for out in outs:
            if self._log is not None:
                self._log.append(out.topic, out.partition, out.encoded)
            if out.topic != JOURNAL_TOPIC:  # nobody in the process reads it
                self._bus.append(out.topic, out.partition, out.record)

    def end_ns(self) -> int:
        """The instant at which the simulated host ended."""
        assert self.host.end_ns is not None
        return self.host.end_ns

    def digest(self) -> str:
        """The digest of all VMs of all its shards."""
        digests: dict[str, str] = {}
        for shard in self.shards:
            digests |= shard.follower.shard.digests()
        return combine_vms(digests)

    def summaries(self) -> list[ShardSummary]:
        """What the shards account for, in their order."""
        return [shard.follower.shard.summary() for shard in self.shards]
