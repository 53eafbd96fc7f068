"""The CPUs of a simulated host and who competes for them, where CPUs are counted (`host.cpus`).

What competes: the vcpu threads of all VMs of the host and its workers, each for as long as the end
of one page-in takes (`host_threads.py`), its kswapd, and the emulators of its VMs (`host_work.py`).
A thread that becomes runnable waits for a CPU; while it does, its time is steal.  Who runs is
decided by a fair scheduler: `host_cfs.py` or `host_eevdf.py`.  All threads weigh the same.

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

CPUS_COUNTED_MAX: Final = 8
UNKNOWN: Final = -1


@mypyc_attr(allow_interpreted_subclasses=True)
class HostThread(Saved, ABC):
    """A thread as the scheduler sees it: on a CPU, waiting for one, or neither.

    `kind`: what its time on a CPU counts as.
    `yields`: it was asked to leave its CPU.  `until_ns`: it leaves by itself then.  `turn_ns`: its
    turn began then.  `deadline`, `lag` and `picked` are EEVDF's.
    """

    __slots__ = (
        "charged_ns", "deadline", "kind", "lag", "on_cpu", "picked", "turn_ns", "until_ns",
        "vruntime", "waits", "yields",
    )  # fmt: skip

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.vruntime = 0
        self.deadline = 0
        self.picked = 0
        self.lag = 0
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
class HostCpus(Saved, ABC):
    """The CPUs of one simulated host; `stirred` are VMs that got steps by what was decided.

    `factor`: tunables grow with the number of CPUs.  `floor`: the least virtual runtime of all who
    are runnable, which never goes back.
    """

    __slots__ = (
        "cpus",
        "due_ns",
        "factor",
        "floor",
        "now_ns",
        "running",
        "spent",
        "stirred",
        "waiting",
    )

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.factor = min(cpus, CPUS_COUNTED_MAX).bit_length()
        self.floor = 0
        self.now_ns = 0
        self.due_ns = NEVER_NS
        self.running: list[HostThread] = []
        self.waiting: list[HostThread] = []
        self.stirred: list[str] = []
        self.spent: dict[str, int] = {}

    # ------------------------------------------------------------------ what threads do

    def wake(self, at_ns: int, host: HostThread) -> bool:
        """It is runnable: it gets a CPU that is free, or only polled on; else it waits (False)."""
        self._charge(at_ns)
        self._place(host)
        if len(self.running) == self.cpus:
            self._end_a_poll(at_ns)
        if len(self.running) < self.cpus:
            self._put_on(at_ns, host)
            return True
        self._wait(host)
        victim = self._makes_room(host)
        if victim is not None:
            self._ask_to_leave(at_ns, victim)
        return False

    def sleep(self, at_ns: int, host: HostThread) -> None:
        """It leaves its CPU, or the queue, and wants none."""
        if host.waits:
            self._charge(at_ns)
            self._departs(host)
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

    def picks_again(self, at_ns: int, host: HostThread) -> bool:
        """Another thread had its CPU for a moment, and sleeps: whether this one is the next there.

        It is not, if one that waits comes first (schedule(), pick_next_entity()).
        """
        self._charge(at_ns)
        if self.waiting and not self._comes_first(host):
            return False
        self._picked(at_ns, host)
        return True

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
        for host in self.running[:]:
            if host.yields or self._turn_ends_ns(host) > at_ns:
                continue
            if not self._goes_on(at_ns, host):
                self._ask_to_leave(at_ns, host)

    def spent_ns(self, until_ns: int) -> dict[str, int]:
        """What the time of all CPUs went to, by kind of thread; `idle` is what nobody wanted."""
        self._charge(max(until_ns, self.now_ns))
        idle_ns = self.cpus * self.now_ns - sum(self.spent.values())
        return {**self.spent, "idle": idle_ns}

    # ------------------------------------------------------------------ what the scheduler decides

    @abstractmethod
    def _place(self, host: HostThread) -> None:
        """It wakes: where it stands among the others."""

    def _departs(self, host: HostThread) -> None:
        """It is about to leave the others, or only its CPU."""

    @abstractmethod
    def _first(self) -> HostThread:
        """Who of those who wait is to have the next CPU."""

    @abstractmethod
    def _comes_first(self, host: HostThread) -> bool:
        """Whether this one, which runs, is before all who wait."""

    @abstractmethod
    def _makes_room(self, woken: HostThread) -> HostThread | None:
        """Who has to leave its CPU for one that woke, if anybody."""

    @abstractmethod
    def _turn_ends_ns(self, host: HostThread) -> int:
        """When it is to be looked whether this one, which runs, goes on: others wait."""

    @abstractmethod
    def _goes_on(self, at_ns: int, host: HostThread) -> bool:
        """Its turn is over: whether it has another."""

    # ------------------------------------------------------------------ CPUs and the queue

    def _charge(self, at_ns: int) -> None:
        """Virtual runtimes of those who run, and the floor.

        Whoever changes something does this first.
        """
        self.now_ns = at_ns
        self.due_ns = UNKNOWN
        least = NEVER_NS
        for host in self.running:
            ran_ns = at_ns - host.charged_ns
            host.vruntime += ran_ns
            host.charged_ns = at_ns
            self.spent[host.kind] = self.spent.get(host.kind, 0) + ran_ns
            least = min(least, host.vruntime)
        for host in self.waiting:
            least = min(least, host.vruntime)
        if least < NEVER_NS:
            self.floor = max(self.floor, least)

    def _ask_to_leave(self, at_ns: int, host: HostThread) -> None:
        host.yields = True
        self.stirred.append(host.asked_to_leave(at_ns))

    def _end_a_poll(self, at_ns: int) -> None:
        """A thread polls only while nobody else wants its CPU (single_task_running())."""
        for host in self.running:
            if host.stop_poll(at_ns):
                self._take_off(at_ns, host)
                return

    def _wait(self, host: HostThread) -> None:
        host.waits = True
        self.waiting.append(host)

    def _put_on(self, at_ns: int, host: HostThread) -> None:
        host.on_cpu = True
        host.charged_ns = at_ns
        self.running.append(host)
        self._picked(at_ns, host)

    def _picked(self, at_ns: int, host: HostThread) -> None:
        """It begins a turn (set_next_entity())."""
        host.yields = False
        host.turn_ns = at_ns

    def _take_off(self, at_ns: int, host: HostThread) -> None:
        self._charge(at_ns)
        self._departs(host)
        self.running.remove(host)
        host.on_cpu = False

    def _fill(self, at_ns: int) -> None:
        """Free CPUs go to those who wait."""
        while self.waiting and len(self.running) < self.cpus:
            host = self._first()
            self.waiting.remove(host)
            host.waits = False
            self._put_on(at_ns, host)
            self.stirred.append(host.go(at_ns))
