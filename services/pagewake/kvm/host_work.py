"""What else a host runs on its CPUs, where those are counted (`host_cpus.py`).

Such a thread sleeps until there is work for it, and computes for as long as that takes: on a CPU,
for which it competes with vcpu threads and workers.

kswapd reclaims for all VMs of its host, in the order in which the memory manager decided: it reads
accessed bits, takes pages out of page tables, and drops what has been written back.  What it finds
is what is there when it has done it, and the memory manager hears of it then.  It takes
`host.costs.reclaim_page` for each page of each of these steps, and gives way between two pages, as
the kernel does (cond_resched() in shrink_page_list()).  What a vcpu thread of a VM at its limit
reclaims itself (5.8) is none of its work; where no host is short, there is no kswapd then.

The emulator of a VM has threads besides its vcpus: QEMU's main loop, I/O threads.  They are one
thread here, which wakes at a fixed period, from a drawn instant on, and computes for a fixed time
(`vm.emulator`); while it is at that, it is not woken anew.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.kvm.config import EmulatorLoad
from pagewake.kvm.host_cpus import HostCpus, HostThread
from pagewake.kvm.ports import OP_HOST_WORK
from pagewake.kvm.vm import Reclaiming, Vm
from pagewake.simtime.randomness import Draws

WAKE: Final = -1
"""A plan that no other voids."""


@mypyc_attr(allow_interpreted_subclasses=True)
class HostWork(HostThread):
    """A thread with `left_ns` of CPU time to go, which gives way after each `grain_ns` of it.

    Its steps are in the agenda of `vm`, the VM that it works for; `plan` is the number of the last
    of them, which voids those before.  `since_ns`: it has had its CPU from then on.
    """

    __slots__ = ("grain_ns", "left_ns", "plan", "since_ns", "vm")

    vm: Vm

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.grain_ns = 1
        self.left_ns = 0
        self.plan = 0
        self.since_ns = 0

    @abstractmethod
    def done(self, at_ns: int, cpus: HostCpus) -> None:
        """It has had its CPU time."""

    def step(self, at_ns: int, cpus: HostCpus, plan: int) -> None:
        """What was planned is due."""
        if plan != self.plan:
            return
        self.left_ns -= at_ns - self.since_ns
        self.since_ns = at_ns
        if self.left_ns:
            cpus.preempt(at_ns, self)
        else:
            self.done(at_ns, cpus)

    def go(self, at_ns: int) -> str:
        self.since_ns = at_ns
        return self._plan(at_ns + self.left_ns)

    def asked_to_leave(self, at_ns: int) -> str:
        grains = max(1, -(-(at_ns - self.since_ns) // self.grain_ns))
        return self._plan(self.since_ns + min(self.left_ns, grains * self.grain_ns))

    def stop_poll(self, at_ns: int) -> bool:
        return False

    def _plan(self, at_ns: int) -> str:
        self.plan += 1
        self.vm.push(at_ns, -1, -1, OP_HOST_WORK, (self, self.plan))
        return self.vm.name


@mypyc_attr(allow_interpreted_subclasses=True)
class Kswapd(HostWork):
    """The reclaiming thread of a host; `work` is what it has to do, for whom."""

    __slots__ = ("work",)

    def __init__(self) -> None:
        super().__init__("kswapd")
        self.work: list[tuple[Vm, Reclaiming]] = []

    def has(self, vm: Vm) -> bool:
        """Whether it has something to do for this VM."""
        return any(each is vm for each, _ in self.work)

    def takes(self, at_ns: int, cpus: HostCpus, vm: Vm, event: Reclaiming) -> bool:
        """It is woken for this; False: it has done it at once, as that took no time."""
        self.work.append((vm, event))
        if self.on_cpu or self.waits:
            return True
        self._take_up()
        if not cpus.wake(at_ns, self):
            return True
        if self.left_ns:
            self.go(at_ns)
            return True
        self.work.pop()
        cpus.sleep(at_ns, self)
        return False

    def done(self, at_ns: int, cpus: HostCpus) -> None:
        vm, event = self.work.pop(0)
        vm.reclaim(at_ns, event)
        self._go_on(at_ns, cpus)

    def leave_out(self, at_ns: int, cpus: HostCpus, vm: Vm) -> list[Reclaiming]:
        """This VM is over: what was to be done for it."""
        first = self.work[0][0]
        left_out = [event for each, event in self.work if each is vm]
        self.work = [(each, event) for each, event in self.work if each is not vm]
        if first is vm:
            self.plan += 1
            if self.on_cpu or not self.work:
                self._go_on(at_ns, cpus)
            else:
                self._take_up()
        return left_out

    def _take_up(self) -> None:
        self.vm, event = self.work[0]
        self.grain_ns = max(1, self.vm.costs.reclaim_page_ns)
        self.left_ns = self.vm.costs.reclaim_page_ns * len(event.gfns)

    def _go_on(self, at_ns: int, cpus: HostCpus) -> None:
        """With what comes next, if it may keep its CPU; else it sleeps."""
        if not self.work:
            cpus.sleep(at_ns, self)
            return
        self._take_up()
        if self.yields:
            cpus.preempt(at_ns, self)
        else:
            cpus.stirred.append(self.go(at_ns))


@mypyc_attr(allow_interpreted_subclasses=True)
class Emulator(HostWork):
    """What the emulator of this VM does besides its vcpus."""

    __slots__ = ("load",)

    def __init__(self, vm: Vm, load: EmulatorLoad) -> None:
        super().__init__("emulator")
        self.vm = vm
        self.load = load
        first_ns = Draws(vm.config.seed, f"{vm.name}/emulator").below(0, load.every_ns)
        vm.push(first_ns, -1, -1, OP_HOST_WORK, (self, WAKE))

    def step(self, at_ns: int, cpus: HostCpus, plan: int) -> None:
        if plan != WAKE:
            super().step(at_ns, cpus, plan)
            return
        self.vm.push(at_ns + self.load.every_ns, -1, -1, OP_HOST_WORK, (self, WAKE))
        if not (self.on_cpu or self.waits):
            self.left_ns = self.load.for_ns
            if cpus.wake(at_ns, self):
                self.go(at_ns)

    def done(self, at_ns: int, cpus: HostCpus) -> None:
        cpus.sleep(at_ns, self)

    def stop(self, at_ns: int, cpus: HostCpus) -> None:
        """Its VM is over."""
        if self.on_cpu or self.waits:
            cpus.sleep(at_ns, self)
