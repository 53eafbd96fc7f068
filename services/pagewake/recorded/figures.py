"""What the events of a recording, or of a run, come to: the figures that people compare.

Both have the same events, so that the same figure means the same of either. Per fault that went
its own way, the stages are

- `submission`: from its start until the guest is told, which the vcpu thread spends in the host;
- `completion`: from its start until a worker says that the page is there: the device;
- `delivery`: from then on to READY, which comes when the vcpu thread looks: the host's CPUs;
- `whole`: from start to READY.

*Gained* is the time for which a vcpu executed the guest although it had been told of a page that
was not there yet. *Stood still* is the rest of what it would have stood still without asynchronous
page faults, as far as events show it: halts for a page, synchronous faults, and HLT while a page
was awaited, when the guest had nothing else to run. Waits that overlap count once, so the two
together are the least that it would have been.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    ApfStarted,
    DummyConsumed,
    Event,
    ExceptionInjected,
    InterruptQueued,
    MsrWritten,
    PageNotPresent,
    PageReady,
    PagesPushed,
    SyncFault,
    TaskWoken,
    VcpuHalted,
    VcpuResumed,
    WorkerCompleted,
)
from pagewake.kvm.msr import MSR_KVM_ASYNC_PF_ACK

NOT_FOR_A_PAGE: Final = ("hlt", "offline", "sipi")
"""Halts that end when something happens to the guest, and not when a page comes."""
SLOW_NS: Final = 300_000
"""A synchronous fault so long waited for something; a shorter one found its page in memory."""
QUANTILES: Final = (100, 500, 900, 990, 1000)
"""Of latencies, in thousandths."""


def quantile(rising: Sequence[int], per_mille: int) -> int:
    """The value at this place of a rising sequence, in thousandths of its length."""
    return rising[min(len(rising) - 1, len(rising) * per_mille // 1000)]


class Stage(msgspec.Struct, frozen=True):
    """How long a stage of an asynchronous fault took; null without any."""

    count: int
    p10_ns: int | None = None
    p50_ns: int | None = None
    p90_ns: int | None = None
    p99_ns: int | None = None
    max_ns: int | None = None

    @classmethod
    def of(cls, times_ns: Iterable[int]) -> Stage:
        """From all its times."""
        rising = sorted(times_ns)
        if not rising:
            return cls(0)
        return cls(len(rising), *(quantile(rising, each) for each in QUANTILES))


class Synchronous(msgspec.Struct, frozen=True):
    """Faults that the vcpu thread resolved itself; nulls where no line says so.

    `off_cpu_ns` of `took_ns` the thread was not on a CPU, for `reclaim_ns` it reclaimed memory.
    """

    count: int
    took_ns: int
    off_cpu_ns: int | None
    reclaim_ns: int | None


class Figures(msgspec.Struct, frozen=True):
    """All figures.  Times are in nanoseconds; a vcpu second is a second of one vcpu.

    `started` asynchronous faults were `injected` into the guest or `halted` its vcpu (`kernel`:
    of those whose mode is known, that were taken in kernel mode); `repeated` ones were on a page
    that the vcpu awaited already, `refused` ones found no memory or 64 others.  `late` READYs were
    not for the oldest open fault of their vcpu, `early` ones came before the guest was told;
    `writes`: how many of the started ones were on writes.  Of the guest, where it is told of:
    `waits` of its tasks until their wake, and `unslept` ones, whose wake came before.
    """

    span_ns: int
    vcpus: int
    started: int
    injected: int
    halted: int
    user: int
    kernel: int
    repeated: int
    refused: int
    completed: int
    ready: int
    broadcasts: int
    silent: int
    acks: int
    interrupts: int
    writes: int
    late: int
    early: int
    open: int
    outstanding_max_vcpu: int
    outstanding_max_vm: int
    outstanding_mean: float
    submission: Stage
    completion: Stage
    delivery: Stage
    whole: Stage
    synchronous: Synchronous
    halts: dict[str, int]
    halted_ns: dict[str, int]
    idle_ns: int
    gained_ns: int
    waits: Stage = Stage(0)
    unslept: int = 0

    @property
    def for_a_page_ns(self) -> int:
        """All halts that end when a page comes."""
        return sum(ns for why, ns in self.halted_ns.items() if why not in NOT_FOR_A_PAGE)

    @property
    def stood_still_ns(self) -> int:
        """What vcpus stood still for pages all the same."""
        return self.for_a_page_ns + self.synchronous.took_ns + self.idle_ns

    @property
    def blackout_ns(self) -> int:
        """What they would have stood still without asynchronous page faults, at least."""
        return self.gained_ns + self.stood_still_ns

    @property
    def waited(self) -> int:
        """All faults that waited for a page, asynchronous or not."""
        return self.started + self.repeated + self.refused + self.synchronous.count


class _Open:
    """An asynchronous fault between its start and its READY."""

    __slots__ = ("completed_ns", "injected", "started_ns", "told_ns")

    def __init__(self, started_ns: int) -> None:
        self.started_ns = started_ns
        self.injected = False
        self.told_ns: int | None = None
        self.completed_ns: int | None = None


class _Vcpu:
    """What one vcpu waits for; `awaited` pages it was told of, and are not there."""

    __slots__ = ("awaited", "gained", "halted_ns", "halted_why", "open", "since_ns")

    def __init__(self) -> None:
        self.open: dict[int, _Open] = {}
        self.awaited = 0
        self.halted_why = ""
        self.halted_ns = 0
        self.since_ns: int | None = None
        self.gained: list[tuple[int, int]] = []


class _Vm:
    """How many faults are open in a VM, and for how long as many; who waits for a page itself."""

    __slots__ = ("at_ns", "open", "open_max", "synchronous", "weighed_ns")

    def __init__(self) -> None:
        self.open = 0
        self.open_max = 0
        self.at_ns = 0
        self.weighed_ns = 0
        self.synchronous: defaultdict[int, list[tuple[_Vcpu, int]]] = defaultdict(list)

    def change(self, at_ns: int, by: int) -> None:
        self.weighed_ns += self.open * (at_ns - self.at_ns)
        self.at_ns = at_ns
        self.open += by
        self.open_max = max(self.open_max, self.open)


class FigureCounter:
    """Takes events in the order of each VM; `figures` says what they come to."""

    def __init__(self, slow_ns: int = SLOW_NS) -> None:
        self.slow_ns = slow_ns
        self.starts_ns = array("q")
        """When asynchronous faults started."""
        self.gfns = array("q")
        """The pages of faults that waited, asynchronous or not."""
        self.completions_ns = array("q")
        self._stages: dict[str, array[int]] = {
            name: array("q") for name in ("submission", "delivery", "whole", "waits")
        }
        self._counts: Counter[str] = Counter()
        self._halts: Counter[str] = Counter()
        self._halted_ns: Counter[str] = Counter()
        self._vms: defaultdict[str, _Vm] = defaultdict(_Vm)
        self._vcpus: defaultdict[tuple[str, int], _Vcpu] = defaultdict(_Vcpu)
        self._first_ns: int | None = None
        self._last_ns = 0
        self._open_max = 0
        self._gained_ns = self._idle_ns = 0
        self._took_ns = self._off_cpu_ns = self._reclaim_ns = 0
        # The values take the type they are filed under; mypy cannot say so of a dict.
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            ApfStarted: self._on_started,
            PageNotPresent: self._on_not_present,
            PageReady: self._on_page_ready,
            PagesPushed: self._on_pages_pushed,
            ExceptionInjected: self._on_injected,
            WorkerCompleted: self._on_completed,
            ApfPresented: self._on_presented,
            ApfCleared: self._on_cleared,
            InterruptQueued: self._on_interrupt,
            MsrWritten: self._on_msr,
            VcpuHalted: self._on_halted,
            VcpuResumed: self._on_resumed,
            SyncFault: self._on_synchronous,
            TaskWoken: self._on_woken,
            DummyConsumed: self._on_unslept,
        }

    def feed(self, events: Iterable[Event]) -> None:
        """Take in events, each VM's in its own order."""
        handlers = self._handlers
        for event in events:
            handler = handlers.get(type(event))
            if handler is not None:
                if self._first_ns is None:
                    self._first_ns = event.at_ns
                self._last_ns = max(self._last_ns, event.at_ns)
                handler(event)

    # ------------------------------------------------------------------ asynchronous faults

    def _on_started(self, event: ApfStarted) -> None:
        if event.outcome != "queued":
            repeated = event.outcome in ("double_fault", "duplicate")
            self._counts["repeated" if repeated else "refused"] += 1
            return
        assert event.token is not None, event
        vcpu = self._vcpus[event.vm, event.vcpu]
        self._counts["started"] += 1
        self.starts_ns.append(event.at_ns)
        self.gfns.append(event.gfn)
        vcpu.open[event.token] = _Open(event.at_ns)
        self._open_max = max(self._open_max, len(vcpu.open))
        self._vms[event.vm].change(event.at_ns, 1)
        self._settle(vcpu, event.at_ns)

    def _on_not_present(self, event: PageNotPresent) -> None:
        vcpu = self._vcpus[event.vm, event.vcpu]
        if event.delivery == "synchronous":
            if not event.served:
                self._vms[event.vm].synchronous[event.gfn].append((vcpu, event.at_ns))
            return
        if event.delivery == "injected" and event.token in vcpu.open:
            vcpu.open[event.token].injected = True
        self._counts[event.delivery] += 1
        self._counts["writes"] += event.access == "write"
        if event.cpl is not None:
            self._counts["user" if event.cpl else "kernel"] += 1

    def _on_injected(self, event: ExceptionInjected) -> None:
        vcpu = self._vcpus[event.vm, event.vcpu]
        found = vcpu.open.get(event.token)
        if event.kind != "not_present" or found is None:
            return
        found.told_ns = event.at_ns
        self._stages["submission"].append(event.at_ns - found.started_ns)
        self._settle(vcpu, event.at_ns)
        if found.completed_ns is None:
            vcpu.awaited += 1
            self._look(vcpu, event.at_ns)

    def _on_completed(self, event: WorkerCompleted) -> None:
        vcpu = self._vcpus[event.vm, event.vcpu]
        found = vcpu.open.get(event.token)
        self._counts["completed"] += 1
        if found is None:
            return
        found.completed_ns = event.at_ns
        self.completions_ns.append(event.at_ns - found.started_ns)
        if found.told_ns is not None:
            vcpu.awaited -= 1
            self._look(vcpu, event.at_ns)

    def _on_presented(self, event: ApfPresented) -> None:
        self._counts[event.delivery] += 1
        vcpu = self._vcpus[event.vm, event.vcpu]
        if event.token not in vcpu.open:
            return
        oldest = next(iter(vcpu.open))
        found = self._close(event.vm, vcpu, event.token, event.at_ns)
        self._counts["late"] += oldest != event.token
        self._stages["whole"].append(event.at_ns - found.started_ns)
        if found.completed_ns is not None:
            self._stages["delivery"].append(event.at_ns - found.completed_ns)
        self._counts["early"] += found.injected and found.told_ns is None

    def _on_cleared(self, event: ApfCleared) -> None:
        vcpu = self._vcpus[event.vm, event.vcpu]
        for token in event.tokens:
            if token in vcpu.open:
                self._close(event.vm, vcpu, token, event.at_ns)

    def _close(self, vm: str, vcpu: _Vcpu, token: int, at_ns: int) -> _Open:
        found = vcpu.open.pop(token)
        self._vms[vm].change(at_ns, -1)
        if found.told_ns is not None and found.completed_ns is None:
            vcpu.awaited -= 1
            self._look(vcpu, at_ns)
        return found

    def _on_interrupt(self, event: InterruptQueued) -> None:
        self._counts["interrupts"] += 1

    def _on_msr(self, event: MsrWritten) -> None:
        self._counts["acks"] += event.msr == MSR_KVM_ASYNC_PF_ACK and event.ok

    # ------------------------------------------------------------------ tasks that wait

    def _on_woken(self, event: TaskWoken) -> None:
        self._stages["waits"].append(event.waited_ns)

    def _on_unslept(self, event: DummyConsumed) -> None:
        self._counts["unslept"] += 1

    # ------------------------------------------------------------------ vcpus that stand still

    def _on_halted(self, event: VcpuHalted) -> None:
        vcpu = self._vcpus[event.vm, event.vcpu]
        self._halts[event.why] += 1
        if not vcpu.halted_why:
            self._settle(vcpu, event.at_ns)
            vcpu.halted_ns = event.at_ns
        vcpu.halted_why = event.why
        self._look(vcpu, event.at_ns)

    def _on_resumed(self, event: VcpuResumed) -> None:
        self._resume(self._vcpus[event.vm, event.vcpu], event.at_ns)

    def _resume(self, vcpu: _Vcpu, at_ns: int) -> None:
        if vcpu.halted_why:
            self._look(vcpu, at_ns)
            self._halted_ns[vcpu.halted_why] += at_ns - vcpu.halted_ns
            vcpu.halted_why = ""
            self._look(vcpu, at_ns)

    def _on_page_ready(self, event: PageReady) -> None:
        """Of a run: the vcpu threads that waited for this page go on."""
        self._is_in(event.vm, event.at_ns, event.gfn)

    def _on_pages_pushed(self, event: PagesPushed) -> None:
        for gfn in event.gfns:
            self._is_in(event.vm, event.at_ns, gfn)

    def _is_in(self, vm: str, at_ns: int, gfn: int) -> None:
        for vcpu, since_ns in self._vms[vm].synchronous.pop(gfn, ()):
            self._stood(vcpu, gfn, since_ns, at_ns)

    def _on_synchronous(self, event: SyncFault) -> None:
        vcpu = self._vcpus[event.vm, event.vcpu]
        if self._stood(vcpu, event.gfn, event.at_ns - event.took_ns, event.at_ns):
            for name, ns in (("off_cpu", event.off_cpu_ns), ("reclaim", event.reclaim_ns)):
                if ns is not None:
                    self._counts[name] += 1
            self._off_cpu_ns += event.off_cpu_ns or 0
            self._reclaim_ns += event.reclaim_ns or 0

    def _stood(self, vcpu: _Vcpu, gfn: int, from_ns: int, at_ns: int) -> bool:
        """A fault that the vcpu thread resolved itself; True if it was a slow one."""
        self._look(vcpu, at_ns)
        vcpu.gained = [(a, min(b, from_ns)) for a, b in vcpu.gained if a < from_ns]
        if at_ns - from_ns < self.slow_ns:
            return False
        self._counts["synchronous"] += 1
        self.gfns.append(gfn)
        self._took_ns += at_ns - from_ns
        return True

    def _look(self, vcpu: _Vcpu, at_ns: int) -> None:
        """What it waits for, or whether it is halted, may have changed: end a stretch, begin one.

        A stretch is one of gain, or of HLT while a page is awaited.
        """
        if vcpu.since_ns is not None and vcpu.since_ns < at_ns:
            if not vcpu.halted_why:
                vcpu.gained.append((vcpu.since_ns, at_ns))
            elif vcpu.halted_why == "hlt":
                self._idle_ns += at_ns - vcpu.since_ns
        vcpu.since_ns = at_ns if vcpu.awaited else None

    def _settle(self, vcpu: _Vcpu, at_ns: int) -> None:
        """The vcpu does something that it cannot do in a fault: what was gained by now counts."""
        self._look(vcpu, at_ns)
        self._gained_ns += sum(b - a for a, b in vcpu.gained)
        vcpu.gained.clear()

    def forget(self) -> None:
        """Lines are lost: what was open, or stood still, may have ended unseen."""
        for (name, _), vcpu in self._vcpus.items():
            self._settle(vcpu, self._last_ns)
            self._vms[name].change(self._last_ns, -len(vcpu.open))
        self._vcpus = defaultdict(_Vcpu, {key: _Vcpu() for key in self._vcpus})

    # ------------------------------------------------------------------ what it comes to

    def figures(self, span_ns: int | None = None) -> Figures:
        """All figures by now; `span_ns`: how long it was, where the events do not show it."""
        count, last_ns = self._counts, self._last_ns
        span_ns = span_ns or last_ns - (self._first_ns or 0)
        for vcpu in self._vcpus.values():
            why = vcpu.halted_why
            self._resume(vcpu, last_ns)
            vcpu.halted_why, vcpu.halted_ns = why, last_ns
            self._settle(vcpu, last_ns)
        for vm in self._vms.values():
            vm.change(last_ns, 0)
        weighed_ns = sum(vm.weighed_ns for vm in self._vms.values())
        return Figures(
            span_ns=span_ns,
            vcpus=len(self._vcpus),
            **{
                name: count[name]
                for name in (
                    "started", "injected", "halted", "user", "kernel", "repeated", "refused",
                    "completed", "silent", "acks", "interrupts", "writes", "late", "early",
                )
            },
            ready=count["token"] + count["silent"],
            broadcasts=count["broadcast"],
            open=sum(len(vcpu.open) for vcpu in self._vcpus.values()),
            outstanding_max_vcpu=self._open_max,
            outstanding_max_vm=max((vm.open_max for vm in self._vms.values()), default=0),
            outstanding_mean=weighed_ns / span_ns if span_ns else 0.0,
            submission=Stage.of(self._stages["submission"]),
            completion=Stage.of(self.completions_ns),
            delivery=Stage.of(self._stages["delivery"]),
            whole=Stage.of(self._stages["whole"]),
            synchronous=Synchronous(
                count["synchronous"],
                self._took_ns,
                self._off_cpu_ns if count["off_cpu"] else None,
                self._reclaim_ns if count["reclaim"] else None,
            ),
            halts=dict(sorted(self._halts.items())),
            halted_ns=dict(sorted(self._halted_ns.items())),
            idle_ns=self._idle_ns,
            gained_ns=self._gained_ns,
            waits=Stage.of(self._stages["waits"]),
            unslept=count["unslept"],
        )  # fmt: skip
