"""The metrics of runs, read at each scrape from what this process owns (design, section 9).

Counters live in the participants' state, so they do not go back when ownership moves.  A run's
series are there only while this process owns a part of it that has caught up with the log; what
several owned parts count is summed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pagewake.cluster.participant import HostParticipant, Participant
from pagewake.cluster.tally import BUCKETS, Labels, Tally

PREFIX = "pagewake_"
COUNTERS = {
    "guest_task_waits": (["outcome"], "Outcomes of task_wait"),
    "guest_task_wakes": (["how"], "Tasks woken"),
    "guest_traps": (["reason"], "Traps taken by guest handlers, by the reason they read"),
    "kvm_halts": (["why"], "Vcpus halted"),
    "kvm_double_faults": ([], "Faults on a gfn in the vcpu's own gfn hash"),
    "kvm_injections": (["event"], "Events injected into guests"),
    "nested_exits": (["level", "exit", "route"], "Exits of nested guests, by where they went"),
    "nested_vmexits": (["reason"], "Exits synthesized into a guest hypervisor"),
    "page_not_present": (["delivery"], "Touches of absent pages, by what the guest was told"),
    "page_ready": (["delivery"], "Page-ins completed, by what the guest was told"),
}
GAUGES = {
    "guest_sleepers": "Tasks asleep in task_wait",
    "guest_dummies": "Dummies in the sleeper hashes",
}
HISTOGRAMS = {"guest_wait": ("guest_wait_sim_seconds", "How long woken tasks had slept")}


class Owned(NamedTuple):
    """A part of a run that this process answers for."""

    participant: Participant
    tally: Tally


class RunMetrics(Collector):
    """`owned` names what to export: owned, and caught up with the log."""

    def __init__(self, owned: Callable[[], Sequence[Owned]]) -> None:
        self._owned = owned

    def collect(self) -> Iterator[Metric]:
        """Every family, at this instant."""
        owned = list(self._owned())
        yield from _shard_families(owned)
        yield from _position_families(owned)
        hosts = [each.participant for each in owned]
        yield from _host_families([host for host in hosts if isinstance(host, HostParticipant)])


def _by_run(owned: Iterable[Owned]) -> dict[str, list[Owned]]:
    runs: dict[str, list[Owned]] = defaultdict(list)
    for each in owned:
        runs[each.participant.plan.run].append(each)
    return runs


def _shard_families(owned: Sequence[Owned]) -> Iterator[Metric]:
    counts: dict[str, dict[Labels, int]] = defaultdict(lambda: defaultdict(int))
    for each in owned:
        run = each.participant.plan.run
        for (metric, labels), count in each.tally.counts.items():
            counts[metric][run, *labels] += count
    for metric, (names, text) in COUNTERS.items():
        counter = CounterMetricFamily(PREFIX + metric, text, labels=["run", *names])
        for values, count in counts[metric].items():
            counter.add_metric(values, count)
        yield counter
    for metric, text in GAUGES.items():
        gauge = GaugeMetricFamily(PREFIX + metric, text, labels=["run"])
        for values, count in counts[metric].items():
            gauge.add_metric(values, count)
        yield gauge
    yield from _times(owned)


def _times(owned: Sequence[Owned]) -> Iterator[Metric]:
    for metric, (name, text) in HISTOGRAMS.items():
        family = HistogramMetricFamily(PREFIX + name, text, labels=["run"])
        for run, parts in _by_run(owned).items():
            tallies = [part.tally for part in parts if metric in part.tally.times]
            if tallies:
                columns = zip(*(tally.times[metric] for tally in tallies), strict=True)
                buckets = [sum(column) for column in columns]
                total_ns = sum(tally.sums[metric] for tally in tallies)
                family.add_metric([run], _cumulative(buckets), total_ns / 1e9)
        yield family


def _cumulative(buckets: Sequence[int]) -> list[tuple[str, float]]:
    """Powers of two of nanoseconds, from 1 us up, as Prometheus wants them: running totals."""
    found: list[tuple[str, float]] = []
    total = 0
    for bucket, count in enumerate(buckets):
        total += count
        if 10 <= bucket <= 36:
            found.append((repr(2**bucket / 1e9), total))
    return [*found, ("+Inf", total)]


def _position_families(owned: Sequence[Owned]) -> Iterator[Metric]:
    time = GaugeMetricFamily(
        PREFIX + "sim_time_seconds", "Simulated time reached", labels=["run", "source"]
    )
    windows = CounterMetricFamily(PREFIX + "windows", "Windows", labels=["run", "source"])
    duplicates = CounterMetricFamily(
        PREFIX + "duplicates_ignored", "Records that came again", labels=["run", "source"]
    )
    for each in owned:
        participant = each.participant
        labels = [participant.plan.run, participant.source]
        time.add_metric(labels, participant.at_ns / 1e9)
        windows.add_metric(labels, participant.window + 1)
        duplicates.add_metric(labels, participant.inbox.duplicates)
    yield from (time, windows, duplicates)


def _host_families(hosts: Sequence[HostParticipant]) -> Iterator[Metric]:
    labels = ["run", "medium"]
    page_ins = CounterMetricFamily(PREFIX + "host_page_ins", "Pages read from swap", labels=labels)
    evictions = CounterMetricFamily(PREFIX + "host_evictions", "Frames taken back", labels=labels)
    resident = GaugeMetricFamily(PREFIX + "host_resident_pages", "Pages in memory", labels=labels)
    took = HistogramMetricFamily(
        PREFIX + "host_page_in_sim_seconds", "From request to readiness", labels=labels
    )
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    times: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * BUCKETS)
    for host in hosts:
        summary: dict[str, Any] = host.sequencer.host.summary()
        key = (host.plan.run, str(summary["medium"]))
        values = (
            summary["page_ins"],
            summary["evictions"],
            sum(summary["resident"].values()),
            summary["page_in_ns_total"],
        )
        sums[key] = [a + b for a, b in zip(sums[key], values, strict=True)]
        for bucket, count in enumerate(summary["page_in_ns_log2"]):
            times[key][bucket] += count
    for key, (reads, evicted, pages, total_ns) in sums.items():
        page_ins.add_metric(key, reads)
        evictions.add_metric(key, evicted)
        resident.add_metric(key, pages)
        took.add_metric(key, _cumulative(times[key]), total_ns / 1e9)
    yield from (page_ins, evictions, resident, took)
