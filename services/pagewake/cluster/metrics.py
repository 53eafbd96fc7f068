"""The metrics of runs, read at each scrape from what this process owns (design, "Metrics").

Counters live in the participants' state, so they do not go back when ownership moves.  A part's
series are there only while this process owns it and has caught up with the log.  Each part has
series of its own, labelled `source`: of a run that several processes own, parts may move one by
one, and a sum over those of a process would go back and forth with them.

What a shard's events move stands in `shard_metrics.py`; the tables here are of what is read from
the parts themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pagewake.cluster.shard_metrics import (
    COUNTS,
    LEVELS,
    SPREADS,
    TIMES_NS,
    Count,
    Labels,
    Level,
    Spread,
)
from pagewake.cluster.standing import stands_still
from pagewake.cluster.tally import BUCKETS, BYTES_SENT, RECORDS_SENT, Tally
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.tasks import State
from pagewake.host_memory.counts import MemorySummary, PageIns
from pagewake.host_memory.manager import HostMemory
from pagewake.participants.participant import Participant
from pagewake.scenario.model import group_of

PREFIX = "pagewake_"
PART = ["run", "source"]


class Owned(NamedTuple):
    """A part of a run that this process answers for; `replayed_ns` since its last takeover."""

    participant: Participant
    tally: Tally
    replayed_ns: int = 0

    @property
    def labels(self) -> Labels:
        """Its series' first labels."""
        return self.participant.plan.run, self.participant.source


class HostView(NamedTuple):
    """A simulated host, and its sums, which are made once a scrape."""

    host: Participant
    memory: HostMemory
    summary: MemorySummary
    page_ins: PageIns


Group: TypeAlias = Sequence[GuestKernel]
"""All VMs that one `[[vm]]` table of a scenario stands for, as far as a shard has them."""

S = TypeVar("S")


class Read(NamedTuple, Generic[S]):
    """A metric that is read at a scrape, from what the table is of."""

    kind: Literal["counter", "gauge"]
    name: str
    text: str
    read: Callable[[S], float]


def _sum(of: Callable[[GuestKernel], int]) -> Callable[[Group], int]:
    return lambda group: sum(map(of, group))


def _in_state(state: State) -> Callable[[GuestKernel], int]:
    return lambda kernel: sum(task.state == state for task in kernel.all_tasks())


OF_PARTS: tuple[Read[Owned], ...] = (
    Read(
        "gauge", "sim_time_seconds", "Simulated time reached",
        lambda each: each.participant.at_ns / 1e9,
    ),
    Read(
        "gauge", "replay_sim_seconds", "Simulated time executed again by the last takeover",
        lambda each: each.replayed_ns / 1e9,
    ),
    Read(
        "counter", "duplicates_ignored", "Records that came again",
        lambda each: each.participant.inbox.duplicates,
    ),
    Read(
        "counter", "run_records", "Records that the part wrote, snapshots aside",
        lambda each: each.tally.counts.get((RECORDS_SENT, ()), 0),
    ),
    Read(
        "counter", "run_bytes", "Bytes that the part wrote to Kafka, snapshots aside",
        lambda each: each.tally.counts.get((BYTES_SENT, ()), 0),
    ),
)  # fmt: skip

OF_GROUPS: tuple[Read[Group], ...] = (
    Read("gauge", "group_vms", "VMs of the group", len),
    Read("gauge", "group_vcpus", "Vcpus of its VMs", _sum(lambda kernel: len(kernel.vm.vcpus))),
    Read(
        "gauge", "group_sleepers", "Tasks asleep in task_wait",
        _sum(lambda kernel: len(kernel.slept_at)),
    ),
    Read(
        "gauge", "group_vcpus_still",
        "Vcpus that are halted for a page, or whose thread waits for one", _sum(stands_still),
    ),
    Read(
        "counter", "group_work", "Increments made by work tasks; 1 ns each if not set",
        _sum(lambda kernel: sum(task.work for task in kernel.all_tasks())),
    ),
    Read(
        "counter", "group_touches", "Touches of memory by its tasks, up to their last exit",
        _sum(lambda kernel: sum(task.touches for task in kernel.all_tasks())),
    ),
    Read(
        "counter", "group_requests", "Requests that its tasks answered",
        _sum(lambda kernel: sum(task.requests_done for task in kernel.all_tasks())),
    ),
    Read("counter", "group_tasks_finished", "Tasks that are done", _sum(_in_state("finished"))),
    Read("counter", "group_tasks_killed", "Tasks killed by a token", _sum(_in_state("killed"))),
)  # fmt: skip

OF_HOSTS: tuple[Read[HostView], ...] = (
    Read(
        "gauge",
        "run_duration_sim_seconds",
        "Simulated time to be reached",
        lambda view: view.host.plan.scenario.duration_ns / 1e9,
    ),
    Read("gauge", "run_paused", "1 while a person holds it", lambda view: view.host.paused),
    Read("gauge", "run_ended", "1 once its last window is closed", lambda view: view.host.ended),
    Read("counter", "windows", "Windows opened by hosts", lambda view: view.host.window + 1),
)

OF_MEDIA: tuple[Read[HostView], ...] = (
    Read(
        "counter", "host_page_ins", "Pages read from swap",
        lambda view: view.page_ins.reads,
    ),
    Read(
        "counter", "host_evictions", "Frames taken back",
        lambda view: view.summary.evictions,
    ),
    Read(
        "gauge", "host_resident_pages", "Pages in memory",
        lambda view: sum(view.summary.resident.values()),
    ),
    Read(
        "gauge", "host_swap_queue", "Requests that the device has not completed",
        lambda view: view.memory.swap_queue(view.host.at_ns),
    ),
)  # fmt: skip
"""Of hosts too, by what they swap to."""

OF_RESIDENT: tuple[Read[int], ...] = (
    Read("gauge", "group_resident_pages", "Pages in memory", float),
)
"""Of the pages that a host knows of a group."""


class RunMetrics(Collector):
    """`owned` names what to export: owned, and caught up with the log."""

    def __init__(self, owned: Callable[[], Sequence[Owned]]) -> None:
        self._owned = owned

    def collect(self) -> Iterator[Metric]:
        """Every family, at this instant."""
        owned = list(self._owned())
        shards = [each for each in owned if not each.participant.opens_windows]
        yield from tallied([(each.labels, each.tally) for each in shards], COUNTS, LEVELS, SPREADS)
        yield from read(OF_PARTS, [(each.labels, each) for each in owned])
        yield from _of_groups(shards)
        yield from _of_hosts(owned)


Tallies: TypeAlias = Sequence[tuple[Labels, Tally]]
"""Parts by their labels, run and source."""


def tallied(
    parts: Tallies, counts: Iterable[Count], levels: Iterable[Level], spreads: Iterable[Spread]
) -> Iterator[Metric]:
    """What events moved; known label values from the start, at zero."""
    found = [(part, _by_metric(tally)) for part, tally in parts]
    for metric in counts:
        family = CounterMetricFamily(
            PREFIX + metric.name, metric.text, labels=[*PART, *metric.labels]
        )
        for part, moved in found:
            shown = dict.fromkeys(metric.known(), 0) | moved[metric.name]
            for labels, count in shown.items():
                family.add_metric([*part, *labels], count)
        yield family
    for level in levels:
        gauge = GaugeMetricFamily(PREFIX + level.name, level.text, labels=PART)
        for part, moved in found:
            gauge.add_metric(part, moved[level.name].get((), 0))
        yield gauge
    for spread in spreads:
        yield _spread(spread, parts)


def _by_metric(tally: Tally) -> dict[str, dict[Labels, int]]:
    counts: dict[str, dict[Labels, int]] = defaultdict(dict)
    for (metric, labels), count in tally.counts.items():
        counts[metric][labels] = count
    return counts


def _spread(spread: Spread, parts: Tallies) -> Metric:
    family = HistogramMetricFamily(PREFIX + spread.name, spread.text, labels=PART)
    for labels, tally in parts:
        buckets = tally.buckets.get(spread.name, [0] * BUCKETS)
        total = tally.sums.get(spread.name, 0) * spread.unit
        family.add_metric(labels, _cumulative(buckets, spread.unit, spread.shown), total)
    return family


def _cumulative(buckets: Sequence[int], unit: float, shown: range) -> list[tuple[str, float]]:
    """Running totals below powers of two, as Prometheus wants them."""
    found: list[tuple[str, float]] = []
    total = 0
    for bucket, count in enumerate(buckets):
        total += count
        if bucket in shown:
            found.append((repr(float(2**bucket * unit)), total))
    return [*found, ("+Inf", total)]


def read(
    table: Iterable[Read[S]], parts: Sequence[tuple[Labels, S]], label: str | None = None
) -> Iterator[Metric]:
    """One family per entry, with what it reads from each of the parts."""
    names = PART if label is None else [*PART, label]
    for metric in table:
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(PREFIX + metric.name, metric.text, labels=names)
        for labels, part in parts:
            family.add_metric(labels, metric.read(part))
        yield family


def _of_groups(shards: Sequence[Owned]) -> Iterator[Metric]:
    kernels: dict[Labels, list[GuestKernel]] = defaultdict(list)
    for each in shards:
        for kernel in each.participant.kernels:
            kernels[*each.labels, group_of(kernel.vm.name)].append(kernel)
    groups: list[tuple[Labels, Group]] = list(kernels.items())
    yield from read(OF_GROUPS, groups, "group")


def _of_hosts(owned: Sequence[Owned]) -> Iterator[Metric]:
    """Of simulated hosts: how their run stands, and their memory."""
    hosts = [
        (each.labels, HostView(host, memory, memory.summary(), memory.page_ins(host.at_ns)))
        for each in owned
        if (memory := (host := each.participant).memory) is not None
    ]
    resident = Counter[Labels]()
    for labels, view in hosts:
        for vm, pages in view.summary.resident.items():
            resident[*labels, group_of(vm)] += pages
    media = [((*labels, view.summary.medium), view) for labels, view in hosts]
    yield from read(OF_HOSTS, hosts)
    yield from read(OF_RESIDENT, list(resident.items()), "group")
    yield from read(OF_MEDIA, media, "medium")
    yield _page_in_times(media)


def _page_in_times(media: Sequence[tuple[Labels, HostView]]) -> Metric:
    return page_in_times(
        [(labels, view.page_ins.ns_log2, view.page_ins.ns_total) for labels, view in media]
    )


def page_in_times(media: Iterable[tuple[Labels, Sequence[int], int]]) -> Metric:
    """By run, source and medium: page-ins by the power of two of their ns, and the sum of them."""
    took = HistogramMetricFamily(
        PREFIX + "host_page_in_sim_seconds", "From request to readiness", labels=[*PART, "medium"]
    )
    for labels, ns_log2, ns_total in media:
        took.add_metric(labels, _cumulative(ns_log2, 1e-9, TIMES_NS), ns_total / 1e9)
    return took
