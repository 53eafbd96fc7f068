"""One run as every process of the cluster sees it: its name, its scenario, who takes part."""

from __future__ import annotations

import re
from typing import NamedTuple

from pagewake import __version__
from pagewake.errors import ConfigError
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS
from pagewake.events.journal import JournalMode
from pagewake.participants.topology import Topology, topology_of
from pagewake.scenario.model import Scenario

PREFIX = "pagewake"
RUNS_TOPIC = f"{PREFIX}.runs"
SNAPSHOTS = "snapshots"
NAME_CHARACTERS_MAX = 64
"""Kafka allows 249 characters in the name of a topic, which holds this and more."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


class RunPlan(NamedTuple):
    """What all participants of a run agree on before it starts."""

    run: str
    scenario: Scenario
    shards: int
    topology: Topology
    code: str
    journal: JournalMode = "full"

    @classmethod
    def of(
        cls,
        run: str,
        scenario: Scenario,
        shards: int,
        code: str = __version__,
        journal: JournalMode = "full",
    ) -> RunPlan:
        """ConfigError for a name that no topic can carry."""
        return cls(check_name(run), scenario, shards, topology_of(scenario, shards), code, journal)

    def topics(self) -> dict[str, tuple[int, bool]]:
        """Every topic of the run: partitions, and whether it is compacted."""
        counts = self.topology.partitions()
        topics = {topic_name(self.run, topic): (count, False) for topic, count in counts.items()}
        participants = len(self.topology.hosts) + len(self.topology.shards)
        topics[topic_name(self.run, SNAPSHOTS)] = (participants, True)
        return topics

    def sources(self) -> list[str]:
        """The names of all participants: hosts, then shards."""
        hosts = [host.source for host in self.topology.hosts]
        return hosts + [shard.source for shard in self.topology.shards]

    def snapshot_partition(self, topic: str, partition: int) -> int:
        """The partition for snapshots of the participant that reads an input partition."""
        if topic == FAULTS:
            return partition
        return len(self.topology.hosts) + self.shard_number(topic, partition)

    def shard_number(self, topic: str, partition: int) -> int:
        """The shard of an input partition, counted as journals are."""
        guests = self.topology.partitions().get(APF_GUEST, 0)
        return partition + (guests if topic == APF_NESTED else 0)


def check_name(run: str) -> str:
    """Return the name of a run; ConfigError if it cannot be part of names of topics."""
    if not _NAME.fullmatch(run) or len(run) > NAME_CHARACTERS_MAX:
        raise ConfigError(
            f"{run!r} cannot name a run: use letters, digits and hyphens, "
            f"at most {NAME_CHARACTERS_MAX} of them"
        )
    return run


def topic_name(run: str, topic: str) -> str:
    """The name of a topic in Kafka: `pagewake.<run>.<topic>`."""
    return f"{PREFIX}.{run}.{topic}"


def split_topic(name: str) -> tuple[str, str]:
    """The run and the topic that a name in Kafka stands for."""
    prefix, run, topic = name.split(".", 2)
    assert prefix == PREFIX, name
    return run, topic
