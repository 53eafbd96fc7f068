"""A shard: some VMs of one simulated host, advanced together window by window.

Implements `simtime.ports.ShardDomain`.  Work per window is proportional to the VMs that have
something to do in it, never to the VMs there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.events.types import ShardSummary, TaskAccount, ToShard
from pagewake.guest_kernel import lookahead
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.unresolved import unresolved
from pagewake.kvm.host_cpus import HostCpus
from pagewake.kvm.host_work import Kswapd
from pagewake.kvm.modes import GUEST
from pagewake.simtime.ports import NEVER_NS, ShardOutput
from pagewake.simtime.state import Saved
from pagewake.simtime.window import HOST_ORDER

ENTRIES_PER_VM_MAX: Final = 8
"""In a heap of instants by VM, those included that were replaced: sorting anew costs little."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Shard(Saved):
    """The VMs of `kernels`, in name order; `cpus` are what their host has, None: as they want.

    `kswapd`: the thread that reclaims there, None: it takes no CPU, or there is none.
    """

    __slots__ = (
        "_bound",
        "_bounds",
        "_due",
        "_exact",
        "_index",
        "_ready",
        "_vms",
        "cpus",
        "frozen",
        "kernels",
        "until_ns",
    )

    def __init__(
        self,
        kernels: Sequence[GuestKernel],
        cpus: HostCpus | None = None,
        kswapd: Kswapd | None = None,
    ) -> None:
        self.kernels = sorted(kernels, key=lambda kernel: kernel.vm.name)
        self.cpus = cpus
        if cpus is not None:
            for kernel in self.kernels:
                kernel.vm.share(cpus, kswapd)
        self._index = {kernel.vm.name: i for i, kernel in enumerate(self.kernels)}
        self._due = [kernel.vm.agenda.next_ns for kernel in self.kernels]
        self._vms = len(self.kernels)
        self._ready = [at_ns * self._vms + i for i, at_ns in enumerate(self._due)]
        self._bound = [0] * len(self.kernels)
        self._bounds = list(range(self._vms))
        self._exact = [True] * len(self.kernels)
        self.frozen = 0
        self.until_ns = 0
        heapify(self._ready)

    def never_saved(self) -> None:
        """No snapshot will be taken: what only a snapshot needs is not kept."""
        for kernel in self.kernels:
            kernel.vm.digest.lines = None

    def advance(self, until_ns: int, deliveries: Sequence[ToShard]) -> ShardOutput:
        """Simulate everything before `until_ns`."""
        output = ShardOutput()
        self.until_ns = until_ns
        for delivery in deliveries:
            index = self._index[delivery.vm]
            self.kernels[index].vm.deliver(delivery)
            if delivery.at_ns < self._due[index]:
                self._due[index] = delivery.at_ns
                heappush(self._ready, delivery.at_ns * self._vms + index)
        if self.cpus is not None:
            self._advance_together(until_ns, self.cpus, output)
            return output
        ready, vms = self._ready, self._vms
        ran = 0
        while ready and ready[0] < until_ns * vms:
            entry = heappop(ready)
            index = entry % vms
            if entry // vms == self._due[index]:
                vm = self.kernels[index].vm
                was_frozen = vm.frozen_ns is not None
                vm.run(until_ns)
                self._collect(index, was_frozen, until_ns, output)
                ran += 1
        if ran > 1:
            output.to_host.sort(key=HOST_ORDER)
        return output

    def _advance_together(self, until_ns: int, cpus: HostCpus, output: ShardOutput) -> None:
        """Step by step, in order of (instant, VM): what one does may take a CPU from another.

        The scheduler's own decisions come first.
        """
        ran: dict[int, bool] = {}
        while True:
            at_ns = self._next_due_ns()
            tick_ns = cpus.next_ns()
            if min(at_ns, tick_ns) >= until_ns:
                break
            if tick_ns <= at_ns:
                cpus.tick(tick_ns)
            else:
                index = heappop(self._ready) % self._vms
                self._take_turn(index, until_ns, ran)
            stirred, cpus.stirred = cpus.stirred, []
            for name in stirred:
                self._reach(self._index[name], ran)
        for index in sorted(ran):
            self.kernels[index].vm.rest()
            self._collect(index, ran[index], until_ns, output)
        if len(ran) > 1:
            output.to_host.sort(key=HOST_ORDER)

    def _next_due_ns(self) -> int:
        """The next step of any VM."""
        ready, vms = self._ready, self._vms
        while ready and ready[0] // vms != self._due[ready[0] % vms]:
            heappop(ready)
        return ready[0] // vms if ready else NEVER_NS

    def _take_turn(self, index: int, until_ns: int, ran: dict[int, bool]) -> None:
        vm = self.kernels[index].vm
        ran.setdefault(index, vm.frozen_ns is not None)
        vm.turn(until_ns)
        self._reach(index, ran)

    def _reach(self, index: int, ran: dict[int, bool]) -> None:
        """This VM may have another first step than before."""
        vm = self.kernels[index].vm
        ran.setdefault(index, vm.frozen_ns is not None)
        self._due[index] = vm.agenda.next_ns
        self._plan(self._ready, self._due, index)

    def _collect(self, index: int, was_frozen: bool, until_ns: int, output: ShardOutput) -> None:
        vm = self.kernels[index].vm
        if vm.to_host:
            output.to_host += vm.to_host
            vm.to_host = []
        if vm.journal_out:
            output.journal += vm.journal_out
            vm.journal_out = []
        if vm.consumed:
            output.consumed += vm.consumed
            vm.consumed = []
        if vm.frozen_ns is not None:
            vm.forget_steps(until_ns)
            self.frozen += not was_frozen
        due = vm.agenda.next_ns
        self._due[index] = due
        self._plan(self._ready, self._due, index)
        self._set_bound(index, due, False)

    def _set_bound(self, index: int, bound_ns: int, exact: bool) -> None:
        self._bound[index] = bound_ns
        self._exact[index] = exact
        self._plan(self._bounds, self._bound, index)

    def _plan(self, heap: list[int], valid: list[int], index: int) -> None:
        """Enter the instant that is `valid`; once most entries no longer are, they go.

        An entry is at_ns * VMs + the VM's index: one number, so that comparing costs little.
        """
        vms = self._vms
        if len(heap) >= ENTRIES_PER_VM_MAX * vms:
            heap[:] = [at_ns * vms + i for i, at_ns in enumerate(valid) if at_ns < NEVER_NS]
            heapify(heap)
        elif valid[index] < NEVER_NS:
            heappush(heap, valid[index] * vms + index)

    def next_ns(self) -> int | None:
        """The earliest bound of all VMs.

        A VM does nothing before its next step, so its bound is looked for only if that comes first;
        of one whose threads wait for others, no more is known than that step.
        """
        if self.cpus is not None:
            first_ns = min(self._next_due_ns(), self.cpus.next_ns())
            return None if first_ns == NEVER_NS else first_ns
        bounds, vms = self._bounds, self._vms
        while bounds:
            at_ns, index = bounds[0] // vms, bounds[0] % vms
            if at_ns != self._bound[index]:
                heappop(bounds)
            elif self._exact[index]:
                return at_ns
            else:
                heappop(bounds)
                bound = lookahead.next_ns(self.kernels[index])
                self._set_bound(index, NEVER_NS if bound is None else max(bound, at_ns), True)
        return None

    def frozen_ns(self) -> int | None:
        """The last freeze, once all VMs are frozen."""
        if self.frozen < len(self.kernels):
            return None
        return max(kernel.vm.frozen_ns or 0 for kernel in self.kernels)

    def digests(self) -> dict[str, str]:
        """Digest of every VM."""
        return {kernel.vm.name: kernel.vm.digest.hexdigest() for kernel in self.kernels}

    def summary(self) -> ShardSummary:
        """Accounting that is not events: progress, CPU use, who sleeps, touches not reported."""
        cpu = Counter[str]()
        tasks: dict[str, TaskAccount] = {}
        vm_cpu: dict[str, int] = {}
        unreported: dict[str, int] = {}
        silent: dict[str, int] = {}
        unanswered: dict[str, int] = {}
        lost: list[str] = []
        for kernel in self.kernels:
            self._settle(kernel)
            name = kernel.vm.name
            spent_ns = _spent_ns(kernel)
            cpu.update(spent_ns)
            vm_cpu.update((f"{name}/{kind}", ns) for kind, ns in spent_ns.items())
            for task in kernel.all_tasks():
                if task.inner is None:
                    tasks[f"{name}/{task.name}"] = _account(task)
            for queue in kernel.queues():
                unanswered[f"{name}/{queue.name}"] = queue.unanswered(self.until_ns)
            if kernel.vm.touched:
                unreported[name] = len(kernel.vm.touched)
            silent.update((f"{name}/{why}", number) for why, number in kernel.vm.silent.items())
            if not kernel.vm.panicked:
                lost += [f"{name}/{task}" for task in unresolved(kernel)]
        return ShardSummary(
            {name: task.work for name, task in tasks.items() if task.work is not None},
            dict(cpu),
            lost,
            sum(len(kernel.slept_at) for kernel in self.kernels),
            sum(unreported.values()),
            tasks,
            vm_cpu,
            unreported,
            silent,
            unanswered,
            {} if self.cpus is None else self.cpus.spent_ns(self.frozen_ns() or self.until_ns),
        )

    def _settle(self, kernel: GuestKernel) -> None:
        """Charge what runs up to the end of the last window, in which the VM may have been idle."""
        vm = kernel.vm
        if vm.frozen_ns is not None:
            return
        for thread in vm.vcpus:
            if thread.mode is GUEST:
                thread.guest.sync(self.until_ns)
            thread.account(self.until_ns, thread.spending.kind)


def _spent_ns(kernel: GuestKernel) -> Counter[str]:
    """What the time of a VM's vcpus went to, up to the VM's end."""
    spent_ns = Counter[str]()
    for thread in kernel.vm.vcpus:
        for spent in thread.cpu.values():
            spent_ns[spent.kind] += spent.ns
    del spent_ns["over"]
    return +spent_ns


def _account(task: Task) -> TaskAccount:
    stream = task.stream
    return TaskAccount(
        task.cpu_ns,
        task.touches,
        None if stream is None else stream.passes,
        task.requests_done,
        work=task.work if task.work_step_ns else None,
        ends=task.ends,
    )
