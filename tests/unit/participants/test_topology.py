"""Which shards a run has, on which host, and where their records go."""

from __future__ import annotations

from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS, JOURNAL_TOPIC
from pagewake.participants.topology import Topology, topology_of
from pagewake.scenario.loading import loads

VM = '\n[[vm]]\nname = "{}"\ncount = {}\nvcpus = 1\nmemory = "1MiB"\nlimit = "1MiB"\n{}'
WORK = '\n[[vm.task]]\nname = "w"\npattern = "work"'
L2 = 'nested = 1\nl2 = { memory = "64KiB" }'


def topology(plain: int, nested: int, hosts: int = 1, shards: int = 1) -> Topology:
    text = '[scenario]\nname = "t"\nduration = "1ms"\n[host]\nmedium = "nvme"\n'
    text += f"count = {hosts}\n"
    text += VM.format("a", plain, "") + WORK if plain else ""
    text += VM.format("n", nested, L2) + WORK if nested else ""
    return topology_of(loads(text), shards)


def test_vms_are_dealt_out_over_the_hosts() -> None:
    found = topology(plain=5, nested=0, hosts=2)
    assert [[shard.vms for shard in host.shards] for host in found.hosts] == [
        [["a-0", "a-2", "a-4"]],
        [["a-1", "a-3"]],
    ]


def test_vms_of_a_host_are_dealt_out_over_its_shards() -> None:
    (host,) = topology(plain=5, nested=0, shards=2).hosts
    assert [shard.vms for shard in host.shards] == [["a-0", "a-2", "a-4"], ["a-1", "a-3"]]
    assert host.shard_of["a-3"] == "guest-1"


def test_no_shard_is_empty() -> None:
    (host,) = topology(plain=2, nested=1, shards=9).hosts
    assert [shard.vms for shard in host.shards] == [["a-0"], ["a-1"], ["n-0"]]


def test_nested_vms_have_shards_of_their_own_with_journals_behind_the_others() -> None:
    found = topology(plain=2, nested=2, hosts=2)
    assert [(shard.source, shard.host, shard.journal) for shard in found.shards] == [
        ("guest-0", 0, 0), ("guest-1", 1, 1), ("nested-0", 0, 2), ("nested-1", 1, 3),
    ]  # fmt: skip


def test_a_topic_has_as_many_partitions_as_there_are_writers_or_readers() -> None:
    assert topology(plain=3, nested=1, hosts=2).partitions() == {
        FAULTS: 2, APF_GUEST: 2, APF_NESTED: 1, JOURNAL_TOPIC: 3,
    }  # fmt: skip
    assert APF_NESTED not in topology(plain=1, nested=0).partitions()
