"""The metrics of runs, read at each scrape from what this process owns (design, "Metrics").

Counters live in the participants' state, so they do not go back when ownership moves.  A part's
series are there only while this process owns it and has caught up with the log.  Each part has
series of its own, labelled `source`: of a run that several processes own, parts may move one by
one, and a sum over those of a process would go back and forth with them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pagewake.cluster.group_metrics import group_families
from pagewake.cluster.tally import (
    BUCKETS,
    BYTES_SENT,
    INTERVENTIONS,
    RECORDS_SENT,
    TRAPS,
    Labels,
    Tally,
)
from pagewake.events import types as ev
from pagewake.participants.participant import HostParticipant, Participant, ShardParticipant
from pagewake.scenario.model import group_of

PREFIX = "pagewake_"
PART = ["run", "source"]


class Counted(NamedTuple):
    """A counter; `known` label values are shown from the start, at zero."""

    labels: list[str]
    text: str
    known: tuple[str, ...] = ()


COUNTERS = {
    "guest_task_waits": Counted(
        ["outcome"], "Outcomes of task_wait", ("slept", "early_ready", "halted")
    ),
    "guest_task_wakes": Counted(["how"], "Tasks woken", get_args(ev.WakeHow)),
    "guest_traps": Counted(
        ["reason"], "Traps taken by guest handlers, by the reason they read", tuple(TRAPS.values())
    ),
    "kvm_halts": Counted(["why"], "Vcpus halted", get_args(ev.HaltWhy)),
    "kvm_double_faults": Counted([], "Faults on a gfn in the vcpu's own gfn hash"),
    "kvm_injections": Counted(["event"], "Events injected into guests", get_args(ev.ApfKind)),
    "nested_exits": Counted(
        ["level", "exit", "route"], "Exits of nested guests, by where they went"
    ),
    "nested_vmexits": Counted(
        ["reason"], "Exits synthesized into a guest hypervisor", get_args(ev.VmexitReason)
    ),
    "page_not_present": Counted(
        ["delivery"], "Touches of absent pages, by what the guest was told", get_args(ev.Delivery)
    ),
    "page_synchronous": Counted(
        ["why"], "Synchronous touches of absent pages, by why they were", get_args(ev.SyncWhy)
    ),
    "page_ready": Counted(
        ["delivery"],
        "Page-ins completed, by what the guest was told",
        (*get_args(ev.ReadyDelivery), "synchronous"),
    ),
    "interventions": Counted(
        ["do"], "Events of the scenario and of commands, by VM", tuple(INTERVENTIONS.values())
    ),
}
GAUGES = {
    "guest_sleepers": "Tasks asleep in task_wait",
    "guest_dummies": "Dummies in the sleeper hashes",
}


class Spread(NamedTuple):
    """A histogram over buckets by powers of two: what one unit is, and the bounds shown."""

    name: str
    text: str
    unit: float
    bounds: range


TIMES = range(10, 37)  # 1 us to 69 s
HISTOGRAMS = {
    "guest_wait": Spread("guest_wait_sim_seconds", "How long woken tasks had slept", 1e-9, TIMES),
    "window_events": Spread("window_events", "Domain events of a shard's window", 1, range(21)),
}


class Owned(NamedTuple):
    """A part of a run that this process answers for; `replayed_ns` since its last takeover."""

    participant: Participant
    tally: Tally
    replayed_ns: int = 0


class RunMetrics(Collector):
    """`owned` names what to export: owned, and caught up with the log."""

    def __init__(self, owned: Callable[[], Sequence[Owned]]) -> None:
        self._owned = owned

    def collect(self) -> Iterator[Metric]:
        """Every family, at this instant."""
        owned = list(self._owned())
        yield from _shard_families(owned)
        yield from _part_families(owned)
        participants = [each.participant for each in owned]
        yield from group_families(p for p in participants if isinstance(p, ShardParticipant))
        yield from _host_families([p for p in participants if isinstance(p, HostParticipant)])


def _part(each: Owned) -> list[str]:
    return [each.participant.plan.run, each.participant.source]


def _shard_families(owned: Sequence[Owned]) -> Iterator[Metric]:
    shards = [each for each in owned if isinstance(each.participant, ShardParticipant)]
    found = [(_part(each), _counts(each.tally)) for each in shards]
    for metric, counted in COUNTERS.items():
        counter = CounterMetricFamily(
            PREFIX + metric, counted.text, labels=[*PART, *counted.labels]
        )
        for part, counts in found:
            for values, count in counts[metric].items():
                counter.add_metric([*part, *values], count)
        yield counter
    for metric, text in GAUGES.items():
        gauge = GaugeMetricFamily(PREFIX + metric, text, labels=PART)
        for part, counts in found:
            gauge.add_metric(part, counts[metric][()])
        yield gauge
    yield from _spreads(shards)


def _counts(tally: Tally) -> dict[str, dict[Labels, int]]:
    """By metric, known label values at zero."""
    counts: dict[str, dict[Labels, int]] = defaultdict(lambda: defaultdict(int))
    for metric, counted in COUNTERS.items():
        for label in counted.known:
            counts[metric][label,] = 0
        if not counted.labels:
            counts[metric][()] = 0
    for (metric, labels), count in tally.counts.items():
        counts[metric][labels] += count
    return counts


def _spreads(owned: Sequence[Owned]) -> Iterator[Metric]:
    for metric, spread in HISTOGRAMS.items():
        family = HistogramMetricFamily(PREFIX + spread.name, spread.text, labels=PART)
        for each in owned:
            buckets = each.tally.buckets.get(metric, [0] * BUCKETS)
            total = each.tally.sums.get(metric, 0) * spread.unit
            family.add_metric(_part(each), _cumulative(buckets, spread.unit, spread.bounds), total)
        yield family


def _cumulative(
    buckets: Sequence[int], unit: float = 1e-9, bounds: range = TIMES
) -> list[tuple[str, float]]:
    """Running totals below powers of two, as Prometheus wants them."""
    found: list[tuple[str, float]] = []
    total = 0
    for bucket, count in enumerate(buckets):
        total += count
        if bucket in bounds:
            found.append((repr(float(2**bucket * unit)), total))
    return [*found, ("+Inf", total)]


def _part_families(owned: Sequence[Owned]) -> Iterator[Metric]:
    """How far each part is, and what it wrote."""
    time = GaugeMetricFamily(PREFIX + "sim_time_seconds", "Simulated time reached", labels=PART)
    replayed = GaugeMetricFamily(
        PREFIX + "replay_sim_seconds",
        "Simulated time executed again by the last takeover",
        labels=PART,
    )
    duplicates = CounterMetricFamily(
        PREFIX + "duplicates_ignored", "Records that came again", labels=PART
    )
    records = CounterMetricFamily(
        PREFIX + "run_records", "Records that the part wrote, snapshots aside", labels=PART
    )
    size = CounterMetricFamily(
        PREFIX + "run_bytes", "Bytes that the part wrote to Kafka, snapshots aside", labels=PART
    )
    for each in owned:
        part, counts = _part(each), each.tally.counts
        time.add_metric(part, each.participant.at_ns / 1e9)
        replayed.add_metric(part, each.replayed_ns / 1e9)
        duplicates.add_metric(part, each.participant.inbox.duplicates)
        records.add_metric(part, counts.get((RECORDS_SENT, ()), 0))
        size.add_metric(part, counts.get((BYTES_SENT, ()), 0))
    yield from (time, replayed, duplicates, records, size)


def _host_families(hosts: Sequence[HostParticipant]) -> Iterator[Metric]:
    """Of simulated hosts: how their run stands, and their memory."""
    duration = GaugeMetricFamily(
        PREFIX + "run_duration_sim_seconds", "Simulated time to be reached", labels=PART
    )
    paused = GaugeMetricFamily(PREFIX + "run_paused", "1 while a person holds it", labels=PART)
    ended = GaugeMetricFamily(PREFIX + "run_ended", "1 once its last window is closed", labels=PART)
    windows = CounterMetricFamily(PREFIX + "windows", "Windows opened by hosts", labels=PART)
    labels = [*PART, "medium"]
    page_ins = CounterMetricFamily(PREFIX + "host_page_ins", "Pages read from swap", labels=labels)
    evictions = CounterMetricFamily(PREFIX + "host_evictions", "Frames taken back", labels=labels)
    resident = GaugeMetricFamily(PREFIX + "host_resident_pages", "Pages in memory", labels=labels)
    of_groups = GaugeMetricFamily(
        PREFIX + "group_resident_pages", "Pages in memory", labels=[*PART, "group"]
    )
    queue = GaugeMetricFamily(
        PREFIX + "host_swap_queue", "Requests that the device has not completed", labels=labels
    )
    took = HistogramMetricFamily(
        PREFIX + "host_page_in_sim_seconds", "From request to readiness", labels=labels
    )
    for host in hosts:
        part = [host.plan.run, host.source]
        duration.add_metric(part, host.plan.scenario.duration_ns / 1e9)
        paused.add_metric(part, host.paused)
        ended.add_metric(part, host.ended)
        windows.add_metric(part, host.window + 1)
        memory = host.sequencer.host
        summary, read_in = memory.summary(), memory.page_ins()
        key = [*part, summary.medium]
        page_ins.add_metric(key, read_in.reads)
        evictions.add_metric(key, summary.evictions)
        resident.add_metric(key, sum(summary.resident.values()))
        groups = Counter[str]()
        for vm, pages in summary.resident.items():
            groups[group_of(vm)] += pages
        for group, pages in groups.items():
            of_groups.add_metric([*part, group], pages)
        queue.add_metric(key, memory.swap_queue(host.at_ns))
        took.add_metric(key, _cumulative(read_in.ns_log2), read_in.ns_total / 1e9)
    yield from (duration, paused, ended, windows)
    yield from (page_ins, evictions, resident, of_groups, queue, took)
