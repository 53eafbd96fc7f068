"""CFS, the fair scheduler of 2.6.23 to 6.5 (kernel/sched/fair.c), on the CPUs of a host.

Its tunables have their own defaults, which grow with the number of CPUs (at most 8 are counted):

    sched_latency             6 ms    * (1 + log2 CPUs)   all who are runnable get a turn in it
    sched_min_granularity     0.75 ms * (1 + log2 CPUs)   but no turn is shorter
    sched_wakeup_granularity  1 ms    * (1 + log2 CPUs)   lead at which a woken thread goes first

A thread that slept is put half a latency before the others (GENTLE_FAIR_SLEEPERS, place_entity()).
A turn is over when it is used up, or when its thread is a turn ahead of whoever waits longest
(check_preempt_tick()); a woken thread takes the CPU of whoever is furthest ahead
(wakeup_preempt_entity()).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.kvm.host_cpus import HostCpus, HostThread

LATENCY_NS: Final = 6_000_000
MIN_GRANULARITY_NS: Final = 750_000
WAKEUP_GRANULARITY_NS: Final = 1_000_000


@mypyc_attr(allow_interpreted_subclasses=True)
class Cfs(HostCpus):
    """See the module."""

    __slots__ = ("latency_ns", "min_granularity_ns", "wakeup_granularity_ns")

    def __init__(self, cpus: int) -> None:
        super().__init__(cpus)
        self.latency_ns = LATENCY_NS * self.factor
        self.min_granularity_ns = MIN_GRANULARITY_NS * self.factor
        self.wakeup_granularity_ns = WAKEUP_GRANULARITY_NS * self.factor

    def _place(self, host: HostThread) -> None:
        host.vruntime = max(host.vruntime, self.floor - self.latency_ns // 2)

    def _first(self) -> HostThread:
        best = self.waiting[0]
        for host in self.waiting:
            if host.vruntime < best.vruntime:
                best = host
        return best

    def _comes_first(self, host: HostThread) -> bool:
        return host.vruntime < self._first().vruntime

    def _makes_room(self, woken: HostThread) -> HostThread | None:
        """Whoever is furthest ahead of it, if that is far enough."""
        behind = woken.vruntime + self.wakeup_granularity_ns
        furthest: HostThread | None = None
        for host in self.running:
            if host.vruntime > behind and not host.yields:
                furthest, behind = host, host.vruntime
        return furthest

    def _turn_ends_ns(self, host: HostThread) -> int:
        """A turn is a CPU's share of the latency; all threads weigh the same."""
        threads = len(self.running) + len(self.waiting)
        turn_ns = max(self.latency_ns * self.cpus // threads, self.min_granularity_ns)
        ahead_ns = host.charged_ns + turn_ns - (host.vruntime - self._first().vruntime)
        return min(host.turn_ns + turn_ns, max(ahead_ns, host.turn_ns + self.min_granularity_ns))

    def _goes_on(self, at_ns: int, host: HostThread) -> bool:
        if not self._comes_first(host):
            return False
        host.turn_ns = at_ns  # nobody had less: another turn
        return True
