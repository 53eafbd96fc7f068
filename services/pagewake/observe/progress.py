"""How far the tasks of a run came, and what became of each VM: the result, taken apart.

Counted from events as they pass by, and from the shards' closing summaries.  The parts add up to
the figures of the whole run, name by name.  A log of version 0.1.0 has no account of tasks in its
summaries; then nothing of this is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, get_args

import msgspec

from pagewake.events.types import ClearWhy, Delivery, LostWhy, ShardSummary, SilentWhy
from pagewake.scenario.model import group_of


class TaskProgress(msgspec.Struct, frozen=True):
    """How far a task came, and when it ended, in simulated time; null if it did not.

    `passes` is null where a pattern has no order to go through, `work` null where a task counts no
    increments.  `ends`: it is one that finishes, given time.
    """

    touches: int
    passes: int | None
    requests: int
    work: int | None
    cpu_ns: int
    finished_ns: int | None
    killed_ns: int | None
    ends: bool


def _no_faults() -> dict[str, int]:
    return dict.fromkeys(get_args(Delivery), 0)


def _no_silence() -> dict[str, int]:
    return dict.fromkeys((*get_args(SilentWhy), *get_args(ClearWhy), *get_args(LostWhy)), 0)


def _no_waits() -> dict[str, int]:
    return {"slept": 0, "early_ready": 0, "halted": 0}


class Share(msgspec.Struct, kw_only=True):
    """A VM's part of a run, or the part of all VMs of a `[[vm]]` table.

    What has the name of a key of the whole run is its part of that.  `tasks` are how many it has,
    `finished` and `killed` how many of them ended so.  `blackout_ns`: its vcpu threads waited for a
    page or a frame themselves; `halted_ns`: they were halted for a page.  Both are part of `cpu`,
    vcpu time in ns by kind.
    """

    tasks: int = 0
    finished: int = 0
    killed: int = 0
    touches: int = 0
    requests: int = 0
    work: int = 0
    first_touches: int = 0
    page_ins: int = 0
    read_ahead: int = 0
    pushed: int = 0
    huge_touches: int = 0
    evictions: int = 0
    not_present: dict[str, int] = msgspec.field(default_factory=_no_faults)
    waits: dict[str, int] = msgspec.field(default_factory=_no_waits)
    silent: dict[str, int] = msgspec.field(default_factory=_no_silence)
    blackout_ns: int = 0
    halted_ns: int = 0
    cpu: dict[str, int] = {}

    def add(self, other: Share) -> None:
        """Count in what another counted."""
        for name in self.__struct_fields__:
            mine, more = getattr(self, name), getattr(other, name)
            if isinstance(mine, int):
                setattr(self, name, mine + more)
            else:
                keys = sorted({*mine, *more}) if name == "cpu" else mine
                setattr(self, name, {key: mine.get(key, 0) + more.get(key, 0) for key in keys})

    def count(self, task: TaskProgress) -> None:
        """Count in one of its tasks."""
        self.tasks += 1
        self.finished += task.finished_ns is not None
        self.killed += task.killed_ns is not None
        self.touches += task.touches
        self.requests += task.requests
        self.work += task.work or 0

    def spent(self, kind: str, for_ns: int) -> None:
        """Count in time of its vcpus."""
        self.cpu[kind] = for_ns
        if kind == "blackout":
            self.blackout_ns = for_ns
        elif kind == "halted":
            self.halted_ns = for_ns


class Endings(NamedTuple):
    """When tasks ended, by `vm/task-i`."""

    finished_ns: dict[str, int]
    killed_ns: dict[str, int]


class Parts(NamedTuple):
    """A result, taken apart: by task, by VM, by `[[vm]]` table, each in order of names."""

    progress: dict[str, TaskProgress]
    per_vm: dict[str, Share]
    per_group: dict[str, Share]


def by_kind(progress: Mapping[str, TaskProgress]) -> dict[str, list[TaskProgress]]:
    """Tasks of one name in the VMs of one `[[vm]]` table, as in `web/worker`."""
    kinds: defaultdict[str, list[TaskProgress]] = defaultdict(list)
    for name, task in progress.items():
        vm, _, instance = name.partition("/")
        kinds[f"{group_of(vm)}/{group_of(instance)}"].append(task)
    return dict(kinds)


def sum_of(shares: Iterable[Share]) -> Share:
    """Several VMs together."""
    total = Share()
    for share in shares:
        total.add(share)
    return total


def parts_of(
    counted: Mapping[str, Share], endings: Endings, closing: Sequence[ShardSummary]
) -> Parts | None:
    """The parts of a run; None if its summaries say nothing of tasks.

    `counted` is what events said of VMs.
    """
    if not any(summary.tasks for summary in closing):
        return None
    progress = _progress(endings, closing)
    vms: dict[str, Share] = defaultdict(Share)
    for name, share in counted.items():
        vms[name].add(share)
    for name, task in progress.items():
        vms[_vm_of(name)].count(task)
    for summary in closing:
        for name, spent_ns in sorted(summary.vm_cpu.items()):
            vms[_vm_of(name)].spent(name.partition("/")[2], spent_ns)
        for vm, touches in summary.vm_unreported.items():
            vms[vm].first_touches += touches
        for name, number in summary.vm_silent.items():
            vms[_vm_of(name)].silent[name.partition("/")[2]] += number
    per_vm = dict(sorted(vms.items()))
    per_group: dict[str, Share] = defaultdict(Share)
    for vm, share in per_vm.items():
        per_group[group_of(vm)].add(share)
    return Parts(progress, per_vm, dict(per_group))


def _progress(endings: Endings, closing: Sequence[ShardSummary]) -> dict[str, TaskProgress]:
    accounts = {name: task for summary in closing for name, task in summary.tasks.items()}
    return {
        name: TaskProgress(
            task.touches,
            task.passes,
            task.requests,
            task.work,
            task.cpu_ns,
            endings.finished_ns.get(name),
            endings.killed_ns.get(name),
            task.ends,
        )
        for name, task in sorted(accounts.items())
    }


def _vm_of(name: str) -> str:
    return name.partition("/")[0]
