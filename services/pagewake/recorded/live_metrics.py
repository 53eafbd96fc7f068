"""The metrics of a followed recording, by the names that those of a run have.

Its part of a run is called `recording` (label `source`).  A host's recording says nothing of what
its guests do, so those families are there only once an event of a guest has come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pagewake.cluster.metrics import PART, PREFIX, Read, page_in_times, read, tallied
from pagewake.cluster.shard_metrics import COUNTS, LEVELS, SPREADS, WINDOW_EVENTS
from pagewake.cluster.tally import BUCKETS
from pagewake.recorded.checkable import INVARIANTS
from pagewake.recorded.live import PAGE_INS, LiveRecording
from pagewake.recorded.placed import SpanWhy

SOURCE: Final = "recording"
MEDIUM: Final = "recorded"
"""What pages came from is not in a recording."""
_GUEST = "guest_"

OF_RECORDINGS: tuple[Read[LiveRecording], ...] = (
    Read("gauge", "sim_time_seconds", "Time reached", lambda live: live.reached_ns / 1e9),
    Read("gauge", "run_ended", "1 once it is over", lambda live: live.ended),
    Read("counter", "recording_lines", "Lines of events that are read", lambda live: live.lines),
    Read(
        "counter", "recording_passed_lines", "Lines of events that nobody reads",
        lambda live: live.passed,
    ),
    Read(
        "counter", "recording_lost_events", "Events dropped by the tracer, if it says how many",
        lambda live: live.lost_events,
    ),
)  # fmt: skip
OF_GROUPS: tuple[Read[tuple[int, int]], ...] = (
    Read("gauge", "group_vms", "VMs of the group", lambda _: 1),
    Read("gauge", "group_vcpus", "Vcpus of its VMs", lambda vm: vm[0]),
    Read("gauge", "group_vcpus_still", "Vcpus that are halted for a page", lambda vm: vm[1]),
)
OF_MEDIA: tuple[Read[LiveRecording], ...] = (
    Read(
        "counter", "host_page_ins", "Page-ins that the recording shows the end of",
        lambda live: sum(live.tally.buckets.get(PAGE_INS, ())),
    ),
    Read(
        "gauge", "host_swap_queue", "Asynchronous page-ins in flight",
        lambda live: live.in_flight,
    ),
)  # fmt: skip


class RecordingMetrics(Collector):
    """What a followed recording has come to, as the run that it is called."""

    def __init__(self, live: LiveRecording, run: str) -> None:
        self._live = live
        self._part = (run, SOURCE)

    def collect(self) -> Iterator[Metric]:
        """Every family, at this instant."""
        live, part = self._live, self._part
        guest = any(name.startswith(_GUEST) for name, _ in live.tally.counts)
        yield from tallied(
            [(part, live.tally)],
            [each for each in COUNTS if guest or not each.name.startswith(_GUEST)],
            [each for each in LEVELS if guest or not each.name.startswith(_GUEST)],
            [each for each in SPREADS if guest and each is not WINDOW_EVENTS],
        )
        yield from read(OF_RECORDINGS, [(part, live)])
        yield from _counted(part, live)
        yield from read(OF_MEDIA, [((*part, MEDIUM), live)], "medium")
        buckets = live.tally.buckets.get(PAGE_INS, [0] * BUCKETS)
        yield page_in_times([((*part, MEDIUM), buckets, live.tally.sums.get(PAGE_INS, 0))])
        still = live.still()
        groups = [((*part, vm), (vcpus, still[vm])) for vm, vcpus in live.vcpus().items()]
        yield from read(OF_GROUPS, groups, "group")


def _counted(part: tuple[str, str], live: LiveRecording) -> Iterator[Metric]:
    for name, text, label, counts, known in (
        ("spans", "Stretches of which something is unknown", "why", live.spans, get_args(SpanWhy)),
        ("violations", "Lines that break a rule", "rule", live.breaches, INVARIANTS),
    ):
        family = CounterMetricFamily(f"{PREFIX}recording_{name}", text, labels=[*PART, label])
        for value, count in (dict.fromkeys(known, 0) | counts).items():
            family.add_metric([*part, value], count)
        yield family
