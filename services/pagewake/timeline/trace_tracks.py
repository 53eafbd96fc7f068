"""What a VM's events look like on a timeline.

`VmTracks` is fed one VM's events in order and hands them on at once, so times never go back on a
track; `Tracks` is who takes them: a trace file, or the recorder of a report. A vcpu is in one state
at a time, a duration span; L2 is a span inside *running*, where it can be derived: from an exit
that L0 kept to the next event of that vcpu. Arrows are bound to the vcpu states around them and
named by (VM, token, occurrence), because tokens come again.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from pagewake.events import types as ev
from pagewake.timeline.interventions import in_words
from pagewake.timeline.on_cpu import NOBODY, Guest, OnCpu
from pagewake.verify.invariants.base import BROADCAST_TOKEN, Handler, token_name
from pagewake.verify.log_run import PlacedEvent

TableEvent: TypeAlias = ev.DummyInserted | ev.DummyConsumed | ev.DummyUnlinked | ev.SleeperFreed
ArrowPart: TypeAlias = Literal["start", "step", "finish"]
RUNNING = "running"
BLACKOUT = "waiting for a page"
FRAME = "waiting for a frame"
"""Before a fault can be asynchronous."""
WORKERS = "waiting for workers"
"""Before the vcpu's queue is emptied."""
STEAL = "waiting for a CPU"
"""The host has fewer than threads want."""
PENDING = "halted: idle, an exception pending"
"""HLT has put the vcpu to sleep though something waits to be injected into it."""
INTERVENTION = "intervention"
"""The key, among the arguments of an instant, of what was done to the VM."""
NEVER_TOLD = {
    "write_failed": "silent: the host could not write its reason",
    "cancelled": "silent: it cancelled a NOT_PRESENT that waited for entry",
    "msr_off": "silent: asynchronous page faults are off",
    "not_due": "not due: the guest was not told of the fault",
    "msr-disable": "withdrawn: the guest turned asynchronous page faults off",
    "reset": "withdrawn: the vcpu was reset",
    "cr0-pg": "withdrawn: the guest switched paging",
    "migration": "cancelled: the VM was migrated",
    "handler_crash": "lost: who was to bring the page crashed",
}
"""Why there was no READY for a token, by the reason that the event has."""


class Tracks(Protocol):
    """Takes the tracks of one VM. Sleeps and arrows are numbered, each from 1, per VM."""

    def add_vcpu(self, vcpu: int) -> None:
        """A vcpu is heard of for the first time; its track begins."""

    def begin(self, at_ns: int, vcpu: int, state: str) -> None:
        """A span begins on the vcpu's track, inside the one that is open."""

    def end(self, at_ns: int, vcpu: int, state: str) -> None:
        """The innermost open span of the vcpu, which is this one, ends."""

    def begin_sleep(self, at_ns: int, task: str, number: int, args: dict[str, object]) -> None:
        """A task sleeps; sleeps of several tasks overlap."""

    def end_sleep(self, at_ns: int, task: str, number: int, args: dict[str, object]) -> None:
        """The sleep of this number has ended."""

    def instant(self, at_ns: int, vcpu: int | None, name: str, args: dict[str, object]) -> None:
        """Something happened on a vcpu, or to the whole VM."""

    def arrow(self, part: ArrowPart, at_ns: int, vcpu: int, number: int) -> None:
        """An arrow leaves, passes or reaches the state that the vcpu is in."""

    def never(self, at_ns: int, vcpu: int, number: int, why: str, *, injected: bool) -> None:
        """The arrow ends without a READY; `injected`: the guest was told of the fault, and waits.

        `why` is a key of `NEVER_TOLD`.
        """

    def ran(self, vcpu: int, task: str, from_ns: int, until_ns: int) -> None:
        """A task ran on the vcpu, or one of several did; slices of a vcpu come in order."""

    def counter(self, at_ns: int, name: str, value: int) -> None:
        """A counter has another value from now on."""


class _Vcpu:
    """Open spans of one vcpu, innermost last; `waits_for` is the gfn of a synchronous wait.

    `pending`: an exception is queued for the next entry.  `before`: what it was when it began to
    wait for workers.
    """

    __slots__ = ("before", "l2", "pending", "state", "waits_for")

    def __init__(self) -> None:
        self.state = ""
        self.before = ""
        self.l2 = False
        self.pending = False
        self.waits_for: int | None = None


class VmTracks:
    """Turns the events of one VM into its tracks; `guest` says which tasks it has."""

    def __init__(self, out: Tracks, guest: Guest = NOBODY, *, host_alone: bool = False) -> None:
        """`host_alone`: nothing is told of the guest, so an arrow ends where READY is told."""
        self._out = out
        self._host_alone = host_alone
        self._on_cpu = OnCpu(guest, out.ran)
        self._vcpus: dict[int, _Vcpu] = {}
        self._asleep: dict[str, int] = {}
        self._sleeps = 0
        self._flows: dict[int, int] = {}
        self._injected: set[int] = set()
        self._flow = 0
        self._queued = 0
        self.last_ns = 0
        self._handlers: dict[type[ev.Event], Handler] = {
            ev.PageNotPresent: self._not_present,
            ev.PageReady: self._ready,
            ev.PagesPushed: self._pushed,
            ev.ApfStarted: self._started,
            ev.UserFault: self._user_fault,
            ev.UserFaultLost: self._lost,
            ev.WorkerCompleted: self._completed,
            ev.ApfPresented: self._presented,
            ev.FrameAwaited: self._frame_awaited,
            ev.FrameFound: self._frame_found,
            ev.CpuAwaited: self._cpu_awaited,
            ev.CpuFound: self._cpu_found,
            ev.ClearBegun: self._clear_begun,
            ev.ApfCleared: self._cleared,
            ev.BroadcastQueued: self._broadcast,
            ev.BroadcastLost: self._broadcast_lost,
            ev.DoubleFault: self._double_fault,
            ev.ExceptionQueued: self._exception_queued,
            ev.ExceptionInjected: self._exception_injected,
            ev.ExceptionDropped: self._dropped,
            ev.InterruptQueued: self._interrupt,
            ev.TrapTaken: self._trap,
            ev.TaskSlept: self._slept,
            ev.TaskWoken: self._woken,
            ev.DummyInserted: self._table("dummy inserted"),
            ev.DummyConsumed: self._table("dummy consumed"),
            ev.DummyUnlinked: self._table("dummy unlinked"),
            ev.SleeperFreed: self._table("sleeper freed"),
            ev.VcpuHalted: self._halted,
            ev.VcpuResumed: self._resumed,
            ev.ExitRouted: self._routed,
            ev.NestedVmexit: self._vmexit,
            ev.ReasonLatched: self._latched,
            ev.TaskFinished: self._finished,
            ev.TaskKilled: self._killed,
            ev.ProtocolFault: self._fault,
            ev.GuestPanicked: self._panicked,
            ev.SyncFault: self._sync_fault,
        }

    def take(self, placed: PlacedEvent) -> None:
        event = placed.event
        self.last_ns = event.at_ns
        self._on_cpu.take(event)
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)
        elif isinstance(event, ev.Control):
            self._control(event)

    def running(self, until_ns: int) -> list[tuple[int, str, int, int]]:
        """Slices of tasks that may go on: vcpu, task, from when, until when at least."""
        return self._on_cpu.so_far(until_ns)

    def complain(self, placed: PlacedEvent, what: str) -> None:
        """A log whose order cannot be rebuilt shows what went wrong, where it did."""
        self._mark(placed.event, what)

    def close(self, at_ns: int) -> None:
        """End every open span at the end of the run."""
        for task, sleep in self._asleep.items():
            self._out.end_sleep(at_ns, task, sleep, {"ended": "asleep at the end"})
        for vcpu in self._vcpus:
            self._enter(vcpu, at_ns, "")
        self._on_cpu.close()

    # ------------------------------------------------------------------ vcpu states

    def _vcpu(self, vcpu: int) -> _Vcpu:
        state = self._vcpus.get(vcpu)
        if state is None:
            state = self._vcpus[vcpu] = _Vcpu()
            self._out.add_vcpu(vcpu)
            self._enter(vcpu, 0, RUNNING)
        return state

    def _enter(self, vcpu: int, at_ns: int, state: str) -> None:
        """The vcpu is in another state from now on; the empty one ends its track."""
        open_ = self._vcpu(vcpu)
        self._leave_l2(vcpu, at_ns)
        if open_.state == state:
            return
        if open_.state:
            self._out.end(at_ns, vcpu, open_.state)
        if state:
            self._out.begin(at_ns, vcpu, state)
        if RUNNING in {open_.state, state}:
            follow = self._on_cpu.runs if state == RUNNING else self._on_cpu.stops
            follow(vcpu, at_ns)
        open_.state = state

    def _enter_l2(self, vcpu: int, at_ns: int) -> None:
        open_ = self._vcpu(vcpu)
        if open_.state == RUNNING and not open_.l2:
            self._out.begin(at_ns, vcpu, "L2")
            open_.l2 = True

    def _leave_l2(self, vcpu: int, at_ns: int) -> None:
        open_ = self._vcpu(vcpu)
        if open_.l2:
            self._out.end(at_ns, vcpu, "L2")
            open_.l2 = False

    def _halted(self, event: ev.VcpuHalted) -> None:
        state = f"halted: {'idle' if event.why == 'hlt' else event.why}"
        if event.why == "hlt" and self._vcpu(event.vcpu).pending:
            state = PENDING
        self._enter(event.vcpu, event.at_ns, state)

    def _resumed(self, event: ev.VcpuResumed) -> None:
        self._enter(event.vcpu, event.at_ns, RUNNING)
        self._mark(event, f"resumed by {event.why}")

    # ------------------------------------------------------------------ from not-present to ready

    def _not_present(self, event: ev.PageNotPresent) -> None:
        name = f"not present ({event.delivery})"
        self._mark(event, name, gfn=f"{event.gfn:#x}", why=event.why, task=event.task)
        if event.token is not None:
            self._flow += 1
            self._flows[event.token] = self._flow
            if event.delivery == "injected":
                self._injected.add(self._flow)
            self._arrow("start", event, event.vcpu, self._flow)
        elif event.delivery == "synchronous" and not event.served:
            self._enter(event.vcpu, event.at_ns, BLACKOUT)
            self._vcpu(event.vcpu).waits_for = event.gfn

    def _ready(self, event: ev.PageReady) -> None:
        self._is_in(event.at_ns, event.gfn)

    def _pushed(self, event: ev.PagesPushed) -> None:
        for gfn in event.gfns:
            self._is_in(event.at_ns, gfn)

    def _is_in(self, at_ns: int, gfn: int) -> None:
        for vcpu, open_ in self._vcpus.items():
            if open_.waits_for == gfn:
                open_.waits_for = None
                self._enter(vcpu, at_ns, RUNNING)

    def _started(self, event: ev.ApfStarted) -> None:
        if event.outcome == "queued":
            self._count_queued(event, +1)
        elif event.outcome not in ("double_fault", "duplicate"):
            self._mark(event, f"refused: {event.outcome}", gfn=f"{event.gfn:#x}")

    def _user_fault(self, event: ev.UserFault) -> None:
        where = "ring" if event.ring else "exit"
        self._mark(event, f"user space is told: {where}", token=token_name(event.token))

    def _lost(self, event: ev.UserFaultLost) -> None:
        self._never(event, event.token, "handler_crash")

    def _completed(self, event: ev.WorkerCompleted) -> None:
        self._mark(event, "page is there", token=token_name(event.token), page=event.page)

    def arrow_of(self, token: int) -> int | None:
        """The number of the arrow from this token's not-present, while it is on its way."""
        return self._flows.get(token)

    def _presented(self, event: ev.ApfPresented) -> None:
        if event.token == BROADCAST_TOKEN:
            self._mark(event, f"broadcast presented ({event.delivery})")
            return
        self._count_queued(event, -1)
        self._mark(event, f"{event.delivery} ready", token=token_name(event.token), why=event.why)
        if event.delivery == "token":
            self._arrow("step", event, event.vcpu, self._flows.get(event.token))
            if self._host_alone:
                self._told(event, event.token)
        else:
            self._never(event, event.token, event.why or event.delivery)

    def _frame_awaited(self, event: ev.FrameAwaited) -> None:
        self._mark(event, "needs a frame", gfn=f"{event.gfn:#x}")
        self._enter(event.vcpu, event.at_ns, FRAME)

    def _frame_found(self, event: ev.FrameFound) -> None:
        self._enter(event.vcpu, event.at_ns, RUNNING)

    def _cpu_awaited(self, event: ev.CpuAwaited) -> None:
        self._enter(event.vcpu, event.at_ns, STEAL)

    def _cpu_found(self, event: ev.CpuFound) -> None:
        if self._vcpu(event.vcpu).state == STEAL:
            self._enter(event.vcpu, event.at_ns, RUNNING)

    def _clear_begun(self, event: ev.ClearBegun) -> None:
        vcpu = self._vcpu(event.vcpu)
        vcpu.before = RUNNING if vcpu.state == STEAL else vcpu.state
        tokens = [token_name(token) for token in event.tokens]
        self._mark(event, f"waits to clear: {event.why}", tokens=tokens)
        self._enter(event.vcpu, event.at_ns, WORKERS)

    def _cleared(self, event: ev.ApfCleared) -> None:
        vcpu = self._vcpu(event.vcpu)
        if vcpu.state == WORKERS:
            self._enter(event.vcpu, event.at_ns, vcpu.before)
        tokens = [token for token in event.tokens if token != BROADCAST_TOKEN]
        self._count_queued(event, -len(tokens))
        self._mark(event, f"cleared: {event.why}", tokens=[token_name(t) for t in event.tokens])
        for token in tokens:
            self._never(event, token, event.why)

    def _trap(self, event: ev.TrapTaken) -> None:
        self._leave_l2(event.vcpu, event.at_ns)
        token = token_name(event.cr2 & 0xFFFFFFFF)
        self._mark(event, f"trap: {event.handler}", cr2=token, reason=event.reason, task=event.task)
        if event.handler == "wake":
            self._told(event, event.cr2 & 0xFFFFFFFF)

    def _latched(self, event: ev.ReasonLatched) -> None:
        self._mark(event, f"L{event.level} latched {event.apf_reason}", token=hex(event.token))
        if event.apf_reason == 2:
            self._told(event, event.token)

    # ------------------------------------------------------------------ tasks

    def _slept(self, event: ev.TaskSlept) -> None:
        self._leave_l2(event.vcpu, event.at_ns)
        self._wake_up(event.task, event.at_ns, "slept again")
        self._sleeps += 1
        self._asleep[event.task] = self._sleeps
        args = {"token": token_name(event.token), "vcpu": event.vcpu, "halted": event.halted}
        self._out.begin_sleep(event.at_ns, event.task, self._sleeps, args)
        self._count_sleepers(event.at_ns)

    def _woken(self, event: ev.TaskWoken) -> None:
        self._wake_up(event.task, event.at_ns, event.how)
        self._count_sleepers(event.at_ns)

    def _wake_up(self, task: str, at_ns: int, how: str) -> None:
        sleep = self._asleep.pop(task, None)
        if sleep is not None:
            self._out.end_sleep(at_ns, task, sleep, {"ended": how})

    # ------------------------------------------------------------------ instants

    def _broadcast(self, event: ev.BroadcastQueued) -> None:
        self._mark(event, "broadcast queued")

    def _broadcast_lost(self, event: ev.BroadcastLost) -> None:
        self._mark(event, "broadcast lost: no memory")

    def _double_fault(self, event: ev.DoubleFault) -> None:
        self._mark(event, "double fault", gfn=f"{event.gfn:#x}")

    def _exception_queued(self, event: ev.ExceptionQueued) -> None:
        vcpu = self._vcpu(event.vcpu)
        vcpu.pending = True
        if vcpu.state == "halted: idle":
            self._enter(event.vcpu, event.at_ns, PENDING)

    def _exception_injected(self, event: ev.ExceptionInjected) -> None:
        self._vcpu(event.vcpu).pending = False
        level = "" if event.level == 1 else f" into L{event.level}"
        self._mark(event, f"injected {event.kind}{level}", token=token_name(event.token))
        if event.kind == "not_present":
            self._arrow("step", event, event.vcpu, self._flows.get(event.token))

    def _dropped(self, event: ev.ExceptionDropped) -> None:
        vcpu = self._vcpu(event.vcpu)
        vcpu.pending = False
        if vcpu.state == PENDING:
            self._enter(event.vcpu, event.at_ns, "halted: idle")
        self._mark(event, f"dropped {event.kind}: {event.why}", token=token_name(event.token))

    def _interrupt(self, event: ev.InterruptQueued) -> None:
        self._mark(event, f"interrupt: {event.kind}", token=token_name(event.token))

    def _table(self, what: str) -> Handler:
        def mark(event: TableEvent) -> None:
            self._mark(event, what, token=token_name(event.token))

        return mark

    def _routed(self, event: ev.ExitRouted) -> None:
        if event.level == 0:
            self._leave_l2(event.vcpu, event.at_ns)
        code = f"{event.exit_code:#05x}"
        self._mark(event, f"L{event.level} exit {code}: {event.route}", apf=event.apf_reason)
        if event.level == 0 and event.route != "done":
            self._enter_l2(event.vcpu, event.at_ns)

    def _vmexit(self, event: ev.NestedVmexit) -> None:
        self._leave_l2(event.vcpu, event.at_ns)
        code = f"{event.exit_code:#05x}"
        self._mark(event, f"#VMEXIT {code} to L{event.level}", reason=event.reason)

    def _finished(self, event: ev.TaskFinished) -> None:
        self._mark(event, f"{event.task} finished")

    def _killed(self, event: ev.TaskKilled) -> None:
        self._mark(event, f"L{event.level} {event.task} killed", token=token_name(event.token))

    def _fault(self, event: ev.ProtocolFault) -> None:
        self._mark(event, event.what, detail=event.detail)

    def _panicked(self, event: ev.GuestPanicked) -> None:
        self._mark(event, f"panic: {event.why}")

    def _sync_fault(self, event: ev.SyncFault) -> None:
        """Told of when it is over; nothing else was open on the vcpu meanwhile."""
        self._mark(event, "synchronous fault", gfn=f"{event.gfn:#x}", took_ns=event.took_ns)
        self._out.begin(event.at_ns - event.took_ns, event.vcpu, BLACKOUT)
        self._out.end(event.at_ns, event.vcpu, BLACKOUT)

    def _control(self, event: ev.Control) -> None:
        self._mark(event, in_words(event), **{INTERVENTION: type(event).__name__})

    # ------------------------------------------------------------------ writing

    def _mark(self, event: ev.Event, name: str, **args: object) -> None:
        vcpu = getattr(event, "vcpu", None)
        if vcpu is not None:
            self._vcpu(vcpu)
        shown = {key: value for key, value in args.items() if value is not None}
        self._out.instant(event.at_ns, vcpu, name, {"n": event.n} | shown)

    def _arrow(self, part: ArrowPart, event: ev.Event, vcpu: int, flow: int | None) -> None:
        if flow is not None:
            self._out.arrow(part, event.at_ns, vcpu, flow)

    def _told(self, event: ev.TrapTaken | ev.ReasonLatched | ev.ApfPresented, token: int) -> None:
        flow = self._flows.pop(token, None)
        if flow is not None:
            self._injected.discard(flow)
        self._arrow("finish", event, event.vcpu, flow)

    def _never(
        self, event: ev.ApfPresented | ev.ApfCleared | ev.UserFaultLost, token: int, why: str
    ) -> None:
        flow = self._flows.pop(token, None)
        if flow is not None:
            injected = flow in self._injected
            self._injected.discard(flow)
            self._out.never(event.at_ns, event.vcpu, flow, why, injected=injected)

    def _count_queued(self, event: ev.Event, change: int) -> None:
        self._queued += change
        self._out.counter(event.at_ns, "queued", self._queued)

    def _count_sleepers(self, at_ns: int) -> None:
        self._out.counter(at_ns, "sleepers", len(self._asleep))
