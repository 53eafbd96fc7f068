"""From what was simulated to what a cluster needs: arithmetic alone.

Topics are those of the run's plan, amounts and CPU times the probe's; what Kafka costs is in the
table of costs, and how many windows a second there can be says the model of stations.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from pagewake import __version__
from pagewake.capacity.costs import Costs
from pagewake.capacity.need import Basis, Need, ServiceNeed, Size, TopicNeed
from pagewake.capacity.probe import Amounts, Probe
from pagewake.capacity.stations import Model, Station, grown, least
from pagewake.cluster.owner import SNAPSHOT_BYTES_PER_S
from pagewake.cluster.settings import ServiceKind
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS, JOURNAL_TOPIC, TOPICS
from pagewake.participants.footprint import memory_bytes
from pagewake.participants.plan import SNAPSHOTS, RunPlan, split_topic

INPUT_OF: dict[ServiceKind, str] = {"host": FAULTS, "guest": APF_GUEST, "nested": APF_NESTED}
LOG_RECORD_BYTES = 70
"""Of a record on a broker's disk, its content not counted: 61 of a batch and nine of the record
itself in Kafka's format; at most, because records of a journal share their batches."""
RATES_WITHIN = 3.0
"""Rates and CPU that `tests.bench.bench_plan` predicted were off by less than this factor, on a
machine that other work had most of."""
FIRST_SIZES = 6
"""Of a table: each step, then every power of two, and the last."""
KEPT = "pagewake runs delete"


class Terms(NamedTuple):
    """What is not the scenario's: copies of topics, cores that all share, time to a snapshot."""

    copies: int = 1
    cores: float = inf
    snapshot_s: float = 5.0


def need_of(plan: RunPlan, probe: Probe, costs: Costs, terms: Terms) -> Need:
    """The whole answer; `costs` as they are on this machine."""
    scenario, total, seen = plan.scenario, probe.total, probe.seen
    topics = _topics(plan, probe, terms)
    model = model_of(plan, probe, costs)
    clusters = list(grown(model, terms.cores))
    sizes = [_size(total, model, processes, terms) for processes in clusters]
    return Need(
        scenario=scenario.name,
        seed=scenario.seed,
        run=plan.run,
        sim_ns=scenario.duration_ns,
        vms=len(scenario.instances()),
        vcpus=sum(vm.count * vm.vcpus_in_all for vm in scenario.vms),
        hosts=len(plan.topology.hosts),
        shards=len(plan.topology.shards),
        journal=plan.journal,
        copies=terms.copies,
        partitions=sum(topic.partitions for topic in topics),
        windows=total["windows"],
        faults=total["faults"],
        events=total["events"],
        records=_in_all(total, "records"),
        bytes=_in_all(total, "bytes"),
        disk_bytes=sum(topic.disk_bytes for topic in topics),
        kept=KEPT,
        brokers=terms.copies,
        broker_bytes=costs.broker_bytes,
        topics=topics,
        services=_services(plan, model, clusters[-1], costs),
        sizes=thinned(sizes),
        basis=Basis(
            simulated=seen["windows"] / total["windows"],
            exact=probe.whole,
            amounts_within=probe.within,
            rates_within=RATES_WITHIN,
            cpu_s=sum(seen[f"cpu {service}"] for service in INPUT_OF),
            slower=costs.slower,
            costs_taken=costs.taken,
            costs_machine=costs.machine,
            costs_command=costs.command,
        ),
        version=__version__,
    )


def _in_all(amounts: Amounts, what: str) -> float:
    return sum(amounts[f"{what} {topic}"] for topic in TOPICS)


# ---------------------------------------------------------------------------------- topics


def _topics(plan: RunPlan, probe: Probe, terms: Terms) -> list[TopicNeed]:
    total = probe.total
    found: list[TopicNeed] = []
    for name, (partitions, compacted) in plan.topics().items():
        _, topic = split_topic(name)
        records, size = total[f"records {topic}"], total[f"bytes {topic}"]
        if topic == SNAPSHOTS:
            records, size = _snapshots(plan, probe, terms.snapshot_s)
        disk = terms.copies * (size + LOG_RECORD_BYTES * records)
        found.append(TopicNeed(topic, partitions, records, size, disk, compacted))
    return found


def _snapshots(plan: RunPlan, probe: Probe, snapshot_s: float) -> tuple[float, float]:
    """Records and bytes: a participant writes one for so much work, for more if it is large."""
    participants = len(plan.sources())
    work_s = sum(probe.total[f"cpu {service}"] for service in INPUT_OF) / participants
    each = probe.packed_bytes / participants
    number = work_s // max(snapshot_s, each / SNAPSHOT_BYTES_PER_S)
    return number * participants, number * probe.packed_bytes


# ---------------------------------------------------------------------------------- processes


def model_of(plan: RunPlan, probe: Probe, costs: Costs) -> Model:
    """The stations of this run: what the probe measured, and Kafka on top."""
    seen, partitions = probe.seen, plan.topology.partitions()
    windows = seen["windows"]
    stations = [
        Station(
            service,
            seen[f"cpu {service}"] / windows
            + costs.record_s[service] * passing(seen, service) / windows,
            partitions[topic],
        )
        for service, topic in INPUT_OF.items()
        if topic in partitions
    ]
    broker_s = costs.broker_record_s * _in_all(seen, "records") / windows
    alone_s = costs.round_trip_s + seen["cpu path"] / windows
    return Model(len(plan.topology.hosts), alone_s, stations, broker_s)


def passing(amounts: Amounts, service: ServiceKind) -> float:
    """Records that the processes of a service read and write."""
    opened = {kind: amounts[f"records {INPUT_OF[kind]}"] for kind in ("guest", "nested")}
    closed = amounts[f"records {FAULTS}"]
    if service == "host":
        return sum(opened.values()) + closed
    share = opened[service] / sum(opened.values())
    return opened[service] + share * (closed + amounts[f"records {JOURNAL_TOPIC}"])


def _size(total: Amounts, model: Model, processes: dict[ServiceKind, int], terms: Terms) -> Size:
    bound_by, windows_per_s = least(model.bounds(processes, terms.cores))
    runs_per_s = windows_per_s / total["windows"]
    written = runs_per_s * _in_all(total, "bytes")
    read = written - runs_per_s * total[f"bytes {JOURNAL_TOPIC}"]
    cores = {str(each.service): windows_per_s * each.cpu_s for each in model.stations}
    cores["broker"] = windows_per_s * model.broker_s * terms.copies
    return Size(
        processes=processes,
        bound_by=bound_by,
        windows_per_s=windows_per_s,
        faults_per_s=runs_per_s * total["faults"],
        records_per_s=runs_per_s * _in_all(total, "records"),
        bytes_per_s=written,
        network_bytes_per_s=written * (2 * terms.copies - 1) + read,
        cores=cores,
        cores_in_all=sum(cores.values()),
        takes_s=1 / runs_per_s,
    )


def thinned(sizes: Sequence[Size]) -> list[Size]:
    """As many as a person reads."""
    last = len(sizes) - 1
    return [
        size for at, size in enumerate(sizes) if at < FIRST_SIZES or at == last or not at & (at - 1)
    ]


def _services(
    plan: RunPlan, model: Model, most: dict[ServiceKind, int], costs: Costs
) -> list[ServiceNeed]:
    vms_bytes = memory_bytes(plan.scenario)
    return [
        ServiceNeed(
            service=station.service,
            partitions=station.partitions,
            processes_max=most[station.service],
            cpu_ms_per_window=1000 * station.cpu_s,
            base_bytes=costs.base_bytes,
            state_bytes=costs.state[station.service] * vms_bytes,
        )
        for station in model.stations
    ]
