"""Who takes part in a run, and where each of them stands on the bus.

The same scenario and number of shards give the same topology in every process, without building
anything.  VMs of one simulated host are dealt out over its guest shards, and those whose kernel is
a hypervisor over its nested shards.  Shards are numbered over all simulated hosts, per topic; the
journal of guest shards comes first, that of nested shards continues behind it.
"""

from __future__ import annotations

from typing import NamedTuple

from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS, JOURNAL_TOPIC
from pagewake.scenario.model import Scenario, VmInstance


class ShardPlace(NamedTuple):
    """One shard: it reads partition `partition` of `topic`, and writes journal `journal`."""

    host: int
    topic: str
    partition: int
    journal: int
    vms: list[str]

    @property
    def source(self) -> str:
        """Its name in commits: guest-0, nested-3."""
        return f"{self.topic.removeprefix('apf.')}-{self.partition}"


class HostPlace(NamedTuple):
    """One simulated host with its shards, in the order in which a window closes."""

    index: int  # type: ignore[assignment]
    shards: list[ShardPlace]

    @property
    def source(self) -> str:
        """Its name in commits, such as host-0."""
        return f"host-{self.index}"

    @property
    def shard_of(self) -> dict[str, str]:
        """The source of the shard that each VM is on, by VM name."""
        return {vm: shard.source for shard in self.shards for vm in shard.vms}


class Topology(NamedTuple):
    """All participants of a run."""

    hosts: list[HostPlace]

    @property
    def shards(self) -> list[ShardPlace]:
        """All shards in the order of their journals."""
        return sorted(
            (shard for host in self.hosts for shard in host.shards), key=lambda shard: shard.journal
        )

    def partitions(self) -> dict[str, int]:
        """How many partitions each topic has; no nested shards, no topic for them."""
        shards = self.shards
        guests = sum(shard.topic == APF_GUEST for shard in shards)
        counts = {
            FAULTS: len(self.hosts),
            APF_GUEST: guests,
            APF_NESTED: len(shards) - guests,
            JOURNAL_TOPIC: len(shards),
        }
        return {topic: count for topic, count in counts.items() if count}


def topology_of(scenario: Scenario, shards: int = 1) -> Topology:
    """`shards` is the number of guest (and of nested) shards per simulated host, at most.

    VMs that share CPUs of their host are in one, as who runs is decided there without lookahead.
    """
    shards = 1 if scenario.host.cpus else shards
    by_host: list[list[VmInstance]] = [[] for _ in range(scenario.host.count)]
    for instance in scenario.instances():
        by_host[instance.host].append(instance)
    dealt = [(index, _deal(instances, shards)) for index, instances in enumerate(by_host)]
    guests = sum(topic == APF_GUEST for _, parts in dealt for topic, _ in parts)
    counts = {APF_GUEST: 0, APF_NESTED: 0}
    hosts: list[HostPlace] = []
    for index, parts in dealt:
        places: list[ShardPlace] = []
        for topic, vms in parts:
            number = counts[topic]
            counts[topic] = number + 1
            journal = number if topic == APF_GUEST else guests + number
            places.append(ShardPlace(index, topic, number, journal, vms))
        hosts.append(HostPlace(index, places))
    return Topology(hosts)


def _deal(instances: list[VmInstance], shards: int) -> list[tuple[str, list[str]]]:
    """The shards of one simulated host: topic and VM names."""
    parts: list[tuple[str, list[str]]] = []
    for topic, nested in ((APF_GUEST, False), (APF_NESTED, True)):
        names = [vm.name for vm in instances if bool(vm.spec.nested) is nested]
        parts += [(topic, names[part::shards]) for part in range(min(shards, len(names)))]
    return parts
