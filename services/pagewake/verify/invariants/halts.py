"""I7: a halt ends only by completion, interrupt, NMI, reset, signal, or coming online.

Halts and resumptions of a vcpu alternate; what has a cause in the log must have it: a completion
since the halt or still waiting in `done`, a reset, an NMI, an online (semantics 3.6, 3.7, 3.9). And
a vcpu that is halted, or waits for workers before it clears its queue (semantics 3.11), for a frame
(semantics 3.3) or for a CPU of the host, executes nothing; without a CPU it presents nothing, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    ApfStarted,
    BroadcastQueued,
    ClearBegun,
    CpuAwaited,
    CpuFound,
    Event,
    ExceptionInjected,
    FrameAwaited,
    FrameFound,
    NmiArrived,
    PageNotPresent,
    ReasonLatched,
    SmiArrived,
    TaskSlept,
    TrapTaken,
    VcpuHalted,
    VcpuOnline,
    VcpuReset,
    VcpuResumed,
    WorkerCompleted,
)
from pagewake.verify.invariants.base import Checker, Handler, Reporter
from pagewake.verify.invariants.rules import Rules

Executed: TypeAlias = (
    PageNotPresent | ApfStarted | TrapTaken | TaskSlept | ExceptionInjected | ReasonLatched
)
"""What a vcpu that is halted cannot do."""


class _Vcpu:
    """What the log has said of a vcpu so far: by this its halts are judged."""

    __slots__ = ("causes", "clearing", "done", "halted", "off_cpu", "short")

    def __init__(self) -> None:
        self.halted: VcpuHalted | None = None
        self.clearing: ClearBegun | None = None
        self.short: FrameAwaited | None = None
        self.off_cpu: CpuAwaited | None = None
        self.done = 0
        self.causes: dict[str, int] = {}


class Halts(Checker):
    """Every halt and every end of one has its reason."""

    name = "I7"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._vcpus: dict[int, _Vcpu] = {}

    def handlers(self) -> Mapping[type[Event], Handler]:
        executing: dict[type[Event], Handler] = dict.fromkeys(
            (ApfStarted, TrapTaken, TaskSlept, ExceptionInjected, ReasonLatched),
            self._executes,
        )
        return executing | {
            PageNotPresent: self._touches,
            VcpuHalted: self._halted,
            VcpuResumed: self._resumed,
            WorkerCompleted: self._completed,
            BroadcastQueued: self._completed,
            ApfPresented: self._presented,
            ClearBegun: self._clear_begun,
            FrameAwaited: self._frame_awaited,
            FrameFound: self._frame_found,
            CpuAwaited: self._cpu_awaited,
            CpuFound: self._cpu_found,
            ApfCleared: self._cleared,
            NmiArrived: self._cause("nmi"),
            SmiArrived: self._cause("smi"),
            VcpuReset: self._cause("reset"),
            VcpuOnline: self._cause("online"),
        }

    def _vcpu(self, vcpu: int) -> _Vcpu:
        state = self._vcpus.get(vcpu)
        if state is None:
            state = self._vcpus[vcpu] = _Vcpu()
        return state

    def _cause(self, why: str) -> Handler:
        def note(event: NmiArrived | SmiArrived | VcpuReset | VcpuOnline) -> None:
            self._vcpu(event.vcpu).causes[why] = event.n

        return note

    def _completed(self, event: WorkerCompleted | BroadcastQueued) -> None:
        state = self._vcpu(event.vcpu)
        state.done += 1
        state.causes["completion"] = event.n

    def _presented(self, event: ApfPresented) -> None:
        state = self._vcpu(event.vcpu)
        if state.done or not self.rules.partial:
            state.done -= 1
        state.causes["completion"] = event.n
        if state.off_cpu is not None:
            self.fail(event, f"presented while it waits for a CPU since n={state.off_cpu.n}")

    def _clear_begun(self, event: ClearBegun) -> None:
        self._vcpu(event.vcpu).clearing = event

    def _frame_awaited(self, event: FrameAwaited) -> None:
        self._vcpu(event.vcpu).short = event

    def _frame_found(self, event: FrameFound) -> None:
        state = self._vcpu(event.vcpu)
        if state.short is None or state.short.gfn != event.gfn:
            self.fail(event, f"nobody waited for a frame for gfn {event.gfn:#x}")
        state.short = None

    def _cpu_awaited(self, event: CpuAwaited) -> None:
        state = self._vcpu(event.vcpu)
        if state.off_cpu is not None:
            self.fail(event, f"waits for a CPU, as it does since n={state.off_cpu.n}")
        state.off_cpu = event

    def _cpu_found(self, event: CpuFound) -> None:
        state = self._vcpu(event.vcpu)
        if state.off_cpu is None:
            self.fail(event, "found a CPU without a wait for one")
        state.off_cpu = None

    def _cleared(self, event: ApfCleared) -> None:
        state = self._vcpu(event.vcpu)
        state.done = 0
        state.clearing = None

    def _halted(self, event: VcpuHalted) -> None:
        state = self._vcpu(event.vcpu)
        if state.halted is not None:
            self.fail(event, f"halted ({event.why}) while halted since n={state.halted.n}")
        state.halted = event

    def _resumed(self, event: VcpuResumed) -> None:
        state = self._vcpu(event.vcpu)
        halted, state.halted = state.halted, None
        if halted is None:
            self.fail(event, f"resumed ({event.why}) without a halt")
        elif not self._caused(state, event.why, halted.n):
            self.fail(event, f"halt of n={halted.n} ended by {event.why}, but there was none")

    @staticmethod
    def _caused(state: _Vcpu, why: str, since: int) -> bool:
        if why == "completion":
            return state.causes.get(why, 0) > since or state.done > 0
        if why == "online":  # may be asked for while the CPU is still on its way down; counts once
            return state.causes.pop(why, None) is not None
        return why not in ("nmi", "smi", "reset") or why in state.causes

    def _touches(self, event: PageNotPresent) -> None:
        if event.why != "prefault":  # the vcpu thread's own, perhaps in the very exit of HLT
            self._executes(event)

    def _executes(self, event: Executed) -> None:
        state = self._vcpus.get(event.vcpu)
        if state is not None and state.halted is not None:
            self.fail(event, f"executed while halted since n={state.halted.n}")
        if state is not None and state.clearing is not None:
            self.fail(event, f"executed while it waits for workers since n={state.clearing.n}")
        if state is not None and state.short is not None:
            self.fail(event, f"executed while it waits for a frame since n={state.short.n}")
        if state is not None and state.off_cpu is not None:
            self.fail(event, f"executed while it waits for a CPU since n={state.off_cpu.n}")
