"""reference/plan.md: what `plan --json` prints, from capacity/need.py."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from docs.generate.events import typed
from docs.generate.markdown import code, head, prose, table
from pagewake.capacity.need import Basis, Need, ServiceNeed, Size, TopicNeed

ABOUT = """
What `pagewake plan --json` prints: one object. Amounts are of the whole run; where only its
beginning was simulated they are scaled, and no whole numbers. What they are worth:
[how to scale the cluster](../how-to/scale-the-cluster.md#how-large-a-cluster).
"""
KEYS: Mapping[str, str] = {
    "scenario": "name of the scenario",
    "seed": "of all its randomness",
    "run": "name of the run, which stands in every record: `--name`, or one as long as `submit`'s",
    "sim_ns": "simulated time",
    "vms": "on all simulated hosts",
    "vcpus": "of all VMs, those of nested guests included",
    "hosts": "simulated hosts",
    "shards": "of all simulated hosts",
    "journal": "how much of it the run keeps",
    "copies": "of every topic, `--copies`",
    "partitions": "of all topics",
    "windows": "of all simulated hosts",
    "faults": "on absent pages; without first touches",
    "events": "domain events",
    "records": "that services write, snapshots left out; as `cluster` of `submit --wait --json`",
    "bytes": "of these records",
    "disk_bytes": "of the brokers' disks, all copies and all snapshots written",
    "kept": "the command until which the topics keep all of it",
    "brokers": "as many as there are copies, at the least",
    "broker_bytes": "resident memory of a broker, as it was measured",
    "topics": "the run's topics",
    "services": "the kinds of services that it needs",
    "sizes": "clusters from one process of each kind to the largest that is faster for it",
    "basis": "where the figures come from",
    "version": "of pagewake",
}
PARTS = (TopicNeed, ServiceNeed, Size, Basis)


def page() -> str:
    """The whole page."""
    keys = {field.name: typed(field.type) for field in msgspec.structs.fields(Need)}
    assert list(keys) == list(KEYS), "every key of a plan has a text, in their order"
    parts = [
        head("Plan", "`capacity/need.py`", ABOUT),
        table(["key", "type", "is"], [(code(key), keys[key], KEYS[key]) for key in keys]),
    ]
    for part in PARTS:
        rows = [(code(each.name), typed(each.type)) for each in msgspec.structs.fields(part)]
        parts += [f"## {part.__name__}\n", f"{prose(part)}\n", table(["key", "type"], rows)]
    return "\n".join(parts)
