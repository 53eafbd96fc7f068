"""The state of a small machine as plain values, and back.

What a state is made of is listed here, class by class: attributes that are kept, that hold objects,
and those that do not matter (time, counters, what is fixed once it is built).  A class with an
attribute that stands in none of the three is refused as the machine is built, so nothing that a
rule adds can be forgotten.  The values are relative to the present, so two states that differ in
time alone are equal; written down by `marshal` they are the key of a state as well as a copy of it.

Objects that stand for the whole life of a machine (vcpus, tasks, tables) are filled again, all
others made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from pagewake.errors import InternalError
from pagewake.guest_kernel import overlays
from pagewake.guest_kernel.apf_area import ApfArea
from pagewake.guest_kernel.hotplug import Call, WriteMsr
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.sleepers import Entry, Sleepers
from pagewake.guest_kernel.streams import PatternStream, WorkStream
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.touch_buffer import STEP_TOUCHES_MIN
from pagewake.guest_kernel.vcpu import GuestCpu
from pagewake.kvm.async_pf import AsyncPf, Work
from pagewake.kvm.machine import Machine
from pagewake.kvm.modes import Mode
from pagewake.kvm.ports import PendingException
from pagewake.kvm.thread import Clearing, ShortOfFrame
from pagewake.kvm.vm import InFlight
from pagewake.nested_svm.hypervisor import Exit, NestedSvm
from pagewake.nested_svm.inner_guest import InnerGuests
from pagewake.nested_svm.inner_vcpu import DueExit
from pagewake.simtime.state import Saved, attributes

Values: TypeAlias = Any
"""Numbers, texts, and tuples of them."""
LONG_NS: Final = 1 << 40
"""Longer than anything of a small machine takes: a slice that is used up, a timer that is far."""


class Kept(NamedTuple):
    """Attributes of a class: plain values that are kept, and those that `State` has a way for."""

    plain: tuple[str, ...]
    made: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


KEPT: Final[dict[str, Kept]] = {
    "Machine": Kept(
        ("epoch", "stock", "room", "gup_failures", "host_alloc_failures", "joining",
         "medium_cost_ns", "synchronous", "panicked", "frozen_ns"),
        ("in_flight", "short"),
        ("agenda", "config", "consumed", "costs", "digest", "guest", "handler", "journal_out", "n",
         "name", "pages", "silent", "switches", "to_host", "touched", "until", "vcpus"),
    ),
    "Vcpu": Kept(
        ("mp_halted", "lapic_on", "nmi", "irqs", "area_failures", "blackout_gfn", "timer_at",
         "unpaged_until_ns", "stall_ns"),
        ("mode", "exc", "clearings"),
        ("acct_since", "apf", "cpu", "gen", "guest", "host_exits", "id", "nested", "spending",
         "timers", "vm"),
    ),
    "AsyncPf": Kept(
        ("area_ok", "as_vmexit", "gpa", "halt_requested", "halt_why", "halted", "id", "int_vector",
         "msr_val", "pageready_pending", "queued", "send_user_only"),
        ("queue", "done", "gfn_hash"),
        ("enabling_bits", "token_nonzero", "vcpu"),
    ),
    "GuestCpu": Kept(
        ("ack_due", "area_gpa", "idle_halting", "need_resched", "nmi_halting", "online", "stopping",
         "if_flag", "cpl", "shadow", "guest_mode", "depth", "mm", "since_ns", "next_balance_ns"),
        ("curr", "over", "suspended", "calls", "area"),
        ("apf_vector", "id", "kernel", "rq", "thread", "vm"),
    ),
    "RunQueue": Kept(("slice_start_ns",), ("waiting", "curr"),
                     ("config", "exec_start_ns", "min_vruntime")),
    "Task": Kept(
        ("cpl", "cpu", "cpu_ns", "if_flag", "left_ns", "pc", "preempt_count", "state", "vruntime"),
        ("stream", "inner"),
        ("base_gfn", "group", "index", "level", "name", "pinned", "request", "requests",
         "requests_done", "script", "sections", "start_ns", "touch_ns", "touches_memory", "weight",
         "work_step_ns"),
    ),
    "GuestKernel": Kept(
        ("alloc_failures", "unfinished", "place"),
        ("areas", "sleepers", "slept_at"),
        ("costs", "cpus", "inner", "scheduler", "switches", "tasks", "vm", "waiters"),
    ),
    "Sleepers": Kept(("leaked",), ("_entries", "_lost"), ("_multiplier",)),
    "NestedSvm": Kept(
        ("apf_reason", "guest_mode", "owed_apf"),
        ("owed",),
        ("_g1_open", "_g1_reopened", "_g2_open", "_gap_g3", "_gap_g5", "_keeps_own", "intercepts",
         "npt"),
    ),
    "InnerGuests": Kept((), ("latch_stall_ns", "memory"), ("kernel", "nested", "vcpus", "vm")),
    "InnerVcpu": Kept(
        ("cpu_ns", "exit_count", "fault_gfn", "left_ns", "next_exit_ns", "next_tick_ns", "phase"),
        ("boot", "curr", "pending", "rq", "svm"),
        ("_draws", "_exits", "_interval_ns", "index", "memory", "tasks", "tick_ns",
         "ticks_reach_l3"),
    ),
    "GfnHash": Kept(("_used",), ("_slots",), ("_multiplier", "_probe_fixed")),
    "PageTable": Kept((), ("state", "mapped", "held"), ("accessed", "base", "dirty")),
}  # fmt: skip

WHATS: Final[tuple[type[overlays.What], ...]] = (
    overlays.Trap, overlays.Interrupts, overlays.Spin, overlays.NmiDone, overlays.Switched,
    overlays.Iret, overlays.IrqExit, overlays.Boot, overlays.Booted, overlays.Disabled,
    overlays.InnerLatch,
)  # fmt: skip
NUMBER_OF: Final = {kind: number for number, kind in enumerate(WHATS)}


def _fields(kind: type[Saved]) -> tuple[str, ...]:
    return tuple(sorted(attributes(kind.__new__(kind))))


FIELDS: Final[dict[type[Saved], tuple[str, ...]]] = {
    kind: _fields(kind)
    for kind in (*WHATS, Work, InFlight, ShortOfFrame, PendingException, Clearing, Entry, ApfArea,
                 overlays.Overlay)
}  # fmt: skip


def _out(value: Saved) -> Values:
    kind = type(value)
    return tuple([getattr(value, name) for name in FIELDS[kind]])


def _in(kind: type[Saved], values: Values) -> Any:  # noqa: ANN401 - of that kind
    made = kind.__new__(kind)
    for name, value in zip(FIELDS[kind], values, strict=True):
        setattr(made, name, value)
    return made


def _reader(names: tuple[str, ...]) -> Callable[[Any], Values]:
    """A function that reads these attributes of an object at once."""
    if not names:
        return lambda _: ()
    if len(names) == 1:
        return lambda held: (getattr(held, names[0]),)
    return attrgetter(*names)


def _call_in(values: Values) -> Call:
    return WriteMsr(*values) if isinstance(values, tuple) else values


class _Plain:
    """Plain attributes of one object."""

    __slots__ = ("held", "names", "read")

    def __init__(self, held: object) -> None:
        kept = KEPT[type(held).__name__]
        unknown = {*attributes(held)} - {*kept.plain, *kept.made, *kept.fixed}
        if unknown:
            raise InternalError(
                f"explore: {type(held).__name__} has {', '.join(sorted(unknown))}, of which "
                "explore/state.py does not say whether a state differs by it"
            )
        self.held = held
        self.names = kept.plain
        self.read = _reader(kept.plain)

    def fill(self, values: Values) -> None:
        held = self.held
        for name, value in zip(self.names, values, strict=True):
            setattr(held, name, value)


class State:
    """Writes down and fills the objects of one kernel; `spans` are the gfns that can differ."""

    def __init__(self, kernel: GuestKernel, spans: list[tuple[int, int]]) -> None:
        self.kernel = kernel
        self.vm: Machine = kernel.vm
        self.spans = spans
        self.tasks = kernel.all_tasks()
        self.index = {task: number for number, task in enumerate(self.tasks)}
        self.inner = kernel.inner if isinstance(kernel.inner, InnerGuests) else None
        self._plain = [_Plain(held) for held in self._held()]
        self._sleepers: Sleepers[str] = kernel.sleepers
        self._svms = list(self._all_svms())
        self._inner_vcpus = self.inner.vcpus if self.inner else []
        self._queues = [cpu.rq for cpu in kernel.cpus] + [v.rq for v in self._inner_vcpus]
        base = self.inner.memory.base if self.inner else 0
        size = self.inner.memory.pages if self.inner else 0
        self._inner_spans = [
            (low - base, high - base) for low, high in spans if base <= low and high <= base + size
        ]

    def _held(self) -> Iterator[object]:
        kernel, vm = self.kernel, self.vm
        yield vm
        for thread, cpu in zip(vm.vcpus, kernel.cpus, strict=True):
            yield from (thread, thread.apf, thread.apf.gfn_hash, cpu, cpu.rq)
        yield from self.tasks
        yield kernel
        yield kernel.sleepers
        yield from self._all_svms()
        if self.inner is not None:
            yield self.inner
            for vcpu in self.inner.vcpus:
                yield from (vcpu, vcpu.rq)

    def _all_svms(self) -> Iterator[NestedSvm]:
        if self.inner is not None:
            yield from (side.svm for side in self.inner.nested)
            yield from (vcpu.svm for vcpu in self.inner.vcpus)

    # ------------------------------------------------------------------ out

    def out(self) -> Values:
        """The state as it is now."""
        return (
            tuple([each.read(each.held) for each in self._plain]),
            tuple([self._vcpu_out(number) for number in range(len(self.vm.vcpus))]),
            self._pages_out(),
            self._guest_out(),
            self._inner_out() if self.inner is not None else (),
        )

    def _vcpu_out(self, number: int) -> Values:
        thread = self.vm.vcpus[number]
        cpu = self.kernel.cpus[number]
        assert isinstance(cpu, GuestCpu)
        apf: AsyncPf = thread.apf
        return (
            int(thread.mode),
            None if thread.exc is None else _out(thread.exc),
            tuple([_out(each) for each in thread.clearings]),
            tuple([_out(work) for work in apf.queue.values()]),
            tuple([None if work is None else work.token for work in apf.done]),
            tuple(apf.gfn_hash._slots) if apf.gfn_hash._used else (),
            self._over_out(cpu.over),
            self._over_out(cpu.suspended),
            tuple([call if isinstance(call, str) else tuple(call) for call in cpu.calls]),
            -1 if cpu.curr is None else self.index[cpu.curr],
        )

    @staticmethod
    def _over_out(over: overlays.Overlay | None) -> Values:
        if over is None:
            return None
        return NUMBER_OF[type(over.what)], _out(over.what), over.end_ns, over.left_ns

    def _pages_out(self) -> Values:
        vm = self.vm
        table = vm.pages
        return (
            tuple([bytes(table.state[low:high]) for low, high in self.spans]),
            tuple([bytes(table.mapped[low:high]) for low, high in self.spans]),
            tuple(sorted(table.held.items())),
            tuple(
                [
                    (gfn, flight.fresh, flight.first, tuple(flight.waiters))
                    for gfn, flight in sorted(vm.in_flight.items())
                ]
            ),
            tuple([_out(each) for each in vm.short]),
        )

    def _guest_out(self) -> Values:
        kernel, sleepers, index = self.kernel, self._sleepers, self.index
        streams = [
            (task.stream.cpu_ns, task.stream.touches) if task.stream is not None else ()
            for task in self.tasks
        ]
        return (
            tuple([(gpa, _out(area)) for gpa, area in sorted(kernel.areas.items())]),
            tuple([_out(entry) for entry in sleepers._entries.values()]),
            tuple(sleepers._lost.items()),
            tuple([(name, token) for name, (_, token) in sorted(kernel.slept_at.items())]),
            tuple(streams),
            tuple(
                [
                    (
                        tuple([index[task] for task in rq.waiting]),
                        -1 if rq.curr is None else index[rq.curr],
                    )
                    for rq in self._queues
                ]
            ),
        )

    def _inner_out(self) -> Values:
        assert self.inner is not None
        memory = self.inner.memory
        return (
            tuple(sorted(self.inner.latch_stall_ns.items())),
            tuple([bytes(memory.mapped[low:high]) for low, high in self._inner_spans]),
            tuple([bytes(memory.present[low:high]) for low, high in self._inner_spans]),
            tuple([None if svm.owed is None else tuple(svm.owed) for svm in self._svms]),
            tuple(
                [
                    (
                        -1 if vcpu.curr is None else self.index[vcpu.curr],
                        (tuple(vcpu.pending.exit), vcpu.pending.rcx),
                        tuple([(tuple(due.exit), due.rcx) for due in vcpu.boot]),
                    )
                    for vcpu in self._inner_vcpus
                ]
            ),
        )

    # ------------------------------------------------------------------ in

    def fill(self, values: Values) -> None:
        """The state becomes what was written down."""
        plain, vcpus, pages, guest, inner = values
        for each, held in zip(self._plain, plain, strict=True):
            each.fill(held)
        self._pages_in(pages)
        self._guest_in(guest)
        for number, each in enumerate(vcpus):
            self._vcpu_in(number, each)
        if inner:
            self._inner_in(inner)

    def _vcpu_in(self, number: int, values: Values) -> None:
        thread = self.vm.vcpus[number]
        cpu = self.kernel.cpus[number]
        mode, exc, clearings, queue, done, slots, over, suspended, calls, curr = values
        thread.mode = Mode(mode)
        thread.gen = 0
        thread.exc = None if exc is None else _in(PendingException, exc)
        thread.clearings = [_in(Clearing, each) for each in clearings]
        apf = thread.apf
        apf.queue = {work.token: work for work in (_in(Work, each) for each in queue)}
        apf.done = [None if token is None else apf.queue[token] for token in done]
        apf.gfn_hash._slots = list(slots) if slots else [-1] * 64
        cpu.over = self._over_in(over)
        cpu.suspended = self._over_in(suspended)
        cpu.calls = [_call_in(call) for call in calls]
        cpu.curr = None if curr < 0 else self.tasks[curr]
        cpu.area = self.kernel.areas[cpu.area_gpa]

    @staticmethod
    def _over_in(values: Values) -> overlays.Overlay | None:
        if values is None:
            return None
        number, what, end_ns, left_ns = values
        return overlays.Overlay(_in(WHATS[number], what), end_ns, left_ns)

    def _pages_in(self, values: Values) -> None:
        state, mapped, held, in_flight, short = values
        vm = self.vm
        table = vm.pages
        for (low, high), states, maps in zip(self.spans, state, mapped, strict=True):
            table.state[low:high] = states
            table.mapped[low:high] = maps
        table.held = dict(held)
        vm.in_flight = {}
        for gfn, fresh, first, waiters in in_flight:
            flight = vm.in_flight[gfn] = InFlight(fresh, first)
            flight.waiters = list(waiters)
        vm.short = [_in(ShortOfFrame, each) for each in short]

    def _guest_in(self, values: Values) -> None:
        areas, entries, lost, slept, streams, queues = values
        kernel, sleepers, tasks = self.kernel, self._sleepers, self.tasks
        kernel.areas = {gpa: _in(ApfArea, area) for gpa, area in areas}
        made = [_in(Entry, each) for each in entries]
        sleepers._entries = {entry.token: entry for entry in made}
        sleepers._lost = dict(lost)
        kernel.slept_at = {name: (0, token) for name, token in slept}
        for task, held in zip(tasks, streams, strict=True):
            if held:
                self._stream_in(task, *held)
        for rq, (waiting, curr) in zip(self._queues, queues, strict=True):
            rq.waiting = [tasks[number] for number in waiting]
            rq.curr = None if curr < 0 else tasks[curr]
            rq.exec_start_ns = rq.min_vruntime = 0

    @staticmethod
    def _stream_in(task: Task, cpu_ns: int, touches: int) -> None:
        stream = task.stream
        assert isinstance(stream, WorkStream | PatternStream)
        stream.cpu_ns = cpu_ns
        stream.touches = touches
        if isinstance(stream, PatternStream):
            stream._clean = touches
            stream._step = STEP_TOUCHES_MIN

    def _inner_in(self, values: Values) -> None:
        assert self.inner is not None
        stalls, mapped, present, owed, vcpus = values
        self.inner.latch_stall_ns = dict(stalls)
        memory = self.inner.memory
        for (low, high), maps, there in zip(self._inner_spans, mapped, present, strict=True):
            memory.mapped[low:high] = maps
            memory.present[low:high] = there
        for svm, due in zip(self._svms, owed, strict=True):
            svm.owed = None if due is None else Exit(*due)
        for vcpu, (curr, pending, boot) in zip(self._inner_vcpus, vcpus, strict=True):
            vcpu.curr = None if curr < 0 else self.tasks[curr]
            vcpu.pending = DueExit(Exit(*pending[0]), pending[1])
            vcpu.boot = [DueExit(Exit(*left), rcx) for left, rcx in boot]
