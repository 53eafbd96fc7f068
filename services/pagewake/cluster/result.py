"""A run's result from its log alone.

Journal and `faults` hold what the shards emitted, `ShardEnded` what they took in, their digests and
their accounting; together that is what the embedded runtime counts while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from pagewake.cluster.plan import RunPlan
from pagewake.events.digest import combine_hosts, combine_vms
from pagewake.events.types import ShardEnded


def host_digests(plan: RunPlan, endings: Sequence[ShardEnded]) -> list[str]:
    """Digest of every simulated host; `endings` in the order of the journals."""
    vms: dict[int, dict[str, str]] = {host.index: {} for host in plan.topology.hosts}
    for shard, ending in zip(plan.topology.shards, endings, strict=True):
        vms[shard.host] |= ending.digests
    return [combine_vms(digests) for digests in vms.values()]


def digest_of(plan: RunPlan, endings: Sequence[ShardEnded]) -> str:
    """The run's digest."""
    return combine_hosts(host_digests(plan, endings))
