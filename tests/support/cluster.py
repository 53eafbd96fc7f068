"""A cluster without brokers or an event loop: participants over lists of records.

Whatever a real cluster may do is done here at random, from a seed: who runs next, records that
come twice, participants that are killed between two records or in the middle of sending, and come
back from their last snapshot while the one that was thought dead goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from pagewake.bus.log_dir import LogWriter
from pagewake.cluster.partition_log import PartitionLog
from pagewake.cluster.result import Ending, LogCopy, ResultReader, partition_logs
from pagewake.events.codec import FAULTS, Encoded
from pagewake.observe.result import RunResult
from pagewake.participants import snapshots
from pagewake.participants.build import host_participant, shard_participant
from pagewake.participants.commands import Answer, encode_command
from pagewake.participants.participant import (
    HostParticipant,
    Out,
    Participant,
    Step,
)
from pagewake.participants.plan import RunPlan
from pagewake.scenario.writing import effective_toml

STEPS_MAX = 2_000_000


class Member:
    """One process's hold of one participant."""

    def __init__(self, participant: Participant, offset: int) -> None:
        self.participant = participant
        self.offset = offset
        self.unsent: list[Out] = []


class FakeCluster:
    """All participants of one run; the chances are per step."""

    def __init__(
        self,
        plan: RunPlan,
        seed: int,
        *,
        duplicate: float = 0.0,
        kill: float = 0.0,
        snapshot: float = 0.0,
        zombies: int = 0,
    ) -> None:
        self.plan = plan
        self.random = Random(seed)
        self.duplicate = duplicate
        self.kill = kill
        self.snapshot = snapshot
        self.zombies = zombies
        self.log: dict[tuple[str, int], list[bytes]] = {}
        self.stored: dict[str, dict[bytes, bytes]] = {}
        self.snapshots = 0
        self.kills = 0
        self.members = [self.fresh(index) for index in range(self.participants)]
        self.ghosts: list[Member] = []
        self.commands: list[tuple[int, bytes]] = []
        self.answers: dict[str, Answer] = {}
        self.rejected: Counter[str] = Counter()
        self.observers: list[Callable[[Member, Step], None]] = []

    @property
    def hosts(self) -> int:
        return len(self.plan.topology.hosts)

    @property
    def participants(self) -> int:
        return self.hosts + len(self.plan.topology.shards)

    def build(self, index: int) -> Participant:
        if index < self.hosts:
            return host_participant(self.plan, index)
        return shard_participant(self.plan, index - self.hosts)

    def fresh(self, index: int) -> Member:
        """As a process that was just given this partition: newest snapshot, or the start."""
        participant = self.build(index)
        reader = snapshots.SnapshotReader(self.plan.run, participant.source, self.plan.code)
        for key, value in self.stored.get(participant.source, {}).items():
            reader.feed(key, value)
        found = next(iter(reader.complete), None)
        if found is None:
            member = Member(participant, 0)
            member.unsent = participant.start()
            return member
        participant.restore(snapshots.unpack(found.content))
        return Member(participant, found.manifest.offset)

    def append(self, out: Out) -> None:
        records = self.log.setdefault((out.topic, out.partition), [])
        records.append(out.record)
        if self.random.random() < self.duplicate:
            records.append(self.random.choice(records))

    def send(self, member: Member) -> None:
        for out in member.unsent:
            self.append(out)
        member.unsent = []

    def step(self, member: Member) -> bool:
        """Send what is due, or take the next record; False if there is none."""
        if member.unsent:
            self.send(member)
            return True
        participant = member.participant
        records = self.log.get((participant.topic, participant.partition), [])
        if member.offset >= len(records):
            return False
        taken = participant.accept(records[member.offset])
        for observe in self.observers:
            observe(member, taken)
        member.unsent = taken.outs + participant.journal()
        member.offset += 1
        if taken.rejected is not None:
            self.rejected[taken.rejected.why] += 1
        if taken.answer is not None:
            known = self.answers.setdefault(str(taken.answer.id), taken.answer)
            assert known == taken.answer, "everybody who reads a command back answers the same"
        return True

    def command(self, after: int, order_id: str, **command: object) -> None:
        """Have a command for host 0 appended once its partition holds `after` records."""
        record = encode_command(self.plan.run, order_id, command)
        self.commands.append((after, record))
        self.commands.sort()

    def _give(self) -> None:
        records = self.log.setdefault((FAULTS, 0), [])
        while self.commands and len(records) >= self.commands[0][0]:
            self.append(Out(FAULTS, 0, Encoded(self.commands.pop(0)[1], "")))

    def store(self, member: Member) -> None:
        """A snapshot, only behind what was sent."""
        if member.unsent:
            return
        stored = self.stored.setdefault(member.participant.source, {})
        taken = snapshots.take(member.participant, self.snapshots, member.offset)
        self.snapshots += 1
        for key, value in snapshots.records_of(taken):
            stored.pop(key, None)  # compacted: the last of a key stands where it was written
            stored[key] = value

    def die(self, index: int) -> None:
        """Killed, perhaps half through sending; perhaps only thought dead."""
        self.kills += 1
        old = self.members[index]
        if len(self.ghosts) < self.zombies:
            self.ghosts.append(old)
        else:
            for out in old.unsent[: self.random.randrange(len(old.unsent) + 1)]:
                self.append(out)
        self.members[index] = self.fresh(index)

    def run(self) -> str:
        """To the end; the run's digest."""
        idle = 0
        for _ in range(STEPS_MAX):
            if self.commands:
                self._give()
            index = self.random.randrange(self.participants)
            idle = 0 if self.step(self.members[index]) else idle + 1
            if self.ghosts and self.random.random() < 0.2:
                self.step(self.random.choice(self.ghosts))
            if self.random.random() < self.snapshot:
                self.store(self.members[index])
            if self.random.random() < self.kill:
                self.die(index)
            if self.ended() or (idle > 100 * self.participants):
                break
        assert self.ended(), [(m.participant.source, m.participant.window) for m in self.members]
        for ghost in self.ghosts:
            while self.step(ghost):
                pass
        return self.result().digest

    def ended(self) -> bool:
        return all(member.participant.ended and not member.unsent for member in self.members)

    def copy_log(self, directory: Path) -> str:
        """The run as a log directory; its digest."""
        with LogWriter(directory, effective_toml(self.plan.scenario, self.plan.code)) as writer:
            copy = LogCopy(self.plan, writer)
            self._read(partition_logs(self.plan), copy)
            return copy.finish()

    def result(self) -> RunResult:
        """As `submit --wait` computes it."""
        reader = ResultReader(self.plan)
        self._read((log for log in partition_logs(self.plan) if "apf" not in log.topic), reader)
        hosts = [member.participant for member in self.members[: self.hosts]]
        ends_ns = [host.end_ns or 0 for host in hosts if isinstance(host, HostParticipant)]
        return reader.finish(Ending(max(ends_ns), sum(host.window + 1 for host in hosts)), 0.0)

    def _read(self, logs: Iterable[PartitionLog], taker: LogCopy | ResultReader) -> None:
        for log in logs:
            for record in self.log.get((log.topic, log.partition), []):
                taker.take(log, log.feed(record))
            taker.take(log, log.finish())
