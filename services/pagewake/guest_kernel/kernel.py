"""The kernel of one guest: its CPUs, its tasks, its sleeper hash, and balancing between CPUs.

Implements `kvm.ports.GuestPort`.  The sleeper hash is one per VM and shared by all CPUs, as in the
kernel; run queues are one per CPU (design, "Who owns which state").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mypy_extensions import mypyc_attr

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.guest_kernel import new_kernel
from pagewake.guest_kernel.apf_area import ApfArea, area_gpa
from pagewake.guest_kernel.config import KernelCosts, SchedulerConfig
from pagewake.guest_kernel.hotplug import WriteMsr
from pagewake.guest_kernel.overlays import BOOT
from pagewake.guest_kernel.requests import Requests
from pagewake.guest_kernel.sleepers import Sleepers
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.vcpu import GuestCpu
from pagewake.kvm.gfn_hash import NEW_MULTIPLIER, OLD_MULTIPLIER
from pagewake.kvm.machine import Machine
from pagewake.kvm.ports import IRQ_RESCHED, OP_GUEST_LATER, GuestPort, Step
from pagewake.kvm.profile import Switches
from pagewake.simtime.state import Saved

EXIT_INTR: Final = 0x060


@mypyc_attr(allow_interpreted_subclasses=True)
class InnerGuestsPort(Saved, ABC):
    """The hypervisor side of a guest whose tasks include vcpu threads (`nested_svm`)."""

    __slots__ = ()

    @abstractmethod
    def inner_tasks(self) -> list[Task]: ...

    @abstractmethod
    def run(self, cpu: GuestCpu, at_ns: int, task: Task) -> Step: ...

    @abstractmethod
    def latch(self, cpu: GuestCpu, at_ns: int) -> Step: ...

    @abstractmethod
    def end_latched(self) -> None: ...

    @abstractmethod
    def interrupt(self, cpu: GuestCpu, at_ns: int, code: int = EXIT_INTR) -> Step: ...

    @abstractmethod
    def event(self, cpu: GuestCpu, at_ns: int, task: Task) -> Step: ...

    @abstractmethod
    def cr3(self, cpu: GuestCpu) -> str: ...

    @abstractmethod
    def exception(
        self, cpu: GuestCpu, at_ns: int, token: Token, kind: ev.ApfKind, level: int
    ) -> Step: ...

    @abstractmethod
    def mapped(self, gfn: Gfn) -> None: ...

    @abstractmethod
    def unmapped(self, gfns: Sequence[int]) -> None: ...

    @abstractmethod
    def control(self, event: ev.Control) -> bool: ...

    @abstractmethod
    def tokens_taken(self) -> Iterator[int]: ...


class Halting(NamedTuple):
    """A CPU that waits in sti;hlt because what runs on it is no task: its idle loop, or an NMI."""

    name: str
    cpu: int
    in_nmi: bool


Waiter = Task | Halting
"""Who may stand in the sleeper hash; by name, as events have it."""


@mypyc_attr(allow_interpreted_subclasses=True)
class GuestKernel(GuestPort):
    """See the module."""

    __slots__ = (
        "alloc_failures",
        "areas",
        "costs",
        "cpus",
        "inner",
        "place",
        "scheduler",
        "sleepers",
        "slept_at",
        "switches",
        "tasks",
        "unfinished",
        "vm",
        "waiters",
    )

    def __init__(
        self, vm: Machine, switches: Switches, costs: KernelCosts, scheduler: SchedulerConfig
    ) -> None:
        multiplier = OLD_MULTIPLIER if switches.hash_multiplier == "old" else NEW_MULTIPLIER
        self.vm = vm
        self.switches = switches
        self.costs = costs
        self.scheduler = scheduler
        self.sleepers: Sleepers[str] = Sleepers(multiplier)
        self.alloc_failures = 0
        self.slept_at: dict[str, tuple[int, int]] = {}
        self.tasks: list[Task] = []
        self.waiters: dict[str, Waiter] = {}
        self.unfinished = 0
        self.inner: InnerGuestsPort | None = None
        self.place = 0
        self.areas = {area_gpa(thread.id): ApfArea() for thread in vm.vcpus}
        self.cpus = [GuestCpu(self, thread) for thread in vm.vcpus]
        vm.guest = self
        for thread, cpu in zip(vm.vcpus, self.cpus, strict=True):
            thread.guest = cpu

    # ------------------------------------------------------------------ start

    def start(self, tasks: list[Task]) -> None:
        """Time 0: every CPU boots; tasks are runnable at once or from their start time on."""
        self.tasks = tasks
        self.waiters = {waiter.name: waiter for waiter in self._waiters(tasks)}
        self.unfinished = sum(1 for task in self.all_tasks() if task.inner is None)
        for task in tasks:
            if task.start_ns:
                self.vm.push(task.start_ns, task.cpu, -1, OP_GUEST_LATER, task.index)
            else:  # as if they had always run: nobody starts with a debit
                self.cpus[task.cpu].rq.waiting.append(task)
        for cpu in self.cpus:
            cpu.overlay(0, self.costs.irq_ns, BOOT)
            cpu.thread.power_on()

    def _waiters(self, tasks: list[Task]) -> Iterator[Waiter]:
        yield from tasks
        for cpu in self.cpus:
            yield Halting(cpu.idle_name, cpu.id, in_nmi=False)
            yield Halting(cpu.nmi_name, cpu.id, in_nmi=True)

    # ------------------------------------------------------------------ tasks

    def all_tasks(self) -> list[Task]:
        """The guest's own tasks and those of the guests inside it."""
        return self.tasks + (self.inner.inner_tasks() if self.inner is not None else [])

    def queues(self) -> list[Requests]:
        """The queues of requests that its tasks serve."""
        by_name = {task.requests.name: task.requests for task in self.tasks if task.requests}
        return list(by_name.values())

    def finished(self, at_ns: int) -> bool:
        """One task less; True if the VM froze with it."""
        self.unfinished -= 1
        if self.unfinished == 0:
            self.vm.freeze(at_ns)
            return True
        return False

    def later(self, vcpu: int, at_ns: int, arg: int) -> None:
        """A task's own timer, or its start."""
        task = self.tasks[arg]
        if task.state == "new":
            cpu = self._home(task)
            task.cpu = cpu.id
            cpu.rq.update(at_ns)
            cpu.rq.enqueue_new(task)
            self._resched(at_ns, cpu, task, None)
        elif task.state == "sleeping":
            self.wake_up(at_ns, task, None)

    def wake_up(self, at_ns: int, task: Task, waker: GuestCpu | None) -> None:
        """try_to_wake_up: on its last CPU, or on an idle one; preempt if it is due."""
        task.state = "runnable"
        cpu = self._home(task)
        if cpu.id != task.cpu:
            self._moved(at_ns, task, cpu, "wake")
        source = self.cpus[task.cpu].rq
        task.cpu = cpu.id
        cpu.rq.update(at_ns)
        if source is not cpu.rq:
            task.vruntime += cpu.rq.min_vruntime - source.min_vruntime
        cpu.rq.enqueue_woken(task)
        self._resched(at_ns, cpu, task, waker)

    def _home(self, task: Task) -> GuestCpu:
        last = self.cpus[task.cpu]
        if task.pinned and last.online:
            return last
        if last.online and last.rq.load() == 0:
            return last
        for cpu in self.cpus:
            if cpu.online and cpu.rq.load() == 0:
                return cpu
        if last.online:
            return last
        return next(cpu for cpu in self.cpus if cpu.online)

    def _resched(self, at_ns: int, cpu: GuestCpu, task: Task, waker: GuestCpu | None) -> None:
        if not cpu.rq.wakeup_preempts(task):
            return
        cpu.need_resched = True
        if cpu is not waker:
            cpu.thread.interrupt(at_ns, IRQ_RESCHED)

    # ------------------------------------------------------------------ balancing

    def pull_task(self, at_ns: int, cpu: GuestCpu, why: ev.MoveWhy) -> None:
        """Idle or periodic balancing: take one waiting task from the CPU that has most."""
        busiest, load = None, cpu.rq.load() + 1
        for other in self.cpus:
            if other is not cpu and other.rq.waiting and other.rq.load() > load:
                busiest, load = other, other.rq.load()
        if busiest is None or not cpu.online:
            return
        task = next((t for t in reversed(busiest.rq.waiting) if not t.pinned), None)
        if task is None:
            return
        busiest.rq.waiting.remove(task)
        self._moved(at_ns, task, cpu, why)
        task.cpu = cpu.id
        cpu.rq.enqueue_moved(task, busiest.rq)

    def evacuate(self, at_ns: int, cpu: GuestCpu) -> None:
        """The CPU goes down: everything runnable on it moves, pinned tasks too."""
        cpu.rq.update(at_ns)
        cpu.rq.put_back()
        cpu.curr = None
        for task in cpu.rq.waiting:
            target = min(
                (other for other in self.cpus if other.online),
                key=lambda other: (other.rq.load(), other.id),
            )
            self._moved(at_ns, task, target, "offline")
            task.cpu = target.id
            target.rq.enqueue_moved(task, cpu.rq)
            self._resched(at_ns, target, task, None)
        cpu.rq.waiting = []

    def _moved(self, at_ns: int, task: Task, to: GuestCpu, why: ev.MoveWhy) -> None:
        self.cpus[task.cpu].thread.note(ev.TaskMoved, at_ns, task.name, to.id, why)

    # ------------------------------------------------------------------ APF bookkeeping

    def can_allocate(self) -> bool:
        """kmalloc(GFP_ATOMIC) for a dummy."""
        if self.alloc_failures == 0:
            return True
        if self.alloc_failures > 0:
            self.alloc_failures -= 1
        return False

    # ------------------------------------------------------------------ ports

    def mapped(self, gfn: Gfn) -> None:
        """L0 mapped a page: nested page tables may now reach it."""
        if self.inner is not None:
            self.inner.mapped(gfn)

    def unmapped(self, gfns: Sequence[int]) -> None:
        """L0 unmapped pages: what streams foresaw is void."""
        for task in self.tasks:
            if task.stream is not None:
                task.stream.unmapped(gfns)
        if self.inner is not None:
            self.inner.unmapped(gfns)

    def control(self, event: ev.Control) -> bool:
        """Control events for the guest's kernel."""
        if isinstance(event, ev.AllocationFails):
            self.alloc_failures = event.count
        elif isinstance(event, ev.VcpuOffline):
            if sum(cpu.online for cpu in self.cpus) > 1 and self.cpus[event.vcpu].online:
                self.cpus[event.vcpu].call(event.at_ns, "offline")
        elif isinstance(event, ev.VcpuOnline):
            cpu = self.cpus[event.vcpu]
            if cpu.stopping or "offline" in cpu.calls or not cpu.online:
                cpu.call(event.at_ns, "online")
        elif isinstance(event, ev.KernelReplaced):
            new_kernel.take_over(self, event)
        elif isinstance(event, ev.MsrWriteRequested):
            self.cpus[event.vcpu].call(event.at_ns, WriteMsr(event.msr, event.value))
        elif self.inner is not None:
            return self.inner.control(event)
        else:
            return False
        return True
