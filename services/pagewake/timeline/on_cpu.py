"""Which task a vcpu runs, as far as a log tells.

No event says that the guest's scheduler switched. But events name the task that they happened to,
and sleeps, wake-ups, moves and ends say which tasks a vcpu could have run in between: with one left
it was that one, and the same name at both ends of less than a tick means that nobody else ran, as a
switch that no event shows needs a tick. Where several remain, all of them are named. What is beyond
a log: that a task with timers of its own, as scripts and servers of requests have, slept or ran
unnoticed between two events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from pagewake.events import types as ev
from pagewake.scenario.model import Scenario, VmInstance

NS_PER_S = 1_000_000_000
NAMED_MAX = 3
"""So many names fit a slice; of more candidates only the number is told."""
_NAMING = (
    ev.PageNotPresent, ev.TrapTaken, ev.TaskSlept, ev.DummyConsumed, ev.TaskFinished,
    ev.SleeperFreed, ev.RequestDone,
)  # fmt: skip
"""Events whose `task` is what the vcpu was running."""

Slice: TypeAlias = Callable[[int, str, int, int], None]
"""Takes a vcpu, the name of a task, and from when until when it ran."""


class Placed(NamedTuple):
    """A task of a guest, and where it starts; `vcpu` None: on any, as it starts later."""

    name: str
    vcpu: int | None


class Guest(NamedTuple):
    """The tasks of a VM, and how far apart its timer ticks are; 0: it has none."""

    tasks: list[Placed]
    tick_ns: int


NOBODY = Guest([], 0)
"""A guest of whose tasks nothing is known: no slices."""


def guest_of(scenario: Scenario, instance: VmInstance) -> Guest:
    """The tasks as they are placed; none for a hypervisor, whose vcpus run whole guests."""
    spec = instance.spec
    if spec.nested:
        return NOBODY
    placed = [
        Placed(
            f"{task.name}-{number}",
            None if task.start_ns else number % spec.vcpus if task.vcpu is None else task.vcpu,
        )
        for task in spec.tasks
        for number in range(task.count)
    ]
    hz = scenario.kernel.hz
    return Guest(placed, NS_PER_S // hz if hz else 0)


class _Cpu:
    """A vcpu that runs since `since_ns`; None: it does not. `named`: by the event that began it.

    `pending` is the slice that the next one may turn out to continue.
    """

    __slots__ = ("fresh", "named", "pending", "runnable", "since_ns")

    def __init__(self, runnable: Iterable[str]) -> None:
        self.runnable = dict.fromkeys(runnable)
        self.since_ns: int | None = None
        self.named: str | None = None
        self.fresh = False  # the scheduler has just picked a task
        self.pending: tuple[str, int, int] | None = None


class OnCpu:
    """Follows the tasks of one VM; hands on who ran, as soon as it is sure to have ended."""

    def __init__(self, guest: Guest, out: Slice) -> None:
        self._guest = guest
        self._names = {one.name for one in guest.tasks}
        self._out = out
        self._cpus: dict[int, _Cpu] = {}

    def _cpu(self, vcpu: int) -> _Cpu:
        cpu = self._cpus.get(vcpu)
        if cpu is None:
            tasks = [one.name for one in self._guest.tasks if one.vcpu in {vcpu, None}]
            cpu = self._cpus[vcpu] = _Cpu(tasks)
        return cpu

    def runs(self, vcpu: int, at_ns: int) -> None:
        """The vcpu executes its guest from now on."""
        cpu = self._cpu(vcpu)
        cpu.since_ns, cpu.named, cpu.fresh = at_ns, None, True

    def stops(self, vcpu: int, at_ns: int) -> None:
        """It executes nothing from now on."""
        cpu = self._cpu(vcpu)
        self._cut(vcpu, cpu, at_ns, None)
        cpu.since_ns = None
        self._flush(vcpu, cpu)

    def take(self, event: ev.Event) -> None:
        """An event that may say who runs, or who may."""
        if not self._guest.tasks:
            return
        if isinstance(event, _NAMING) and event.task is not None:
            self._named(event.vcpu, event.at_ns, event.task)
        if isinstance(event, ev.TaskSlept):
            if not event.halted:
                self._leave(event.vcpu, event.at_ns, event.task)
        elif isinstance(event, ev.RequestDone):
            self._begin(self._cpu(event.vcpu), event.at_ns, None, fresh=False)  # it may sleep now
        elif isinstance(event, ev.TaskFinished | ev.TaskKilled):
            self._leave(event.vcpu, event.at_ns, event.task)
        elif isinstance(event, ev.TaskWoken):
            self._join(event.vcpu, event.at_ns, event.task)
        elif isinstance(event, ev.TaskMoved):
            self._leave(event.vcpu, event.at_ns, event.task, gone=False)
            self._join(event.to, event.at_ns, event.task)

    def close(self) -> None:
        """Hand on what is left."""
        for vcpu, cpu in self._cpus.items():
            self._flush(vcpu, cpu)

    def so_far(self, until_ns: int) -> list[tuple[int, str, int, int]]:
        """Slices that were not handed on yet, the one that runs cut at `until_ns`."""
        found: list[tuple[int, str, int, int]] = []
        for vcpu, cpu in self._cpus.items():
            if cpu.pending is not None:
                found.append((vcpu, *cpu.pending))
            if cpu.since_ns is not None and cpu.since_ns < until_ns:
                name = self._who(cpu, until_ns - cpu.since_ns, None)
                if name is not None:
                    found.append((vcpu, name, cpu.since_ns, until_ns))
        return found

    # ------------------------------------------------------------------ stretches of one vcpu

    def _named(self, vcpu: int, at_ns: int, task: str) -> None:
        if task not in self._names:
            return  # the idle task, or a handler's
        for number, other in self._cpus.items():
            if number != vcpu:
                other.runnable.pop(task, None)
        cpu = self._cpu(vcpu)
        cpu.runnable[task] = None
        self._cut(vcpu, cpu, at_ns, task)
        self._begin(cpu, at_ns, task, fresh=False)

    def _leave(self, vcpu: int, at_ns: int, task: str, *, gone: bool = True) -> None:
        cpu = self._cpu(vcpu)
        self._cut(vcpu, cpu, at_ns, None)
        for each in self._cpus.values() if gone else (cpu,):
            each.runnable.pop(task, None)
        self._begin(cpu, at_ns, None, fresh=gone)

    def _join(self, vcpu: int, at_ns: int, task: str) -> None:
        cpu = self._cpu(vcpu)
        self._cut(vcpu, cpu, at_ns, None)
        cpu.runnable[task] = None
        self._begin(cpu, at_ns, None, fresh=False)

    def _begin(self, cpu: _Cpu, at_ns: int, named: str | None, *, fresh: bool) -> None:
        if cpu.since_ns is not None:
            cpu.since_ns = at_ns
        cpu.named, cpu.fresh = named, fresh

    def _cut(self, vcpu: int, cpu: _Cpu, at_ns: int, named: str | None) -> None:
        """The stretch that began at `since_ns` ends here, with this task if one is named."""
        since_ns = cpu.since_ns
        if since_ns is None or at_ns <= since_ns:
            return
        name = self._who(cpu, at_ns - since_ns, named)
        if name is None:
            return
        pending = cpu.pending
        if pending is not None and pending[0] == name and pending[2] == since_ns:
            cpu.pending = (name, pending[1], at_ns)
            return
        self._flush(vcpu, cpu)
        cpu.pending = (name, since_ns, at_ns)

    def _who(self, cpu: _Cpu, for_ns: int, named: str | None) -> str | None:
        if len(cpu.runnable) == 1:
            return next(iter(cpu.runnable))
        if not self._guest.tick_ns or for_ns < self._guest.tick_ns:
            if named is not None and (cpu.named == named or cpu.fresh):
                return named
            if named is None and cpu.named is not None:
                return cpu.named
        candidates = list(cpu.runnable)
        if len(candidates) > NAMED_MAX:
            return f"one of {len(candidates)} tasks"
        return " or ".join(candidates) or None

    def _flush(self, vcpu: int, cpu: _Cpu) -> None:
        if cpu.pending is not None:
            self._out(vcpu, *cpu.pending)
            cpu.pending = None
