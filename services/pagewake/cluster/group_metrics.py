"""The metrics of VM groups: all VMs that one `[[vm]]` table of a scenario stands for.

Read at each scrape from the state of shards and hosts, so they cost a run nothing until somebody
asks.  Labels are bounded by the scenario: a thousand VMs of one table are one group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from pagewake.cluster.participant import HostParticipant, Participant, ShardParticipant
from pagewake.cluster.standing import stands_still
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.scenario.model import group_of

PREFIX = "pagewake_group_"
GAUGES = {
    "vms": "VMs of the group",
    "vcpus": "Vcpus of its VMs",
    "sleepers": "Tasks asleep in task_wait",
    "vcpus_still": "Vcpus that stand still for a page or a migration",
}

Key: TypeAlias = tuple[str, str]
"""Run and group."""


def group_families(participants: Iterable[Participant]) -> Iterator[Metric]:
    """Every family, of the participants owned here."""
    gauges: dict[str, Counter[Key]] = {name: Counter() for name in GAUGES}
    work: Counter[Key] = Counter()
    resident: Counter[Key] = Counter()
    for participant in participants:
        run = participant.plan.run
        if isinstance(participant, ShardParticipant):
            for kernel in participant.follower.shard.kernels:
                key = run, group_of(kernel.vm.name)
                for name, value in _of_vm(kernel).items():
                    gauges[name][key] += value
                work[key] += sum(task.work for task in kernel.tasks)
        elif isinstance(participant, HostParticipant):
            summary: dict[str, Any] = participant.sequencer.host.summary()
            for vm, pages in summary["resident"].items():
                resident[run, group_of(vm)] += pages
    for name, text in GAUGES.items():
        yield _filled(GaugeMetricFamily(PREFIX + name, text, labels=["run", "group"]), gauges[name])
    yield _filled(
        CounterMetricFamily(PREFIX + "work", "Increments of work tasks", labels=["run", "group"]),
        work,
    )
    yield _filled(
        GaugeMetricFamily(PREFIX + "resident_pages", "Pages in memory", labels=["run", "group"]),
        resident,
    )


def _of_vm(kernel: GuestKernel) -> dict[str, int]:
    return {
        "vms": 1,
        "vcpus": len(kernel.vm.vcpus),
        "sleepers": len(kernel.slept_at),
        "vcpus_still": stands_still(kernel),
    }


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Counter[Key]
) -> GaugeMetricFamily | CounterMetricFamily:
    for key, value in values.items():
        family.add_metric(key, value)
    return family
