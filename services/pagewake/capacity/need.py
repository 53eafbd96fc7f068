"""What a cluster needs for a run, as `pagewake plan` says it.

Amounts are of the whole run; where only its beginning was simulated they are no whole numbers.
"""

from __future__ import annotations

import msgspec

from pagewake.cluster.settings import ServiceKind
from pagewake.events.journal import JournalMode


class TopicNeed(msgspec.Struct, frozen=True):
    """A topic of the run.

    `bytes` are what services write, `disk_bytes` what all copies take of the brokers' disks. A
    compacted topic holds snapshots: the broker cleans up behind the newest, and this is what there
    would be without.
    """

    topic: str
    partitions: int
    records: float
    bytes: float
    disk_bytes: float
    compacted: bool


class ServiceNeed(msgspec.Struct, frozen=True):
    """A kind of service; more than `processes_max` of it make nothing faster.

    Each process takes `base_bytes` of memory, and all together `state_bytes` for the VMs.
    """

    service: ServiceKind
    partitions: int
    processes_max: int
    cpu_ms_per_window: float
    base_bytes: int
    state_bytes: float


class Size(msgspec.Struct, frozen=True):
    """A cluster of so many processes of each kind, and how fast the run is on it at most.

    `bytes_per_s` are what services write, `network_bytes_per_s` all that goes into brokers and out
    of them, for copies too. `cores` are what is kept busy of them, by services and the `broker`.
    """

    processes: dict[ServiceKind, int]
    bound_by: str
    windows_per_s: float
    faults_per_s: float
    records_per_s: float
    bytes_per_s: float
    network_bytes_per_s: float
    cores: dict[str, float]
    cores_in_all: float
    takes_s: float


class Basis(msgspec.Struct, frozen=True):
    """Where the figures come from, and what to think of them.

    `simulated` is the share of the run's windows that was simulated, in `cpu_s`; if the run is
    simulated as a whole, amounts are `exact`. Else `amounts_within` is the share by which the last
    two quarters of what was simulated differ: what the run does later is not known. Rates and cores
    are right within the factor `rates_within`. This machine takes `slower` times as long now as the
    one took on which the costs of Kafka were measured.
    """

    simulated: float
    exact: bool
    amounts_within: float
    rates_within: float
    cpu_s: float
    slower: float
    costs_taken: str
    costs_machine: str
    costs_command: str


class Need(msgspec.Struct, frozen=True):
    """What `pagewake plan --json` prints. `kept` says until when the topics are there."""

    scenario: str
    seed: int
    run: str
    sim_ns: int
    vms: int
    vcpus: int
    hosts: int
    shards: int
    journal: JournalMode
    copies: int
    partitions: int
    windows: float
    faults: float
    events: float
    records: float
    bytes: float
    disk_bytes: float
    kept: str
    brokers: int
    broker_bytes: int
    topics: list[TopicNeed]
    services: list[ServiceNeed]
    sizes: list[Size]
    basis: Basis
    version: str
