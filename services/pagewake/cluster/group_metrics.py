"""The metrics of VM groups: all VMs that one `[[vm]]` table of a scenario stands for.

Read at each scrape from the state of shards, so they cost a run nothing until somebody asks.
Labels are bounded by the scenario: a thousand VMs of one table are one group.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from pagewake.cluster.standing import stands_still
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.participants.participant import Participant
from pagewake.scenario.model import group_of

PREFIX = "pagewake_group_"
LABELS = ["run", "source", "group"]
GAUGES = {
    "vms": "VMs of the group",
    "vcpus": "Vcpus of its VMs",
    "sleepers": "Tasks asleep in task_wait",
    "vcpus_still": "Vcpus that are halted for a page, or whose thread waits for one",
}


def group_families(participants: Iterable[Participant]) -> Iterator[Metric]:
    """Every family, of the shards owned here; what is resident hosts know, in `metrics`."""
    gauges = {
        name: GaugeMetricFamily(PREFIX + name, text, labels=LABELS) for name, text in GAUGES.items()
    }
    work = CounterMetricFamily(
        PREFIX + "work",
        "Increments made by work tasks; 1 ns each if not set",
        labels=LABELS,
    )
    for participant in participants:
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for kernel in participant.kernels:
            sums[group_of(kernel.vm.name)].update(_of_vm(kernel))
        for group, values in sums.items():
            labels = [participant.plan.run, participant.source, group]
            for name, gauge in gauges.items():
                gauge.add_metric(labels, values[name])
            work.add_metric(labels, values["work"])
    yield from (*gauges.values(), work)


def _of_vm(kernel: GuestKernel) -> dict[str, int]:
    return {
        "vms": 1,
        "vcpus": len(kernel.vm.vcpus),
        "sleepers": len(kernel.slept_at),
        "vcpus_still": stands_still(kernel),
        "work": sum(task.work for task in kernel.tasks),
    }
