"""Vcpu threads and workers on the CPUs of their host, where those are counted (`host_cpus.py`).

A vcpu thread needs a CPU for every step of its own: in the guest, in an exit, in a poll.  Where it
has none, its step waits, and its time is steal.  It is taken from its CPU where KVM looks, behind
an exit and its check for completions (`need_resched()` in vcpu_run(); `__vcpu_run()` in 2.6.38): in
the guest it is kicked out of it, anywhere else it gets there by itself.  So a completion that comes
while its vcpu waits for a CPU is presented once that has one: before 5.8 only behind the next exit.

A worker needs a CPU to end a page-in: it completes the work as it gets one, and keeps it for as
long as a hand-off takes (`worker_hop`).  What wakes a thread that reads a page itself is the
device's interrupt, which takes no CPU here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Gfn, Token
from pagewake.events.types import CpuFound
from pagewake.kvm.host_cpus import HostCpus, HostThread
from pagewake.kvm.modes import GUEST, HLT, HOST
from pagewake.kvm.ports import OP_LOOKED, OP_LOOP, OP_SCHED_IN, OP_WORKED, Op

if TYPE_CHECKING:
    from pagewake.kvm.thread import VcpuThread

Work = tuple[Gfn, Token, int]
"""A page-in whose worker is at its end, and the epoch that it belongs to."""


@mypyc_attr(allow_interpreted_subclasses=True)
class VcpuOnHost(HostThread):
    """A vcpu thread; `op` and `arg` are what it does once it has a CPU, if `gen` still holds.

    `called`: it has got one for that, and this is still to be done; `lent`: its workers have it.
    """

    __slots__ = ("arg", "called", "gen", "lent", "op", "thread")

    def __init__(self, thread: VcpuThread) -> None:
        super().__init__("vcpu")
        self.thread = thread
        self.called = False
        self.lent = False
        self.gen = thread.gen
        self.op: Op = OP_LOOP
        self.arg: Any = None

    def runs(self, at_ns: int, cpus: HostCpus, op: Op, arg: object) -> bool:
        """A step of this thread is due: whether it has a CPU for it; else it waits for one."""
        thread = self.thread
        if self.on_cpu:
            lent, self.called, self.lent = self.lent, False, False
            if lent and cpus.picks_again(at_ns, self):
                thread.find_cpu(at_ns)
            elif op is OP_LOOP and thread.looks:
                self._lend(at_ns)
                return False
            elif lent or (op is OP_LOOP and self._makes_room(at_ns)):
                cpus.preempt(at_ns, self)
                return False
            return True
        assert not self.waits, f"{thread} waits for a CPU, and was to do something else"
        self.op, self.arg, self.gen = op, arg, thread.gen
        if cpus.wake(at_ns, self):
            return True
        thread.await_cpu(at_ns)
        return False

    def _makes_room(self, at_ns: int) -> bool:
        """It was asked to leave its CPU, and would not anyway."""
        thread = self.thread
        if not self.yields or thread.mp_halted or thread.apf.halted:
            return False
        thread.preempted(at_ns)
        self.op, self.arg, self.gen = OP_SCHED_IN, None, thread.gen
        return True

    def _lend(self, at_ns: int) -> None:
        """Workers that are queued on its CPU, and have slept, go first: each looks for its page."""
        thread = self.thread
        thread.preempted(at_ns)
        self.op, self.arg, self.gen = OP_SCHED_IN, None, thread.gen
        self.called = self.lent = True
        at_ns += len(thread.looks) * thread.vm.costs.worker_look_ns
        thread.vm.push(at_ns, thread.id, -1, OP_LOOKED, thread.gen)

    def settle(self, at_ns: int, cpus: HostCpus) -> None:
        """Something happened to this thread, which has a CPU or waits: it may want none now."""
        thread = self.thread
        if self.waits or self.called:
            wanted = self.gen == thread.gen
        else:
            wanted = thread.mode in (GUEST, HOST, HLT) or thread.works or thread.polls()
        if not wanted:
            if self.waits or self.lent:
                thread.note(CpuFound, at_ns, given_up=True)
            self.called = self.lent = False
            cpus.sleep(at_ns, self)
            thread.workers_looked(at_ns)

    def go(self, at_ns: int) -> str:
        thread = self.thread
        self.called = True
        thread.find_cpu(at_ns)
        thread.vm.push(at_ns, thread.id, self.gen, self.op, self.arg)
        return thread.vm.name

    def asked_to_leave(self, at_ns: int) -> str:
        if self.thread.mode is GUEST or self.thread.mode is HLT:
            self.thread.kick(at_ns)
        return self.thread.vm.name

    def stop_poll(self, at_ns: int) -> bool:
        return self.thread.stop_poll(at_ns)


@mypyc_attr(allow_interpreted_subclasses=True)
class Worker(HostThread):
    """A worker at the end of a page-in for this vcpu; it came from sleep, and goes back to it."""

    __slots__ = ("thread", "work")

    def __init__(self, thread: VcpuThread, work: Work) -> None:
        super().__init__("worker")
        self.thread = thread
        self.work = work

    def runs(self, at_ns: int, cpus: HostCpus) -> bool:
        """Whether it has a CPU to complete the work at once; else it will, as `OP_WORKED`."""
        if not cpus.wake(at_ns, self):
            return False
        self._stay(at_ns)
        return True

    def _stay(self, at_ns: int) -> None:
        """Nobody takes its CPU from it for as short as that."""
        self.yields = True
        self.until_ns = at_ns + self.thread.vm.costs.worker_hop_ns

    def go(self, at_ns: int) -> str:
        self._stay(at_ns)
        vm = self.thread.vm
        vm.push(at_ns, self.thread.id, -1, OP_WORKED, self.work)
        return vm.name

    def asked_to_leave(self, at_ns: int) -> str:
        """It is about to."""
        return self.thread.vm.name

    def stop_poll(self, at_ns: int) -> bool:
        return False
