"""The embedded runtime: all participants of a run in one process, as fast as the CPU allows.

The participants are the objects of the cluster; only the bus differs.  Commits to the shards and
to the host pass the codec, so what this runtime accepts would have survived the wire; the journal,
which nobody in the process reads, is encoded only for a log.

Simulated hosts do not interact.  Each step opens and closes one window of the host that is
furthest behind, so progress means the same with one host and with twenty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeAlias

from pagewake import __version__
from pagewake.bus.log_dir import LogWriter
from pagewake.bus.memory import MemoryBus
from pagewake.bus.port import Inbox, Outbox
from pagewake.errors import InternalError
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS, JOURNAL_TOPIC, Record
from pagewake.events.digest import combine_hosts, combine_vms
from pagewake.events.types import Event
from pagewake.participants.closing import Consumed, shard_ended
from pagewake.simtime.ports import HostDomain, ShardDomain, ShardOutput
from pagewake.simtime.window import Cut, Follower, Sequencer

ShardPart: TypeAlias = tuple[str, ShardDomain, Sequence[str]]
Participants: TypeAlias = Sequence[tuple[HostDomain, Sequence[ShardPart]]]
Observer: TypeAlias = Callable[[list[Event]], None]
Progress: TypeAlias = Callable[[int, int], None]


STRETCH = 64


class HostSummary(NamedTuple):
    """What one simulated host and its shards account for at the end."""

    host: dict[str, object]
    shards: list[dict[str, object]]


class EmbeddedOutcome(NamedTuple):
    """What a run came to; `sim_ns` is where its last simulated host ended."""

    sim_ns: int
    windows: int
    digest: str
    host_digests: list[str]
    summaries: list[HostSummary]


class InterruptedRun(KeyboardInterrupt):
    """Ctrl-C, or `should_stop`, and how far the run had got."""

    def __init__(self, sim_ns: int, windows: int) -> None:
        super().__init__(f"stopped at {sim_ns} ns of simulated time, after {windows} windows")
        self.sim_ns = sim_ns
        self.windows = windows


def run_embedded(
    participants: Participants,
    *,
    duration_ns: int,
    run: str = "embedded",
    code: str = __version__,
    log: LogWriter | None = None,
    observer: Observer | None = None,
    on_progress: Progress | None = None,
    cut: Cut | None = None,
    should_stop: Callable[[], bool] | None = None,
    ends_ns: Sequence[int] | None = None,
) -> EmbeddedOutcome:
    """Run to the end: `participants` has, per simulated host, its memory and its shards.

    A shard is (topic, domain, names of its VMs).  `observer` gets the domain events of one shard
    and window at a time.  `on_progress` gets simulated time and windows.  A log is finished, not
    closed.  `ends_ns` are the hosts' own durations, where they are shorter.  Raises InterruptedRun,
    a KeyboardInterrupt.
    """
    wiring = _Wiring(run, code, MemoryBus(), log, observer)
    ends_ns = [duration_ns] * len(participants) if ends_ns is None else ends_ns
    hosts = wiring.connect(participants, [min(end, duration_ns) for end in ends_ns], cut)
    _run_all(hosts, on_progress, should_stop)
    digests = [host.digest() for host in hosts]
    outcome = EmbeddedOutcome(
        max(host.end_ns() for host in hosts),
        sum(host.windows for host in hosts),
        combine_hosts(digests),
        digests,
        [host.summary() for host in hosts],
    )
    if log is not None:
        log.finish(outcome.digest, digests, [code])
    return outcome


def _run_all(
    hosts: list[_HostRun],
    on_progress: Progress | None,
    should_stop: Callable[[], bool] | None,
) -> None:
    """Step the host that is furthest behind, a stretch at a time, until none is left.

    A stretch keeps one simulated host's state in the CPU's caches; which host runs when changes
    nothing, because they do not interact.
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
                host.step()
            except KeyboardInterrupt as stop:
                raise InterruptedRun(reached_ns, windows) from stop
            windows += 1
            ended = host.sequencer.ended
            at_ns = host.end_ns() if ended else host.sequencer.until_ns
            # The last window may reach beyond the end; what was reported does not go back.
            others_ns = behind[0][0] if behind else at_ns
            reached_ns = max(reached_ns, min(at_ns, others_ns))
            if on_progress is not None:
                on_progress(reached_ns, windows)
            if ended:
                break
        else:
            heappush(behind, (at_ns, index))


class _Link:
    """One partition of the memory bus, from its outboxes to its inbox, and into the log."""

    __slots__ = ("bus", "topic", "partition", "inbox", "log", "offset")

    def __init__(
        self, bus: MemoryBus, topic: str, partition: int, inbox: Inbox, log: LogWriter | None
    ) -> None:
        self.bus = bus
        self.topic = topic
        self.partition = partition
        self.inbox = inbox
        self.log = log
        self.offset = 0

    def carry(self, outbox: Outbox, window: int, events: Sequence[Record]) -> list[Record]:
        """Send one commit and receive it."""
        bus, topic, partition = self.bus, self.topic, self.partition
        for encoded in outbox.encode(window, events):
            bus.append(topic, partition, encoded.record)
            if self.log is not None:
                self.log.append(topic, partition, encoded)
        applied = None
        for record in bus.read(topic, partition, self.offset):
            assert applied is None, f"{topic}-{partition}: two commits where one was sent"
            self.offset += 1
            applied = self.inbox.accept(record)
        bus.forget(topic, partition, self.offset)
        if applied is None:
            raise InternalError(f"{topic}-{partition}: the commit of window {window} is lost")
        return applied.events


class _ShardRun(NamedTuple):
    """One shard, its way in and its ways out."""

    follower: Follower[ShardDomain]
    source: str
    apf: _Link
    apf_outbox: Outbox
    faults_outbox: Outbox
    journal_outbox: Outbox
    consumed: Consumed


class _HostRun:
    """One simulated host with its shards."""

    __slots__ = ("sequencer", "shards", "faults", "log", "observer")

    def __init__(
        self,
        sequencer: Sequencer[HostDomain],
        shards: list[_ShardRun],
        faults: _Link,
        log: LogWriter | None,
        observer: Observer | None,
    ) -> None:
        self.sequencer = sequencer
        self.shards = shards
        self.faults = faults
        self.log = log
        self.observer = observer

    @property
    def windows(self) -> int:
        """Windows opened so far."""
        return self.sequencer.window + 1

    def step(self) -> None:
        """Open a window, have every shard simulate it, and close it."""
        sequencer = self.sequencer
        handed = sequencer.open()
        window = sequencer.window
        for shard in self.shards:
            received = shard.apf.carry(shard.apf_outbox, window, handed[shard.source])
            reported, output = shard.follower.apply(received)  # type: ignore[arg-type]
            if self.log is not None:
                self._log_journal(self.log, shard, window, output)
            if self.observer is not None:
                _observe(self.observer, output)
            closing = self.faults.carry(shard.faults_outbox, window, reported)
            sequencer.close(shard.source, closing)  # type: ignore[arg-type]

    @staticmethod
    def _log_journal(log: LogWriter, shard: _ShardRun, window: int, output: ShardOutput) -> None:
        shard.consumed.add(output.consumed)
        records: list[Record] = [*output.journal]
        if shard.follower.last:
            records += shard_ended(window, shard.follower.shard, shard.consumed)
        if records:
            outbox = shard.journal_outbox
            for encoded in outbox.encode(window, records):
                log.append(outbox.topic, outbox.partition, encoded)

    def end_ns(self) -> int:
        """Where the simulated host ended."""
        end_ns = self.sequencer.end_ns
        assert end_ns is not None
        return end_ns

    def digest(self) -> str:
        """Over all VMs of all shards."""
        digests: dict[str, str] = {}
        for shard in self.shards:
            digests |= shard.follower.shard.digests()
        return combine_vms(digests)

    def summary(self) -> HostSummary:
        """The host's, then the shards' in their order."""
        shards = [shard.follower.shard.summary() for shard in self.shards]
        return HostSummary(self.sequencer.host.summary(), shards)


def _observe(observer: Observer, output: ShardOutput) -> None:
    """Hand over the domain events; `n == 0` marks what a frozen VM still answered."""
    events: list[Event] = [event for event in output.to_host if event.n]
    events += output.journal
    events += output.consumed
    if events:
        observer(events)


class _Wiring:
    """Who stands on which partition.

    Shards are numbered over all simulated hosts, per topic.  The journal of guest shards comes
    first; the one of nested shards continues behind it.
    """

    __slots__ = ("run", "code", "bus", "log", "observer", "counts", "guests")

    def __init__(
        self,
        run: str,
        code: str,
        bus: MemoryBus,
        log: LogWriter | None,
        observer: Observer | None,
    ) -> None:
        self.run = run
        self.code = code
        self.bus = bus
        self.log = log
        self.observer = observer
        self.counts = {APF_GUEST: 0, APF_NESTED: 0}
        self.guests = 0

    def connect(
        self, participants: Participants, durations_ns: Sequence[int], cut: Cut | None
    ) -> list[_HostRun]:
        """All simulated hosts, ready for their first window."""
        self.guests = sum(
            topic == APF_GUEST for _, shards in participants for topic, _, _ in shards
        )
        return [
            self._host(index, host, parts, durations_ns[index], cut)
            for index, (host, parts) in enumerate(participants)
        ]

    def _host(
        self,
        index: int,
        host: HostDomain,
        parts: Sequence[ShardPart],
        duration_ns: int,
        cut: Cut | None,
    ) -> _HostRun:
        parts = sorted(parts, key=lambda part: part[0])  # a window closes in order of the sources
        shards = [self._shard(index, topic, shard) for topic, shard, _ in parts]
        shard_of = {
            vm: shard.source for shard, (_, _, vms) in zip(shards, parts, strict=True) for vm in vms
        }
        names = [shard.source for shard in shards]
        sequencer = Sequencer(host, names, shard_of, duration_ns, cut)
        return _HostRun(sequencer, shards, self._link(FAULTS, index), self.log, self.observer)

    def _shard(self, host_index: int, topic: str, shard: ShardDomain) -> _ShardRun:
        partition = self.counts[topic]
        self.counts[topic] = partition + 1
        source = f"{topic.removeprefix('apf.')}-{partition}"
        journal = partition if topic == APF_GUEST else self.guests + partition
        if self.log is not None:
            self.log.declare(JOURNAL_TOPIC, journal)
        return _ShardRun(
            Follower(source, shard),
            source,
            self._link(topic, partition),
            Outbox(self.run, f"host-{host_index}", topic, partition, self.code),
            Outbox(self.run, source, FAULTS, host_index, self.code),
            Outbox(self.run, source, JOURNAL_TOPIC, journal, self.code),
            Consumed(),
        )

    def _link(self, topic: str, partition: int) -> _Link:
        if self.log is not None:
            self.log.declare(topic, partition)
        return _Link(self.bus, topic, partition, Inbox(topic, partition, self.run), self.log)
