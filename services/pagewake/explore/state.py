"""The state of a small machine as plain values, and back.

What a state is made of is listed here, class by class: attributes that are kept, that hold objects,
and those that do not matter (time, counters, what is fixed once it is built).  A class with an
attribute that stands in none of the three is refused as the machine is built, so nothing that a
rule adds can be forgotten.  The values are relative to the present, so two states that differ in
time alone are equal; written down by `marshal` they are the key of a state as well as a copy of it.

Objects that stand for the whole life of a machine (vcpus, tasks, tables) are filled again, all
others made anew.  A state is a tuple of parts, of which a step alters few: only those that differ
from what the objects hold are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import compress
from operator import ne
from typing import Any, Final, NamedTuple, TypeAlias

from pagewake.errors import InternalError
from pagewake.guest_kernel import overlays
from pagewake.guest_kernel.apf_area import ApfArea
from pagewake.guest_kernel.hotplug import Call, WriteMsr
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.scheduler import RunQueue
from pagewake.guest_kernel.sleepers import Entry, Sleepers
from pagewake.guest_kernel.streams import PatternStream
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.touch_buffer import STEP_TOUCHES_MIN
from pagewake.guest_kernel.vcpu import GuestCpu
from pagewake.kvm.async_pf import AsyncPf, Work
from pagewake.kvm.gfn_hash import SLOTS
from pagewake.kvm.machine import Machine
from pagewake.kvm.modes import Mode
from pagewake.kvm.page_table import PageTable
from pagewake.kvm.ports import PendingException
from pagewake.kvm.read_ahead import ReadAhead
from pagewake.kvm.thread import Clearing, Unfinished, VcpuThread
from pagewake.kvm.vm import InFlight
from pagewake.nested_svm.hypervisor import Exit, NestedSvm
from pagewake.nested_svm.inner_guest import InnerGuests
from pagewake.nested_svm.inner_vcpu import DueExit, InnerVcpu
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
        ("agenda", "areas", "config", "consumed", "costs", "cpus", "digest", "emulator", "found",
         "guest", "handler", "host_short", "huge", "journal_out", "kswapd", "n", "name", "on_host",
         "pages", "read_ahead", "reclaiming", "silent", "switches", "to_host", "touched", "until",
         "vcpus"),
    ),
    "ReadAhead": Kept(("_hits", "_last", "_size"), ("_ahead",),
                      ("_at_slot", "_next_slot", "_slots", "kind", "most")),
    "Vcpu": Kept(
        ("mp_halted", "lapic_on", "nmi", "irqs", "area_failures", "blackout_gfn", "timer_at",
         "unpaged_until_ns", "stall_ns", "works"),
        ("mode", "exc", "clearings"),
        ("acct_since", "apf", "cpu", "gen", "guest", "host_exits", "id", "looks", "nested", "poll",
         "spending", "timers", "vm"),
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
    "PageTable": Kept((), ("state", "mapped", "held"),
                      ("accessed", "base", "copied_in", "dirty", "source")),
}  # fmt: skip

WHATS: Final[tuple[type[overlays.What], ...]] = (
    overlays.Trap, overlays.Interrupts, overlays.Spin, overlays.NmiDone, overlays.Switched,
    overlays.Iret, overlays.IrqExit, overlays.Boot, overlays.Booted, overlays.Disabled,
    overlays.InnerLatch,
)  # fmt: skip
NUMBER_OF: Final = {kind: number for number, kind in enumerate(WHATS)}


STREAM: Final = ("cpu_ns", "touches")
"""What a stream of touches has of its own."""


def _fields(kind: type[Saved]) -> tuple[str, ...]:
    return tuple(sorted(attributes(kind.__new__(kind))))


def _compiled(source: str, **names: object) -> Any:  # noqa: ANN401 - the function that it makes
    """The function `made` of this source: attributes by name, several times as fast as getattr."""
    exec(source, names)  # noqa: S102 - made of names of attributes
    return names["made"]


def _all_of(held: str, names: Sequence[str]) -> str:
    return "(" + "".join(f"{held}.{name}, " for name in names) + ")"


def _reader(names: Sequence[str]) -> Callable[[Any], Values]:
    """A function that reads these attributes of an object at once."""
    return _compiled(f"made = lambda held: {_all_of('held', names)}")  # type: ignore[no-any-return]


def _reader_of_all(named: Sequence[tuple[object, Sequence[str]]]) -> Callable[[], tuple[Values]]:
    """The same for many objects."""
    read = ", ".join(_all_of(f"h{place}", names) for place, (_, names) in enumerate(named))
    held = {f"h{place}": each for place, (each, _) in enumerate(named)}
    return _compiled(f"made = lambda: ({read},)", **held)  # type: ignore[no-any-return]


def _writer(names: Sequence[str]) -> Callable[[Any, Values], None]:
    """A function that writes these attributes of an object at once."""
    body = f"{_all_of('held', names)} = values"
    return _compiled(f"def made(held, values): {body}")  # type: ignore[no-any-return]


def _maker(kind: type[Saved]) -> Callable[[Values], Any]:
    """A function that makes an object of its values."""
    body = f"held = new(kind); {_all_of('held', FIELDS[kind])} = values; return held"
    return _compiled(  # type: ignore[no-any-return]
        f"def made(values): {body}", new=kind.__new__, kind=kind
    )


FIELDS: Final[dict[type[Saved], tuple[str, ...]]] = {
    kind: _fields(kind)
    for kind in (*WHATS, Work, InFlight, Unfinished, PendingException, Clearing, Entry, ApfArea)
}
OUT: Final = {kind: _reader(names) for kind, names in FIELDS.items()}
IN: Final = {kind: _maker(kind) for kind in FIELDS}


def _out(value: Saved) -> Values:
    return OUT[type(value)](value)


def _all_out(values: Collection[Saved]) -> Values:
    """Of objects; there are none nearly always, and then this is to cost nothing."""
    return tuple([OUT[type(each)](each) for each in values]) if values else ()


def _in(kind: type[Saved], values: Values) -> Any:  # noqa: ANN401 - of that kind
    return IN[kind](values)


def _over_out(over: overlays.Overlay | None) -> Values:
    if over is None:
        return None
    what = over.what
    kind = type(what)
    return NUMBER_OF[kind], OUT[kind](what), over.end_ns, over.left_ns


def _over_in(values: Values) -> overlays.Overlay | None:
    if values is None:
        return None
    number, what, end_ns, left_ns = values
    return overlays.Overlay(_in(WHATS[number], what), end_ns, left_ns)


def _call_in(values: Values) -> Call:
    return WriteMsr(*values) if isinstance(values, tuple) else values


def _in_order(held: dict[Any, Any]) -> dict[Any, Any]:
    """In order of its keys, as it is once it is filled."""
    return held if len(held) < 2 else dict(sorted(held.items()))


def _plain(held: object) -> tuple[str, ...]:
    """The plain attributes of an object; none may be in no list."""
    kept = KEPT[type(held).__name__]
    unknown = {*attributes(held)} - {*kept.plain, *kept.made, *kept.fixed}
    if unknown:
        raise InternalError(
            f"explore: {type(held).__name__} has {', '.join(sorted(unknown))}, of which "
            "explore/state.py does not say whether a state differs by it"
        )
    return kept.plain


NO_WORK: Final = ((), (), ())


class _Part(NamedTuple):
    """What is read, compared and filled at once."""

    held: Any
    read: Callable[[Any], Values]
    fill: Callable[[Any, Values], None]


class State:
    """Writes down and fills the objects of one kernel; `spans` are the gfns that can differ."""

    def __init__(self, kernel: GuestKernel, spans: list[tuple[int, int]]) -> None:
        self.kernel = kernel
        self.vm: Machine = kernel.vm
        self.spans = spans
        self.tasks = kernel.all_tasks()
        self.index: dict[Task | None, int] = {None: -1}
        self.index |= {task: number for number, task in enumerate(self.tasks)}
        self.inner = kernel.inner if isinstance(kernel.inner, InnerGuests) else None
        self._svms = list(self._all_svms())
        self._inner_vcpus = self.inner.vcpus if self.inner else []
        self._patterns = [
            task.stream for task in self.tasks if isinstance(task.stream, PatternStream)
        ]
        base = self.inner.memory.base if self.inner else 0
        size = self.inner.memory.pages if self.inner else 0
        self._inner_spans = [
            (low - base, high - base) for low, high in spans if base <= low and high <= base + size
        ]
        plain = [(held, _plain(held)) for held in self._held() if _plain(held)]
        self._plain_out = _reader_of_all(plain)
        self._parts = list(self._all_parts())
        self._fills = [(held, _writer(names)) for held, names in plain]
        self._fills += [(part.held, part.fill) for part in self._parts]
        self._now: tuple[Values, ...] | None = None

    def _held(self) -> Iterator[object]:
        kernel, vm = self.kernel, self.vm
        yield vm
        if vm.read_ahead is not None:
            yield vm.read_ahead
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

    def _all_parts(self) -> Iterator[_Part]:
        """Areas come before the CPUs, which look into them."""
        kernel, vm = self.kernel, self.vm
        yield _Part(vm, self._vm_out, self._vm_in)
        yield _Part(vm.pages, self._pages_out, self._pages_in)
        if vm.read_ahead is not None:
            yield _Part(vm.read_ahead, self._ahead_out, self._ahead_in)
        yield _Part(kernel, self._areas_out, self._areas_in)
        yield _Part(kernel.sleepers, self._sleepers_out, self._sleepers_in)
        for thread in vm.vcpus:
            yield _Part(thread, self._thread_out, self._thread_in)
            yield _Part(thread.apf, self._apf_out, self._apf_in)
        for cpu in kernel.cpus:
            yield _Part(cpu, self._cpu_out, self._cpu_in)
            yield _Part(cpu.rq, self._queue_out, self._queue_in)
        for task in self.tasks:
            if task.stream is not None:
                yield _Part(task.stream, _reader(STREAM), _writer(STREAM))
        if self.inner is not None:
            yield _Part(self.inner, self._inner_out, self._inner_in)
            for vcpu in self._inner_vcpus:
                yield _Part(vcpu, self._inner_vcpu_out, self._inner_vcpu_in)
                yield _Part(vcpu.rq, self._queue_out, self._queue_in)

    # ------------------------------------------------------------------ the whole

    def out(self) -> Values:
        """The state as it is now."""
        self._now = (*self._plain_out(), *[part.read(part.held) for part in self._parts])
        return self._now

    def forget(self) -> None:
        """The objects are about to differ from what was written down or filled last."""
        self._now = None

    def fill(self, values: Values) -> None:
        """The state becomes what was written down."""
        now, fills = self._now, self._fills
        if now is None:
            for (each, fill), value in zip(fills, values, strict=True):
                fill(each, value)
        else:
            for place in compress(range(len(fills)), map(ne, now, values)):
                each, fill = fills[place]
                fill(each, values[place])
        self._now = values
        self._settle()

    def _settle(self) -> None:
        """What no state says, as it has one value whenever a step begins."""
        areas = self.kernel.areas
        for thread, cpu in zip(self.vm.vcpus, self.kernel.cpus, strict=True):
            thread.gen = 0
            cpu.area = areas[cpu.area_gpa]
        for vcpu in self._inner_vcpus:
            vcpu.rq.exec_start_ns = vcpu.rq.min_vruntime = 0
        for stream in self._patterns:
            stream._clean = stream.touches
            stream._step = STEP_TOUCHES_MIN

    # ------------------------------------------------------------------ the VM

    def _vm_out(self, vm: Machine) -> Values:
        if not vm.in_flight:
            return (), _all_out(vm.short)
        flights = vm.in_flight = _in_order(vm.in_flight)
        return (
            tuple([(gfn, at.fresh, at.first, tuple(at.waiters)) for gfn, at in flights.items()]),
            _all_out(vm.short),
        )

    @staticmethod
    def _vm_in(vm: Machine, values: Values) -> None:
        in_flight, short = values
        vm.in_flight = {}
        for gfn, fresh, first, waiters in in_flight:
            flight = vm.in_flight[gfn] = InFlight(fresh, first)
            flight.waiters = list(waiters)
        vm.short = [_in(Unfinished, each) for each in short]

    def _pages_out(self, table: PageTable) -> Values:
        table.held = _in_order(table.held)
        return (
            b"".join([table.state[low:high] for low, high in self.spans]),
            b"".join([table.mapped[low:high] for low, high in self.spans]),
            tuple(table.held.items()),
        )

    def _pages_in(self, table: PageTable, values: Values) -> None:
        state, mapped, held = values
        at = 0
        for low, high in self.spans:
            end = at + high - low
            table.state[low:high] = state[at:end]
            table.mapped[low:high] = mapped[at:end]
            at = end
        table.held = dict(held)

    @staticmethod
    def _ahead_out(ahead: ReadAhead) -> Values:
        ahead._ahead = _in_order(ahead._ahead)
        return tuple(ahead._ahead)

    @staticmethod
    def _ahead_in(ahead: ReadAhead, values: Values) -> None:
        ahead._ahead = dict.fromkeys(values)

    @staticmethod
    def _thread_out(thread: VcpuThread) -> Values:
        return (
            int(thread.mode),
            None if thread.exc is None else _out(thread.exc),
            _all_out(thread.clearings),
        )

    @staticmethod
    def _thread_in(thread: VcpuThread, values: Values) -> None:
        mode, exc, clearings = values
        thread.mode = Mode(mode)
        thread.exc = None if exc is None else _in(PendingException, exc)
        thread.clearings = [_in(Clearing, each) for each in clearings]

    @staticmethod
    def _apf_out(apf: AsyncPf) -> Values:
        done = apf.done
        if not (apf.queue or done or apf.gfn_hash._used):
            return NO_WORK
        return (
            _all_out(apf.queue.values()),
            tuple([None if work is None else work.token for work in done]) if done else (),
            tuple(apf.gfn_hash._slots) if apf.gfn_hash._used else (),
        )

    @staticmethod
    def _apf_in(apf: AsyncPf, values: Values) -> None:
        queue, done, slots = values
        apf.queue = {work.token: work for work in (_in(Work, each) for each in queue)}
        apf.done = [None if token is None else apf.queue[token] for token in done]
        apf.gfn_hash._slots = list(slots) if slots else [-1] * SLOTS

    # ------------------------------------------------------------------ the guest

    @staticmethod
    def _areas_out(kernel: GuestKernel) -> Values:
        areas = kernel.areas = _in_order(kernel.areas)
        slept = kernel.slept_at = _in_order(kernel.slept_at)
        area_out = OUT[ApfArea]
        return (
            tuple([(gpa, area_out(area)) for gpa, area in areas.items()]),
            tuple([(name, token) for name, (_, token) in slept.items()]) if slept else (),
        )

    @staticmethod
    def _areas_in(kernel: GuestKernel, values: Values) -> None:
        areas, slept = values
        kernel.areas = {gpa: _in(ApfArea, area) for gpa, area in areas}
        kernel.slept_at = {name: (0, token) for name, token in slept}

    @staticmethod
    def _sleepers_out(sleepers: Sleepers[str]) -> Values:
        return _all_out(sleepers._entries.values()), tuple(sleepers._lost.items())

    @staticmethod
    def _sleepers_in(sleepers: Sleepers[str], values: Values) -> None:
        entries, lost = values
        made = [_in(Entry, each) for each in entries]
        sleepers._entries = {entry.token: entry for entry in made}
        sleepers._lost = dict(lost)

    def _cpu_out(self, cpu: GuestCpu) -> Values:
        calls, suspended = cpu.calls, cpu.suspended
        return (
            _over_out(cpu.over),
            None if suspended is None else _over_out(suspended),
            tuple([each if isinstance(each, str) else tuple(each) for each in calls])
            if calls
            else (),
            self.index[cpu.curr],
        )

    def _cpu_in(self, cpu: GuestCpu, values: Values) -> None:
        over, suspended, calls, curr = values
        cpu.over = _over_in(over)
        cpu.suspended = _over_in(suspended)
        cpu.calls = [_call_in(call) for call in calls]
        cpu.curr = None if curr < 0 else self.tasks[curr]

    def _queue_out(self, rq: RunQueue) -> Values:
        index, waiting = self.index, rq.waiting
        return tuple([index[task] for task in waiting]) if waiting else (), index[rq.curr]

    def _queue_in(self, rq: RunQueue, values: Values) -> None:
        waiting, curr = values
        rq.waiting = [self.tasks[number] for number in waiting]
        rq.curr = None if curr < 0 else self.tasks[curr]

    # ------------------------------------------------------------------ a guest's guest

    def _inner_out(self, inner: InnerGuests) -> Values:
        inner.latch_stall_ns = _in_order(inner.latch_stall_ns)
        memory = inner.memory
        return (
            tuple(inner.latch_stall_ns.items()),
            tuple([bytes(memory.mapped[low:high]) for low, high in self._inner_spans]),
            tuple([bytes(memory.present[low:high]) for low, high in self._inner_spans]),
            tuple([None if svm.owed is None else tuple(svm.owed) for svm in self._svms]),
        )

    def _inner_in(self, inner: InnerGuests, values: Values) -> None:
        stalls, mapped, present, owed = values
        inner.latch_stall_ns = dict(stalls)
        memory = inner.memory
        for (low, high), maps, there in zip(self._inner_spans, mapped, present, strict=True):
            memory.mapped[low:high] = maps
            memory.present[low:high] = there
        for svm, due in zip(self._svms, owed, strict=True):
            svm.owed = None if due is None else Exit(*due)

    def _inner_vcpu_out(self, vcpu: InnerVcpu) -> Values:
        return (
            self.index[vcpu.curr],
            (tuple(vcpu.pending.exit), vcpu.pending.rcx),
            tuple([(tuple(due.exit), due.rcx) for due in vcpu.boot]),
        )

    def _inner_vcpu_in(self, vcpu: InnerVcpu, values: Values) -> None:
        curr, pending, boot = values
        vcpu.curr = None if curr < 0 else self.tasks[curr]
        vcpu.pending = DueExit(Exit(*pending[0]), pending[1])
        vcpu.boot = [DueExit(Exit(*left), rcx) for left, rcx in boot]
