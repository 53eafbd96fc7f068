"""Fair scheduling of one guest CPU: virtual runtimes, slices cut at ticks, sleeper credit.

The guest's clock runs on while its vcpu is blacked out or halted by the host, so that time is
charged to whoever was current.  That is why a task that blocks inside the host keeps its share of
the CPU without using it, and a task that sleeps in task_wait does not (the fair scheduler of 2010
with its latency, minimum granularity and wake-up granularity; all of them scenario values).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.guest_kernel.config import SchedulerConfig
from pagewake.guest_kernel.tasks import Task
from pagewake.simtime.state import Saved

NICE_0_WEIGHT: Final = 1024


@mypyc_attr(allow_interpreted_subclasses=True)
class RunQueue(Saved):
    """Runnable tasks of one CPU; `curr` is running and not in `waiting`."""

    __slots__ = ("config", "curr", "exec_start_ns", "min_vruntime", "slice_start_ns", "waiting")

    def __init__(self, config: SchedulerConfig) -> None:
        self.config = config
        self.waiting: list[Task] = []
        self.curr: Task | None = None
        self.min_vruntime = 0
        self.exec_start_ns = 0
        self.slice_start_ns = 0

    def load(self) -> int:
        """Runnable tasks, the running one included."""
        return len(self.waiting) + (self.curr is not None)

    def update(self, at_ns: int) -> None:
        """Charge the time since the last update to the running task."""
        curr = self.curr
        if curr is not None:
            ran_ns = at_ns - self.exec_start_ns
            curr.vruntime += ran_ns * NICE_0_WEIGHT // curr.weight
            self._advance_floor(curr)
        self.exec_start_ns = at_ns

    def _advance_floor(self, curr: Task) -> None:
        floor = curr.vruntime
        for task in self.waiting:
            floor = min(floor, task.vruntime)
        self.min_vruntime = max(self.min_vruntime, floor)

    def _slice_ns(self, task: Task) -> int:
        """Share of one period (stretched when there are too many) by weight."""
        total = 0 if self.curr is None else self.curr.weight
        for other in self.waiting:
            total += other.weight
        period = max(self.config.latency_ns, self.load() * self.config.min_granularity_ns)
        return period * task.weight // max(total, 1)

    def _leftmost(self) -> Task:
        best = self.waiting[0]
        for task in self.waiting:
            if task.vruntime < best.vruntime:
                best = task
        return best

    def enqueue_new(self, task: Task) -> None:
        """First time runnable: start with a debit of one slice."""
        self.waiting.append(task)
        task.vruntime = self.min_vruntime + self._slice_ns(task)

    def enqueue_woken(self, task: Task) -> None:
        """Back from sleep: at most half a latency of credit."""
        task.vruntime = max(task.vruntime, self.min_vruntime - self.config.latency_ns // 2)
        self.waiting.append(task)

    def enqueue_moved(self, task: Task, source: RunQueue) -> None:
        """From another CPU: keep the lead or lag it had there."""
        task.vruntime += self.min_vruntime - source.min_vruntime
        self.waiting.append(task)

    def pick(self, at_ns: int) -> Task | None:
        """Make the task with the least virtual runtime current (None: idle)."""
        self.exec_start_ns = at_ns
        self.slice_start_ns = at_ns
        if not self.waiting:
            self.curr = None
            return None
        best = self._leftmost()
        self.waiting.remove(best)
        self.curr = best
        return best

    def put_back(self) -> None:
        """The running task stays runnable."""
        if self.curr is not None:
            self.waiting.append(self.curr)
            self.curr = None

    def tick_preempts(self, at_ns: int) -> bool:
        """At a tick: is the running task's slice over, or is it too far ahead?"""
        curr = self.curr
        if curr is None or not self.waiting:
            return bool(self.waiting)
        ideal_ns = self._slice_ns(curr)
        ran_ns = at_ns - self.slice_start_ns
        if ran_ns > ideal_ns:
            return True
        if ran_ns < self.config.min_granularity_ns:
            return False
        return curr.vruntime - self._leftmost().vruntime > ideal_ns

    def wakeup_preempts(self, woken: Task) -> bool:
        """At a wake-up: does the woken task go first?"""
        curr = self.curr
        if curr is None:
            return True
        lead = self.config.wakeup_granularity_ns * NICE_0_WEIGHT // woken.weight
        return curr.vruntime - woken.vruntime > lead

    def earliest_switch_ns(self, at_ns: int) -> int:
        """Lower bound of the instant at which a tick could take the CPU from the running task.

        `at_ns` is not later than the next tick.  Charged time only grows with time, so a slice that
        cannot be over before this instant keeps everybody else off the CPU until then.
        """
        curr = self.curr
        if curr is None or not self.waiting:
            return at_ns
        over = self.slice_start_ns + self._slice_ns(curr)
        vruntime = curr.vruntime + (at_ns - self.exec_start_ns) * NICE_0_WEIGHT // curr.weight
        lag = vruntime - self._leftmost().vruntime
        ahead = at_ns + (self._slice_ns(curr) - lag) * curr.weight // NICE_0_WEIGHT
        return max(
            at_ns, min(over, max(ahead, self.slice_start_ns + self.config.min_granularity_ns))
        )
