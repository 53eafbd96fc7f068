"""The CPUs of a simulated host and their scheduler, where CPUs are counted (`host.cpus`).

What competes: the vcpu threads of all VMs of the host and its workers, each for as long as the end
of one page-in takes (`host_threads.py`), its kswapd, and the emulators of its VMs (`host_work.py`).
A thread that becomes runnable waits for a CPU; while it does, its time is steal.  Who runs is
decided by the fair scheduler of 2.6.23 to 6.5 (kernel/sched/fair.c), with its own defaults, which
grow with the number of CPUs (at most 8 are counted):

    sched_latency             6 ms    * (1 + log2 CPUs)   all who are runnable get a turn in it
    sched_min_granularity     0.75 ms * (1 + log2 CPUs)   but no turn is shorter
    sched_wakeup_granularity  1 ms    * (1 + log2 CPUs)   lead at which a woken thread goes first

A thread that slept is put half a latency before the others (GENTLE_FAIR_SLEEPERS, place_entity()).
A turn is over when it is used up, or when its thread is a turn ahead of whoever waits longest
(check_preempt_tick()); a woken thread takes the CPU of whoever is furthest ahead
(wakeup_preempt_entity()).  All threads weigh the same.

Two things are simpler than in Linux.  There is one queue for all CPUs, as if the load were balanced
at every instant and moving a thread cost nothing.  And turns end exactly, as with HRTICK, not at
the next tick.  Both make waits shorter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.simtime.ports import NEVER_NS
from pagewake.simtime.state import Saved

LATENCY_NS: Final = 6_000_000
MIN_GRANULARITY_NS: Final = 750_000
WAKEUP_GRANULARITY_NS: Final = 1_000_000
CPUS_COUNTED_MAX: Final = 8
UNKNOWN: Final = -1


@mypyc_attr(allow_interpreted_subclasses=True)
class HostThread(Saved, ABC):
    """A thread as the scheduler sees it: on a CPU, waiting for one, or neither.

    `yields`: it was asked to leave its CPU.  `until_ns`: it leaves by itself then.
    """

    __slots__ = ("charged_ns", "on_cpu", "turn_ns", "until_ns", "vruntime", "waits", "yields")

    def __init__(self) -> None:
        self.vruntime = 0
        self.charged_ns = 0
        self.turn_ns = 0
        self.until_ns = NEVER_NS
        self.on_cpu = False
        self.waits = False
        self.yields = False

    @abstractmethod
    def go(self, at_ns: int) -> str:
        """It has waited and got a CPU; returns the VM that has a step more by that."""

    @abstractmethod
    def asked_to_leave(self, at_ns: int) -> str:
        """TIF_NEED_RESCHED: it is to leave as soon as it can; returns its VM."""

    @abstractmethod
    def stop_poll(self, at_ns: int) -> bool:
        """Others want its CPU: if it only polls, it sleeps now; False: it does not."""


@mypyc_attr(allow_interpreted_subclasses=True)
class HostCpus(Saved):
    """The CPUs of one simulated host; `stirred` are VMs that got steps by what was decided."""

    __slots__ = (
        "cpus", "due_ns", "floor", "latency_ns", "min_granularity_ns", "now_ns", "running",
        "stirred", "waiting", "wakeup_granularity_ns",
    )  # fmt: skip

    def __init__(self, cpus: int) -> None:
        factor = min(cpus, CPUS_COUNTED_MAX).bit_length()
        self.cpus = cpus
        self.latency_ns = LATENCY_NS * factor
        self.min_granularity_ns = MIN_GRANULARITY_NS * factor
        self.wakeup_granularity_ns = WAKEUP_GRANULARITY_NS * factor
        self.floor = 0
        self.now_ns = 0
        self.due_ns = NEVER_NS
        self.running: list[HostThread] = []
        self.waiting: list[HostThread] = []
        self.stirred: list[str] = []

    # ------------------------------------------------------------------ what threads do

    def wake(self, at_ns: int, host: HostThread) -> bool:
        """It is runnable: it gets a CPU that is free, or only polled on; else it waits (False)."""
        self._charge(at_ns)
        host.vruntime = max(host.vruntime, self.floor - self.latency_ns // 2)
        if len(self.running) == self.cpus:
            self._end_a_poll(at_ns)
        if len(self.running) < self.cpus:
            self._put_on(at_ns, host)
            return True
        self._wait(host)
        self._wakeup_preempt(at_ns, host)
        return False

    def sleep(self, at_ns: int, host: HostThread) -> None:
        """It leaves its CPU, or the queue, and wants none."""
        if host.waits:
            self._charge(at_ns)
            host.waits = False
            self.waiting.remove(host)
        else:
            self._take_off(at_ns, host)
            self._fill(at_ns)

    def preempt(self, at_ns: int, host: HostThread) -> None:
        """It leaves its CPU as it was asked to, and waits."""
        self._take_off(at_ns, host)
        self._wait(host)
        self._fill(at_ns)

    # ------------------------------------------------------------------ what comes by itself

    def next_ns(self) -> int:
        """When there is something to decide, if nobody asks before."""
        if self.due_ns == UNKNOWN:
            due_ns = NEVER_NS
            for host in self.running:
                due_ns = min(due_ns, host.until_ns)
            if self.waiting:
                for host in self.running:
                    if not host.yields:
                        due_ns = min(due_ns, self._turn_ends_ns(host))
            self.due_ns = max(due_ns, self.now_ns)  # who ran alone has had its CPU for long
        return self.due_ns

    def tick(self, at_ns: int) -> None:
        """Who leaves by itself goes, and turns that are over end."""
        self._charge(at_ns)
        for host in [host for host in self.running if host.until_ns <= at_ns]:
            self._take_off(at_ns, host)
        self._fill(at_ns)
        if not self.waiting:
            return
        first = self._leftmost().vruntime
        for host in self.running[:]:
            if host.yields or self._turn_ends_ns(host) > at_ns:
                continue
            if host.vruntime >= first:
                self._ask_to_leave(at_ns, host)
            else:
                host.turn_ns = at_ns  # nobody had less: another turn

    # ------------------------------------------------------------------ the fair scheduler

    def _charge(self, at_ns: int) -> None:
        """Virtual runtimes of those who run, and the floor that never goes back.

        Whoever changes something does this first.
        """
        self.now_ns = at_ns
        self.due_ns = UNKNOWN
        least = NEVER_NS
        for host in self.running:
            host.vruntime += at_ns - host.charged_ns
            host.charged_ns = at_ns
            least = min(least, host.vruntime)
        for host in self.waiting:
            least = min(least, host.vruntime)
        if least < NEVER_NS:
            self.floor = max(self.floor, least)

    def _turn_ends_ns(self, host: HostThread) -> int:
        """A turn is a CPU's share of the latency; all threads weigh the same."""
        threads = len(self.running) + len(self.waiting)
        turn_ns = max(self.latency_ns * self.cpus // threads, self.min_granularity_ns)
        ahead_ns = host.charged_ns + turn_ns - (host.vruntime - self._leftmost().vruntime)
        return min(host.turn_ns + turn_ns, max(ahead_ns, host.turn_ns + self.min_granularity_ns))

    def _leftmost(self) -> HostThread:
        best = self.waiting[0]
        for host in self.waiting:
            if host.vruntime < best.vruntime:
                best = host
        return best

    def _wakeup_preempt(self, at_ns: int, woken: HostThread) -> None:
        """Whoever is furthest ahead of it makes room, if that is far enough."""
        behind = woken.vruntime + self.wakeup_granularity_ns
        furthest: HostThread | None = None
        for host in self.running:
            if host.vruntime > behind and not host.yields:
                furthest, behind = host, host.vruntime
        if furthest is not None:
            self._ask_to_leave(at_ns, furthest)

    def _ask_to_leave(self, at_ns: int, host: HostThread) -> None:
        host.yields = True
        self.stirred.append(host.asked_to_leave(at_ns))

    def _end_a_poll(self, at_ns: int) -> None:
        """A thread polls only while nobody else wants its CPU (single_task_running())."""
        for host in self.running:
            if host.stop_poll(at_ns):
                self._take_off(at_ns, host)
                return

    # ------------------------------------------------------------------ CPUs and the queue

    def _wait(self, host: HostThread) -> None:
        host.waits = True
        self.waiting.append(host)

    def _put_on(self, at_ns: int, host: HostThread) -> None:
        host.on_cpu = True
        host.yields = False
        host.charged_ns = host.turn_ns = at_ns
        self.running.append(host)

    def _take_off(self, at_ns: int, host: HostThread) -> None:
        self._charge(at_ns)
        self.running.remove(host)
        host.on_cpu = False

    def _fill(self, at_ns: int) -> None:
        """Free CPUs go to those who wait, whoever had least first."""
        while self.waiting and len(self.running) < self.cpus:
            host = self._leftmost()
            self.waiting.remove(host)
            host.waits = False
            self._put_on(at_ns, host)
            self.stirred.append(host.go(at_ns))
