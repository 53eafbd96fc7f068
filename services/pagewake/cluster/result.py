"""A finished run read back from its partitions: its digest, its result, its log directory.

Journal and `faults` hold what the shards emitted, `ShardEnded` what they took in, their digests and
their accounting; together that is what the embedded runtime counts while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pagewake import __version__
from pagewake.bus.log_dir import LogWriter
from pagewake.cluster.partition_log import Logged, PartitionLog
from pagewake.errors import DataError
from pagewake.events.codec import FAULTS, JOURNAL_TOPIC, Encoded, decode_events
from pagewake.events.digest import combine_hosts, combine_vms
from pagewake.events.types import Event, ShardEnded
from pagewake.observe.counter import ResultCounter
from pagewake.observe.result import RunFacts, RunResult, swap_facts
from pagewake.participants.closing import joined
from pagewake.participants.plan import RunPlan


class Ending(NamedTuple):
    """How a run ended: simulated time of its last host, all its windows."""

    sim_ns: int
    windows: int


def partition_logs(plan: RunPlan) -> Iterator[PartitionLog]:
    """Every partition of a run, with who writes to it."""
    for host in plan.topology.hosts:
        yield PartitionLog(plan.run, FAULTS, host.index, [shard.source for shard in host.shards])
    for shard in plan.topology.shards:
        yield PartitionLog(plan.run, shard.topic, shard.partition, [f"host-{shard.host}"])
    for shard in plan.topology.shards:
        yield PartitionLog(plan.run, JOURNAL_TOPIC, shard.journal, [shard.source])


def host_digests(plan: RunPlan, endings: Sequence[ShardEnded]) -> list[str]:
    """Digest of every simulated host; `endings` in the order of the journals."""
    vms: dict[int, dict[str, str]] = {host.index: {} for host in plan.topology.hosts}
    for shard, ending in zip(plan.topology.shards, endings, strict=True):
        vms[shard.host] |= ending.digests
    return [combine_vms(digests) for digests in vms.values()]


def digest_of(plan: RunPlan, endings: Sequence[ShardEnded]) -> str:
    """The run's digest."""
    return combine_hosts(host_digests(plan, endings))


class Endings:
    """Collects what the shards said at the end of their journals."""

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.codes: set[str] = set()
        self._found: dict[int, list[ShardEnded]] = {}

    def take(self, log: PartitionLog, logged: Logged) -> None:
        """The next record of any partition."""
        commit = logged.commit
        self.codes.add(commit.code)
        if log.topic == JOURNAL_TOPIC and b'"event":"ShardEnded"' in bytes(commit.events):
            events = decode_events(log.topic, commit)
            closing = [event for event in events if isinstance(event, ShardEnded)]
            self._found.setdefault(log.partition, []).extend(closing)

    def all(self) -> list[ShardEnded]:
        """By journal; DataError while one of them has no end."""
        missing = [
            shard.source for shard in self.plan.topology.shards if shard.journal not in self._found
        ]
        if missing:
            raise DataError(
                f"run {self.plan.run}: the journal of {', '.join(missing)} has no end: "
                f"the run has not ended, or its log was cut off"
            )
        return [joined(self._found[number]) for number in sorted(self._found)]


class LogCopy:
    """Writes the partitions of a run to a log directory."""

    def __init__(self, plan: RunPlan, writer: LogWriter) -> None:
        self.endings = Endings(plan)
        self.writer = writer
        for log in partition_logs(plan):
            writer.declare(log.topic, log.partition)

    def take(self, log: PartitionLog, records: Sequence[Logged]) -> None:
        """The next records of any partition."""
        for logged in records:
            self.endings.take(log, logged)
            encoded = Encoded(logged.record, logged.commit.hash)
            self.writer.append(log.topic, log.partition, encoded)

    def finish(self) -> str:
        """Give the directory its name; the run's digest."""
        digests = host_digests(self.endings.plan, self.endings.all())
        digest = combine_hosts(digests)
        self.writer.finish(digest, digests, sorted(self.endings.codes))
        return digest


class ResultReader:
    """Counts the partitions of a run, all but those of `apf.*`."""

    def __init__(self, plan: RunPlan) -> None:
        self.endings = Endings(plan)
        self._counter = ResultCounter()

    def take(self, log: PartitionLog, records: Sequence[Logged]) -> None:
        """The next records of any partition."""
        for logged in records:
            self.endings.take(log, logged)
            events = decode_events(log.topic, logged.commit)
            self._counter.feed([event for event in events if isinstance(event, Event) and event.n])

    def finish(self, ending: Ending, wall_s: float) -> RunResult:
        """The result, as the embedded runtime would give it."""
        plan, endings = self.endings.plan, self.endings.all()
        for shard in endings:
            self._counter.feed_consumed(shard)
        scenario = plan.scenario
        facts = RunFacts(
            scenario=scenario.name,
            seed=scenario.seed,
            profile=scenario.kernel.profile,
            apf=scenario.kernel.apf,
            sim_ns=ending.sim_ns,
            wall_s=wall_s,
            windows=ending.windows,
            digest=digest_of(plan, endings),
            shards=len(plan.topology.shards),
            version=__version__,
            swap=swap_facts(scenario),
            expects=scenario.expects,
            journal=plan.journal,
        )
        summaries = [shard.summary for shard in endings]
        return self._counter.finish(facts, summaries, saw_journal=plan.journal != "none")
