"""The metrics of runs, read at each scrape from what this process owns (design, section 9).

Counters live in the participants' state, so they do not go back when ownership moves.  A run's
series are there only while this process owns a part of it that has caught up with the log; what
several owned parts count is summed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pagewake.cluster.group_metrics import group_families
from pagewake.cluster.participant import HostParticipant, Participant, ShardParticipant
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

PREFIX = "pagewake_"
SYNCHRONOUS = (
    *("off", "gup", "medium", "first_touch", "irqchip", "reinjection", "guest_mode"),
    *("interrupts_off", "limit", "no_memory"),
)
HALTS = ("apf_off", "kernel_mode", "double_fault", "stale", "hlt", "offline")


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
    "kvm_halts": Counted(["why"], "Vcpus halted", HALTS),
    "kvm_double_faults": Counted([], "Faults on a gfn in the vcpu's own gfn hash"),
    "kvm_injections": Counted(["event"], "Events injected into guests", get_args(ev.ApfKind)),
    "nested_exits": Counted(
        ["level", "exit", "route"], "Exits of nested guests, by where they went"
    ),
    "nested_vmexits": Counted(
        ["reason"], "Exits synthesized into a guest hypervisor", ("apf", "intercept", "error")
    ),
    "page_not_present": Counted(
        ["delivery"], "Touches of absent pages, by what the guest was told", get_args(ev.Delivery)
    ),
    "page_synchronous": Counted(
        ["why"], "Synchronous ones of these, by why they could not be asynchronous", SYNCHRONOUS
    ),
    "page_ready": Counted(
        ["delivery"], "Page-ins completed, by what the guest was told", get_args(ev.ReadyDelivery)
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
        yield from _position_families(owned)
        yield from _run_families(owned)
        yield from group_families(each.participant for each in owned)
        hosts = [each.participant for each in owned]
        yield from _host_families([host for host in hosts if isinstance(host, HostParticipant)])


def _by_run(owned: Iterable[Owned]) -> dict[str, list[Owned]]:
    runs: dict[str, list[Owned]] = defaultdict(list)
    for each in owned:
        runs[each.participant.plan.run].append(each)
    return runs


def _shard_families(owned: Sequence[Owned]) -> Iterator[Metric]:
    counts: dict[str, dict[Labels, int]] = defaultdict(lambda: defaultdict(int))
    shards = [each for each in owned if isinstance(each.participant, ShardParticipant)]
    for run in _by_run(shards):
        for metric, counted in COUNTERS.items():
            for label in counted.known:
                counts[metric][run, label] = 0
            if not counted.labels:
                counts[metric][run,] = 0
        for metric in GAUGES:
            counts[metric][run,] = 0
    for each in shards:
        run = each.participant.plan.run
        for (metric, labels), count in each.tally.counts.items():
            counts[metric][run, *labels] += count
    for metric, counted in COUNTERS.items():
        counter = CounterMetricFamily(
            PREFIX + metric, counted.text, labels=["run", *counted.labels]
        )
        for values, count in counts[metric].items():
            counter.add_metric(values, count)
        yield counter
    for metric, text in GAUGES.items():
        gauge = GaugeMetricFamily(PREFIX + metric, text, labels=["run"])
        for values, count in counts[metric].items():
            gauge.add_metric(values, count)
        yield gauge
    yield from _spreads(shards)


def _spreads(owned: Sequence[Owned]) -> Iterator[Metric]:
    for metric, spread in HISTOGRAMS.items():
        family = HistogramMetricFamily(PREFIX + spread.name, spread.text, labels=["run"])
        for run, parts in _by_run(owned).items():
            found = [part.tally.buckets.get(metric, [0] * BUCKETS) for part in parts]
            buckets = [sum(column) for column in zip(*found, strict=True)]
            total = sum(part.tally.sums.get(metric, 0) for part in parts) * spread.unit
            family.add_metric([run], _cumulative(buckets, spread.unit, spread.bounds), total)
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


def _position_families(owned: Sequence[Owned]) -> Iterator[Metric]:
    time = GaugeMetricFamily(
        PREFIX + "sim_time_seconds", "Simulated time reached", labels=["run", "source"]
    )
    replayed = GaugeMetricFamily(
        PREFIX + "replay_sim_seconds",
        "Simulated time executed again by the last takeover",
        labels=["run", "source"],
    )
    duplicates = CounterMetricFamily(
        PREFIX + "duplicates_ignored", "Records that came again", labels=["run", "source"]
    )
    for each in owned:
        participant = each.participant
        labels = [participant.plan.run, participant.source]
        time.add_metric(labels, participant.at_ns / 1e9)
        replayed.add_metric(labels, each.replayed_ns / 1e9)
        duplicates.add_metric(labels, participant.inbox.duplicates)
    yield from (time, replayed, duplicates)


def _run_families(owned: Sequence[Owned]) -> Iterator[Metric]:
    """What a run is to be, how it stands, and what its parts wrote."""
    duration = GaugeMetricFamily(
        PREFIX + "run_duration_sim_seconds", "Simulated time to be reached", labels=["run"]
    )
    paused = GaugeMetricFamily(
        PREFIX + "run_paused", "1 while a person holds a host of the run", labels=["run"]
    )
    ended = GaugeMetricFamily(
        PREFIX + "run_ended", "1 once its hosts have closed their last window", labels=["run"]
    )
    records = CounterMetricFamily(
        PREFIX + "run_records", "Records written by the run's parts", labels=["run"]
    )
    size = CounterMetricFamily(PREFIX + "run_bytes", "Bytes of these records", labels=["run"])
    for run, parts in _by_run(owned).items():
        hosts = [
            each.participant for each in parts if isinstance(each.participant, HostParticipant)
        ]
        if hosts:
            duration.add_metric([run], hosts[0].plan.scenario.duration_ns / 1e9)
            paused.add_metric([run], any(host.paused for host in hosts))
            ended.add_metric([run], all(host.ended for host in hosts))
        for family, key in ((records, RECORDS_SENT), (size, BYTES_SENT)):
            family.add_metric([run], sum(part.tally.counts.get((key, ()), 0) for part in parts))
    yield from (duration, paused, ended, records, size)


def _host_families(hosts: Sequence[HostParticipant]) -> Iterator[Metric]:
    labels = ["run", "medium"]
    page_ins = CounterMetricFamily(PREFIX + "host_page_ins", "Pages read from swap", labels=labels)
    evictions = CounterMetricFamily(PREFIX + "host_evictions", "Frames taken back", labels=labels)
    resident = GaugeMetricFamily(PREFIX + "host_resident_pages", "Pages in memory", labels=labels)
    queue = GaugeMetricFamily(
        PREFIX + "host_swap_queue", "Requests that the device has not completed", labels=labels
    )
    windows = CounterMetricFamily(PREFIX + "windows", "Windows opened by hosts", labels=["run"])
    opened: dict[str, int] = defaultdict(int)
    took = HistogramMetricFamily(
        PREFIX + "host_page_in_sim_seconds", "From request to readiness", labels=labels
    )
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    times: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * BUCKETS)
    for host in hosts:
        summary: dict[str, Any] = host.sequencer.host.summary()
        key = (host.plan.run, str(summary["medium"]))
        values = (
            host.sequencer.host.page_ins(),
            summary["evictions"],
            sum(summary["resident"].values()),
            host.sequencer.host.swap_queue(host.at_ns),
            summary["page_in_ns_total"],
        )
        opened[host.plan.run] += host.window + 1
        sums[key] = [a + b for a, b in zip(sums[key], values, strict=True)]
        for bucket, count in enumerate(summary["page_in_ns_log2"]):
            times[key][bucket] += count
    for key, (reads, evicted, pages, queued, total_ns) in sums.items():
        page_ins.add_metric(key, reads)
        evictions.add_metric(key, evicted)
        resident.add_metric(key, pages)
        queue.add_metric(key, queued)
        took.add_metric(key, _cumulative(times[key]), total_ns / 1e9)
    for run, count in opened.items():
        windows.add_metric([run], count)
    yield from (page_ins, evictions, resident, queue, took, windows)
