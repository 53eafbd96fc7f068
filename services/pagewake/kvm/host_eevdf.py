"""EEVDF, the fair scheduler since 6.6 (147f3efaa241, 5e963f2bd465), on the CPUs of a host.

Every thread asks for a slice at a time: base_slice_ns, 0.75 ms * (1 + log2 CPUs), 8 CPUs counted at
most.  Virtual time is the mean of the virtual runtimes of all who are runnable; how far a thread is
behind it is its lag.  The rules are those of 6.6:

- Of those who wait and have had no more than their share (lag >= 0: they are eligible), the one
  with the earliest virtual deadline runs: its virtual runtime when it asked, and its slice.
- A slice that is used up is asked for anew, and whoever is then first by that rule runs.
- A thread that wakes has the lag with which it slept (86bfbb7ce4f6), 2 slices or a tick at most,
  and asks for a slice.  If it is first, it takes the CPU of a thread that is not eligible any more,
  or in a later slice than the one it was picked for (RUN_TO_PARITY, 63304558ba5d): of these, that
  of whoever has had most.

Virtual time is one for all CPUs here.  So where CPUs are free to be given away, all who wait may
have had more than their share: then the earliest deadline goes.  Later changes are left out: a
thread that sleeps with a negative lag stays in the queue for it since 6.12 (152e11f6df29), and
since 6.15 a slice is 0.70 ms.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.kvm.host_cpus import HostCpus, HostThread

BASE_SLICE_NS: Final = 750_000
TICK_NS: Final = 4_000_000
"""At 250 Hz: the shortest limit of a lag."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Eevdf(HostCpus):
    """See the module.  `deadline`, `lag` and `picked`, the deadline it got its CPU for, are ns."""

    __slots__ = ("lag_max_ns", "slice_ns")

    def __init__(self, cpus: int) -> None:
        super().__init__(cpus)
        self.slice_ns = BASE_SLICE_NS * self.factor
        self.lag_max_ns = max(2 * self.slice_ns, TICK_NS)

    def _place(self, host: HostThread) -> None:
        """Its coming moves virtual time towards it: it is put so that its lag is right then."""
        if not self.waiting:
            self._renew_all()
        threads = len(self.running) + len(self.waiting)
        host.vruntime = self.floor
        if threads:
            lag = abs(host.lag) * (threads + 1) // threads
            host.vruntime = self._sum() // threads - (lag if host.lag > 0 else -lag)
        host.deadline = host.vruntime + self.slice_ns

    def _departs(self, host: HostThread) -> None:
        threads = len(self.running) + len(self.waiting)
        lag = self._sum() // threads - host.vruntime
        host.lag = max(-self.lag_max_ns, min(lag, self.lag_max_ns))

    def _first(self) -> HostThread:
        threads = len(self.running) + len(self.waiting)
        total = self._sum()
        best = self.waiting[0]
        for host in self.waiting:
            owed, other_owed = host.vruntime * threads <= total, best.vruntime * threads <= total
            if owed > other_owed or (owed == other_owed and host.deadline < best.deadline):
                best = host
        return best

    def _comes_first(self, host: HostThread) -> bool:
        if not self._eligible(host):
            return False
        first = self._first()
        return not self._eligible(first) or host.deadline < first.deadline

    def _makes_room(self, woken: HostThread) -> HostThread | None:
        if not self._eligible(woken) or self._first() is not woken:
            return None
        most: HostThread | None = None
        for host in self.running:
            if host.yields or (most is not None and host.vruntime <= most.vruntime):
                continue
            if not (self._eligible(host) and _keeps_its_slice(host, woken)):
                most = host
        return most

    def _turn_ends_ns(self, host: HostThread) -> int:
        return host.charged_ns + host.deadline - host.vruntime

    def _goes_on(self, at_ns: int, host: HostThread) -> bool:
        host.deadline = host.vruntime + self.slice_ns
        return self._comes_first(host)

    def _picked(self, at_ns: int, host: HostThread) -> None:
        super()._picked(at_ns, host)
        host.picked = host.deadline

    def _renew_all(self) -> None:
        """Slices that were used up while nobody else wanted the CPU."""
        for host in self.running:
            if host.vruntime >= host.deadline:
                host.deadline = host.vruntime + self.slice_ns

    def _eligible(self, host: HostThread) -> bool:
        return host.vruntime * (len(self.running) + len(self.waiting)) <= self._sum()

    def _sum(self) -> int:
        total = 0
        for host in self.running:
            total += host.vruntime
        for host in self.waiting:
            total += host.vruntime
        return total


def _keeps_its_slice(host: HostThread, woken: HostThread) -> bool:
    return host.deadline == host.picked or host.deadline < woken.deadline
