"""A cluster without brokers or an event loop: participants over lists of records.

Whatever a real cluster may do is done here at random, from a seed: who runs next, records that
come twice, participants that are killed between two records or in the middle of sending, and come
back from their last snapshot while the one that was thought dead goes on.
"""

from __future__ import annotations

from random import Random

from pagewake.cluster import snapshots
from pagewake.cluster.participant import HostParticipant, Out, Participant, ShardParticipant
from pagewake.cluster.plan import RunPlan
from pagewake.cluster.result import digest_of
from pagewake.engine.closing import joined
from pagewake.events.codec import JOURNAL_TOPIC, decode_commit, decode_events
from pagewake.events.types import ShardEnded

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
        self.stored: dict[str, list[tuple[bytes, bytes]]] = {}
        self.kills = 0
        self.members = [self.fresh(index) for index in range(self.participants)]
        self.ghosts: list[Member] = []

    @property
    def hosts(self) -> int:
        return len(self.plan.topology.hosts)

    @property
    def participants(self) -> int:
        return self.hosts + len(self.plan.topology.shards)

    def build(self, index: int) -> Participant:
        if index < self.hosts:
            return HostParticipant(self.plan, index)
        return ShardParticipant(self.plan, index - self.hosts)

    def fresh(self, index: int) -> Member:
        """As a process that was just given this partition: newest snapshot, or the start."""
        participant = self.build(index)
        reader = snapshots.SnapshotReader(self.plan.run, participant.source, self.plan.code)
        for key, value in self.stored.get(participant.source, []):
            reader.feed(key, value)
        found = reader.newest
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
        member.unsent = participant.accept(records[member.offset]).outs
        member.offset += 1
        return True

    def store(self, member: Member) -> None:
        """A snapshot, only behind what was sent."""
        if member.unsent:
            return
        records = self.stored.setdefault(member.participant.source, [])
        number = len([key for key, _ in records if key.endswith(b"manifest")])
        records += snapshots.records_of(snapshots.take(member.participant, number, member.offset))

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
        return digest_of(self.plan, self.endings())

    def ended(self) -> bool:
        return all(member.participant.ended and not member.unsent for member in self.members)

    def endings(self) -> list[ShardEnded]:
        """Per shard, what stands at the end of its journal."""
        found: dict[int, list[ShardEnded]] = {}
        for (topic, partition), records in self.log.items():
            if topic != JOURNAL_TOPIC:
                continue
            seen: set[tuple[int, int]] = set()
            for record in records:
                commit = decode_commit(record)
                if (commit.seq, commit.part) in seen:
                    continue
                seen.add((commit.seq, commit.part))
                events = decode_events(topic, commit)
                closing = [event for event in events if isinstance(event, ShardEnded)]
                if closing:
                    found.setdefault(partition, []).extend(closing)
        return [joined(found[number]) for number in sorted(found)]
