"""A small machine whose next step is chosen: the VM of a scenario, by the rules of simulations.

Delays are arbitrary.  In every state some things can happen next: a vcpu makes its next step, a
page-in completes, a timer fires, a control event of the scenario comes.  Whichever is chosen
happens, and time moves on by as much as that step takes; everybody else is that much later.  So
time is order, and two states that differ in time alone are one.

What may happen without having to (ticks, preemption, interrupts, failures) has a budget each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from pagewake.errors import ConfigError
from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.explore.agenda import NO_VCPU, ChosenAgenda, Planned
from pagewake.explore.state import LONG_NS, State, Values
from pagewake.explore.symmetry import alike, fold
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.overlays import Switched
from pagewake.guest_kernel.tasks import Task
from pagewake.guest_kernel.vcpu import GuestCpu
from pagewake.kvm.abi import BROADCAST_TOKEN
from pagewake.kvm.modes import GUEST, HLT, OFFLINE
from pagewake.kvm.ports import (
    OP_DELIVER,
    OP_GUEST_LATER,
    OP_HOST_EXIT,
    OP_JOINED,
    OP_PAGING_ON,
    OP_TIMER,
    Op,
)
from pagewake.kvm.thread import VcpuThread
from pagewake.nested_svm.inner_vcpu import InnerVcpu
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.participants.regions import lay_out
from pagewake.scenario.model import Explore, Scenario, Vm
from pagewake.scenario.model import Task as ScenarioTask

PAGES_MAX: Final = 4096
"""Of all tasks together: a state has two bytes for each."""
FAR_NS: Final = 1_000_000_000
"""When an armed timer would fire by itself: later than any task computes at a stretch."""
STRETCH_NS: Final = 1_000_000
"""Longer ones are cut to this."""
PATTERNS_FOR_EVER: Final = ("random", "sequential", "zipf")
ROUNDS: Final = 8
"""How often a task that touches for ever touches each page, by far, before a timer would fire."""


class Choice(NamedTuple):
    """What happens next; `number` is the vcpu, the gfn, the task or the event that it is about."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


MUST: Final = ("vcpu", "join", "task", "paging", "page")
"""What is under way: it happens sooner or later."""
MAY: Final = (
    "tick", "preempt", "balance", "exit", "irq", "nmi", "alloc", "host_alloc", "write", "gup",
)  # fmt: skip
"""What has a budget, as `explore.budget` and `--budget` call it."""
KINDS: Final = (*MUST, "event", *MAY)


def choice_of(text: str) -> Choice:
    """A choice as a scenario has it; ConfigError for what is none."""
    kind, _, number = text.partition(" ")
    if kind not in KINDS or not number.isdecimal():
        raise ConfigError(f'explore.choices: "{text}" is no choice; it is written as in "vcpu 0"')
    return Choice(kind, int(number))


def explore_of(scenario: Scenario) -> Explore:
    """The scenario's bounds, or those of a scenario that says nothing of them."""
    return scenario.explore or Explore()


def refuse_large(scenario: Scenario) -> None:
    """ConfigError for a machine that is not small, or has what is not explored."""
    if len(scenario.instances()) != 1:
        raise ConfigError("explore: one VM at a time: keep one [[vm]] table with count = 1")
    vm = scenario.vms[0]
    if vm.userfault is not None:
        raise ConfigError("explore: pages that user space brings are not explored: no vm.userfault")
    host = scenario.host
    for key, given, why in (
        ("cpus", host.cpus, "when a thread runs is not explored"),
        ("halt_poll", host.halt_poll_ns, "when a thread runs is not explored"),
        ("huge_pages", host.huge_pages, "pages are explored one by one"),
        ("memory", host.memory_pages, "a host that runs short is not explored"),
    ):
        if given:
            raise ConfigError(f"explore: {why}: no host.{key}")
    costs = scenario.host.costs
    if costs.read_request_ns or costs.read_page_ns:
        raise ConfigError("explore: reads are begun at once: no host.costs.read_request, read_page")
    if vm.page_source != "swap":
        raise ConfigError(
            f'explore: pages come from swap here, not by "{vm.page_source}": what a source pushes '
            f'has no order that could be explored; leave page_source out, or set it to "swap"'
        )
    for key in ("swap", "zswap"):
        if getattr(scenario.host, key):
            raise ConfigError(
                f"explore: where pages lie in swap is not explored: leave out host.{key}"
            )
    served = [task.name for task in vm.tasks if task.pattern == "requests"]
    if served:
        raise ConfigError(f"explore: task {served[0]} serves requests, which is not explored")
    pages = sum(high - low for low, high in spans_of(vm))
    if pages > PAGES_MAX:
        raise ConfigError(
            f"explore: tasks touch {pages} pages, at most {PAGES_MAX} can be explored: give them "
            "a smaller working_set"
        )


def spans_of(vm: Vm) -> list[tuple[int, int]]:
    """The gfns that tasks touch, as ranges."""
    regions = lay_out(vm).regions.values()
    return sorted({(at.base, at.base + at.pages) for at in regions if at.pages})


def untimed(scenario: Scenario) -> Scenario:
    """The scenario without what holds things back: instants, long stretches, periods of ticks."""
    kernel = msgspec.structs.replace(
        scenario.kernel,
        hz=min(1, scenario.kernel.hz),
        idle_hz=min(1, scenario.kernel.idle_hz),
    )
    host = msgspec.structs.replace(
        scenario.host, hz=0, exits_per_s=float(explore_of(scenario).budget.exit > 0)
    )
    return msgspec.structs.replace(
        scenario, kernel=kernel, host=host, vms=tuple(map(_untimed_vm, scenario.vms))
    )


def _untimed_vm(vm: Vm) -> Vm:
    regions = lay_out(vm).regions
    pages = max((region.pages for region in regions.values()), default=0)
    return msgspec.structs.replace(vm, tasks=tuple(_untimed_task(task, pages) for task in vm.tasks))


def _untimed_task(task: ScenarioTask, pages: int) -> ScenarioTask:
    script = tuple(replace(step, at_ns=None, ns=min(step.ns, STRETCH_NS)) for step in task.script)
    finish_ns = task.finish_after_ns
    touch_ns = task.touch_ns
    if task.touches is not None:
        touch_ns = max(1, min(touch_ns, FAR_NS // (2 * task.touches)))
    elif task.pattern in PATTERNS_FOR_EVER and task.kernel_every_ns is None:
        touch_ns = FAR_NS // (ROUNDS * pages)
    return msgspec.structs.replace(
        task,
        script=script,
        start_ns=min(task.start_ns, STRETCH_NS),
        touch_ns=touch_ns,
        finish_after_ns=None if finish_ns is None else min(finish_ns, STRETCH_NS),
    )


def events_of(scenario: Scenario) -> list[ev.Control]:
    """What may be done to the machine once, at any point; a stall is a delay as any other."""
    vm = scenario.instances()[0].name
    listed = [event.control for event in scenario.events]
    listed += [event.control for event in explore_of(scenario).events]
    left_out = (ev.VcpuStalled, ev.MediumChanged)
    return [each for each in listed if each.vm == vm and not isinstance(each, left_out)]


class Asked(NamedTuple):
    """Who asked the host for a page, and when; `ahead`: for one beside it."""

    vcpu: int
    token: Token | None
    epoch: int
    at_ns: int
    ahead: bool


class SmallMachine:
    """See the module.  With `lookahead_ns` instants go on, as in a log; else the present is 0."""

    def __init__(self, scenario: Scenario, lookahead_ns: int | None = None) -> None:
        refuse_large(scenario)
        self.scenario = scenario
        self.lookahead_ns = lookahead_ns
        self.shard = build(RunPlan.of("explore", untimed(scenario), 1))[0].shards[0]
        self.kernel: GuestKernel = self.shard.kernels[0]
        self.vm = self.kernel.vm
        self.agenda = ChosenAgenda()
        self.now = 0
        self.own: list[Planned | None] = [None] * len(self.vm.vcpus)
        self.others: list[tuple[Op, int, Any]] = []
        self.events = events_of(scenario)
        self.left = (1 << len(self.events)) - 1
        budget = explore_of(scenario).budget
        self.budget = [getattr(budget, name) for name in MAY]
        self.asked: dict[int, Asked] = {}
        spans = spans_of(scenario.vms[0])
        if self.vm.room < sum(high - low for low, high in spans):
            raise ConfigError("explore: no page is evicted: give the VM a larger limit")
        self.state = State(self.kernel, spans)
        self.alike = alike(scenario, self.kernel)
        self._start()

    def _start(self) -> None:
        vm = self.vm
        self.kernel.unfinished += 1  # the machine goes on until it is quiet
        planned = vm.agenda
        while planned.next_ns < FAR_NS:
            at_ns, vcpu, gen, op, arg = planned.pop()
            self.agenda.pushed.append(Planned(at_ns, vcpu, gen, op, arg))
        vm.agenda = self.agenda
        vm.digest.room = LONG_NS
        self._settle(0)

    def boot(self) -> list[Choice]:
        """Have every CPU start, one after the other, up to its first task; the choices made."""
        made: list[Choice] = []
        for cpu in self.kernel.cpus:
            while self.own[cpu.id] is not None and not _is_up(cpu):
                made.append(Choice("vcpu", cpu.id))
                self.take(made[-1])
        return made

    # ------------------------------------------------------------------ what can happen

    def choices(self) -> list[Choice]:
        """All that can happen next, in an order that depends on the state alone."""
        if self.vm.frozen_ns is not None:
            return []
        return [*self.due(), *self.possible()]

    def due(self) -> list[Choice]:
        """What is under way, and happens sooner or later."""
        found = [Choice("vcpu", step.vcpu) for step in self.own if step is not None]
        for place, (op, vcpu, arg) in enumerate(self.others):
            if op is OP_GUEST_LATER:
                if not _idles(self.kernel.tasks[arg]):
                    found.append(Choice("task", arg))
            elif op is OP_JOINED:
                found.append(Choice("join", place))
            else:
                found.append(Choice("paging", vcpu))
        found += [Choice("page", gfn) for gfn in sorted(self.vm.in_flight)]
        return found

    def possible(self) -> Iterator[Choice]:
        """What may happen, and need not."""
        for number, event in enumerate(self.events):
            if self.left >> number & 1 and self._can_come(event):
                yield Choice("event", number)
        for kind, left in zip(MAY, self.budget, strict=True):
            if left:
                yield from self._within(kind)

    def _can_come(self, event: ev.Control) -> bool:
        """Tasks are frozen before a hibernation, and those that wait for a page cannot be."""
        if not isinstance(event, ev.KernelReplaced) or event.how != "hibernate":
            return True
        told = any(work.told for each in self.vm.vcpus for work in each.apf.queue.values())
        tokens = any(cpu.area.token not in (0, BROADCAST_TOKEN) for cpu in self.kernel.cpus)
        queued = any(each.exc is not None for each in self.vm.vcpus)
        return not (told or tokens or queued or self.kernel.slept_at)

    def _within(self, kind: str) -> Iterator[Choice]:
        if kind in ANYWHERE:
            if ANYWHERE[kind](self):
                yield Choice(kind, 0)
            return
        can = ON_VCPU[kind]
        for thread in self.vm.vcpus:
            if thread.mode is not OFFLINE and can(self, thread):
                yield Choice(kind, thread.id)

    # ------------------------------------------------------------------ making it happen

    def take(self, choice: Choice) -> list[ev.Event]:
        """This happens now; what was written down of it."""
        kind, number = choice
        self.state.forget()
        if kind == "vcpu":
            self._own(number)
        elif kind in ("join", "task", "paging"):
            self._other(self._place_of(choice))
        elif kind == "page":
            self._page_in(number)
        elif kind == "event":
            self.left &= ~(1 << number)
            self._deliver(self.events[number])
            self._leave_smm(self.events[number])
        else:
            self.budget[MAY.index(kind)] -= 1
            self._by_chance(kind, number)
        return self.written()

    def _place_of(self, choice: Choice) -> int:
        if choice.kind == "join":
            return choice.number
        op, at = (OP_GUEST_LATER, 2) if choice.kind == "task" else (OP_PAGING_ON, 1)
        return next(
            place
            for place, step in enumerate(self.others)
            if step[0] is op and step[at] == choice.number
        )

    def _own(self, number: int) -> None:
        step = self.own[number]
        assert step is not None
        self.own[number] = None
        at_ns = self._later(max(1, step.at_ns), number, step.at_ns)
        self._run(Planned(at_ns, number, self.vm.vcpus[number].gen, step.op, step.arg))

    def _other(self, place: int) -> None:
        op, vcpu, arg = self.others.pop(place)
        if op is OP_PAGING_ON:
            self.vm.vcpus[vcpu].unpaged_until_ns = 0
        self._run(Planned(self._later(1), vcpu, -1, op, arg))

    def _page_in(self, gfn: int) -> None:
        asked = self.asked.pop(gfn)
        soonest_ns = 0 if self.lookahead_ns is None else asked.at_ns + self.lookahead_ns
        at_ns = self._later(max(1, soonest_ns - self.now))
        name, token = self.vm.name, asked.token
        ready = ev.PageReady(
            at_ns, name, 0, asked.vcpu, Gfn(gfn), asked.epoch, token, ahead=asked.ahead
        )
        self._run(Planned(at_ns, NO_VCPU, 0, OP_DELIVER, ready))

    def _deliver(self, control: ev.Control) -> None:
        at_ns = self._later(1)
        event = msgspec.structs.replace(control, at_ns=at_ns)
        self._run(Planned(at_ns, NO_VCPU, 0, OP_DELIVER, event))

    def _leave_smm(self, control: ev.Control) -> None:
        """RSM follows an SMI before anything of the guest: both are one step."""
        if not isinstance(control, ev.SmiArrived):
            return
        for place, (op, vcpu, _) in enumerate(self.others):
            if op is OP_PAGING_ON and vcpu == control.vcpu:
                self._other(place)
                return

    def _by_chance(self, kind: str, number: int) -> None:
        if kind in CONTROLS:
            self._deliver(CONTROLS[kind](self.vm.name, number))
            return
        thread, cpu = self.vm.vcpus[number], self.kernel.cpus[number]
        at_ns = self._later(1)
        if kind == "exit":
            self._run(Planned(at_ns, number, -1, OP_HOST_EXIT, next(iter(thread.host_exits))))
            return
        if kind == "preempt":
            assert cpu.rq.curr is not None
            cpu.rq.slice_start_ns = at_ns - LONG_NS
            cpu.rq.curr.vruntime = LONG_NS
        elif kind == "balance":
            cpu.next_balance_ns = at_ns
        self._run(Planned(at_ns, number, -1, OP_TIMER, thread.timer_at))

    def _run(self, step: Planned) -> None:
        self.agenda.choose(step)
        self.vm.run(step.at_ns)
        self._settle(step.at_ns)

    # ------------------------------------------------------------------ time

    def _later(self, by_ns: int, chosen: int = NO_VCPU, planned_ns: int = 0) -> int:
        """The instant of the next step; who runs in a guest has not come any further by then."""
        for thread, cpu in zip(self.vm.vcpus, self.kernel.cpus, strict=True):
            if thread.mode is GUEST:
                late_ns = by_ns - planned_ns if thread.id == chosen else by_ns
                if cpu.over is not None:
                    cpu.over.end_ns += late_ns
                else:
                    cpu.since_ns += late_ns
        return self.now + by_ns

    def _settle(self, at_ns: int) -> None:
        """What was planned is sorted, and what is only time made the same in all states."""
        self.now = at_ns
        self._sort_planned(at_ns)
        for thread, cpu in zip(self.vm.vcpus, self.kernel.cpus, strict=True):
            self._settle_vcpu(thread, cpu, at_ns)
        for task in self.kernel.tasks:
            task.vruntime = LONG_NS if task.vruntime > LONG_NS // 2 else 0
            if task.sections is None:
                task.cpu_ns = 0
        if self.lookahead_ns is None:
            self._rebase()
        for event in self.vm.to_host:
            if isinstance(event, ev.PageNotPresent) and not (event.joined or event.served):
                asked_ns = 0 if self.lookahead_ns is None else event.at_ns
                for gfn in (gfn for gfns in event.ahead for gfn in gfns):
                    self.asked[gfn] = Asked(event.vcpu, None, event.epoch, asked_ns, ahead=True)
                asked = Asked(event.vcpu, event.token, event.epoch, asked_ns, ahead=False)
                self.asked[event.gfn] = asked

    def _sort_planned(self, at_ns: int) -> None:
        for step in self.agenda.take_pushed():
            if step.gen >= 0:
                by_ns = max(0, step.at_ns - at_ns)
                self.own[step.vcpu] = Planned(by_ns, step.vcpu, step.gen, step.op, step.arg)
            elif step.op not in (OP_TIMER, OP_HOST_EXIT):
                self.others.append((step.op, step.vcpu, step.arg))
        if len(self.others) > 1:
            self.others.sort(key=_order)
        for thread in self.vm.vcpus:
            planned = self.own[thread.id]
            if planned is None or planned.gen != thread.gen:
                self.own[thread.id] = None
            elif planned.gen:
                self.own[thread.id] = planned._replace(gen=0)
                thread.gen = 0

    def _settle_vcpu(self, thread: VcpuThread, cpu: GuestCpu, at_ns: int) -> None:
        rq = cpu.rq
        used_up = at_ns - rq.slice_start_ns > LONG_NS // 2
        if used_up and rq.curr is not None and rq.curr.vruntime <= LONG_NS // 2:
            used_up = False
        rq.slice_start_ns = at_ns - LONG_NS if used_up else at_ns
        rq.exec_start_ns = at_ns
        rq.min_vruntime = 0
        if cpu.next_balance_ns > at_ns:
            cpu.next_balance_ns = at_ns + LONG_NS
        if thread.timer_at:
            thread.timer_at = at_ns + FAR_NS
        thread.timers.clear()
        for period in thread.host_exits:
            thread.host_exits[period] = False
        thread.unpaged_until_ns = 0
        if self.others and any(
            op is OP_PAGING_ON and vcpu == thread.id for op, vcpu, _ in self.others
        ):
            thread.unpaged_until_ns = at_ns + LONG_NS
        if not thread.apf.halt_requested:
            thread.apf.halt_why = None

    def _rebase(self) -> None:
        """The present is 0, and what takes time of itself takes the least."""
        for thread, cpu in zip(self.vm.vcpus, self.kernel.cpus, strict=True):
            self._rebase_vcpu(thread, cpu)
        self.now = 0
        self.vm.digest.pending.clear()
        for group in self.alike:
            fold(self.kernel, group)

    def _rebase_vcpu(self, thread: VcpuThread, cpu: GuestCpu) -> None:
        rq = cpu.rq
        rq.slice_start_ns = -LONG_NS if rq.slice_start_ns < rq.exec_start_ns else 0
        rq.exec_start_ns = 0
        cpu.next_balance_ns = 0 if cpu.next_balance_ns <= self.now else LONG_NS
        if thread.timer_at:
            thread.timer_at = FAR_NS
        if thread.unpaged_until_ns:
            thread.unpaged_until_ns = LONG_NS
        for clearing in thread.clearings:
            clearing.until_ns = min(clearing.until_ns, 1)
        thread.stall_ns = 0
        thread.acct_since = 0
        cpu.since_ns = 0
        step = self.own[thread.id]
        for over in (cpu.over, cpu.suspended):
            if over is not None:
                over.end_ns = over.left_ns = 1
        if step is None or step.at_ns == 1:
            return
        if thread.mode is not GUEST or cpu.over is not None:
            self.own[thread.id] = step._replace(at_ns=1)

    # ------------------------------------------------------------------ copies

    def out(self) -> Values:
        """Everything by which a state differs, as plain values."""
        own = tuple(
            [None if step is None else (step.at_ns, int(step.op), step.arg) for step in self.own]
        )
        others: Values = ()
        if self.others:
            others = tuple([(int(op), vcpu, arg) for op, vcpu, arg in self.others])
        asked: Values = ()
        if self.asked:
            asked = tuple([(gfn, *self.asked[gfn]) for gfn in sorted(self.asked)])
        return own, others, asked, self.left, tuple(self.budget), self.state.out()

    def fill(self, values: Values) -> None:
        """Go on from there."""
        own, others, asked, self.left, budget, state = values
        self.own = [
            None if step is None else Planned(step[0], vcpu, 0, OPS[step[1]], step[2])
            for vcpu, step in enumerate(own)
        ]
        self.others = [(OPS[op], vcpu, arg) for op, vcpu, arg in others]
        self.asked = {gfn: Asked(*request) for gfn, *request in asked}
        self.budget = list(budget)
        self.agenda.pushed.clear()
        self.state.fill(state)

    def written(self) -> list[ev.Event]:
        """What was written down since it was forgotten last, in order."""
        vm = self.vm
        written: list[ev.Event] = [*vm.consumed, *vm.to_host, *vm.journal_out]
        return sorted(written, key=_number)

    def forget_written(self) -> None:
        """What was written down so far is of no interest any more."""
        vm = self.vm
        vm.journal_out.clear()
        vm.to_host.clear()
        vm.consumed.clear()
        vm.digest.pending.clear()


_number = attrgetter("n")
OPS: Final[Sequence[Op]] = tuple(Op)


def _idles(task: Task) -> bool:
    """The thread of a vcpu on which nothing is left to run: its timer would find nothing to do."""
    vcpu = task.inner
    return isinstance(vcpu, InnerVcpu) and vcpu.curr is None and not vcpu.rq.waiting


def _is_up(cpu: GuestCpu) -> bool:
    return cpu.over is not None and isinstance(cpu.over.what, Switched)


def _order(step: tuple[Op, int, Any]) -> tuple[int, int, str]:
    return int(step[0]), step[1], str(step[2])


def _ticks(_: SmallMachine, thread: VcpuThread) -> bool:
    return thread.timer_at != 0 and thread.lapic_on


def _can_preempt(machine: SmallMachine, thread: VcpuThread) -> bool:
    rq = machine.kernel.cpus[thread.id].rq
    return _ticks(machine, thread) and rq.curr is not None and bool(rq.waiting)


def _can_balance(machine: SmallMachine, thread: VcpuThread) -> bool:
    others = (cpu.rq.waiting for cpu in machine.kernel.cpus if cpu.id != thread.id)
    return _ticks(machine, thread) and any(others)


def _takes_irq(_: SmallMachine, thread: VcpuThread) -> bool:
    return thread.lapic_on


def _can_fail_to_write(_: SmallMachine, thread: VcpuThread) -> bool:
    return thread.area_failures == 0


ON_VCPU: Final[dict[str, Callable[[SmallMachine, VcpuThread], bool]]] = {
    "tick": _ticks,
    "preempt": _can_preempt,
    "balance": _can_balance,
    "exit": lambda _, thread: thread.mode is GUEST or thread.mode is HLT,
    "irq": _takes_irq,
    "nmi": lambda _, thread: thread.nmi is None,
    "write": _can_fail_to_write,
}
"""Whether it can happen to this vcpu."""
ANYWHERE: Final[dict[str, Callable[[SmallMachine], bool]]] = {
    "alloc": lambda machine: machine.kernel.alloc_failures == 0,
    "host_alloc": lambda machine: machine.vm.host_alloc_failures == 0,
    "gup": lambda machine: machine.vm.gup_failures == 0,
}
"""Whether it can happen to the VM."""
CONTROLS: Final[dict[str, Callable[[str, int], ev.Control]]] = {
    "irq": lambda vm, vcpu: ev.IrqArrived(0, vm, 0, vcpu),
    "nmi": lambda vm, vcpu: ev.NmiArrived(0, vm, 0, vcpu, faults=True),
    "write": lambda vm, vcpu: ev.AreaWriteFails(0, vm, 0, vcpu, 1),
    "alloc": lambda vm, _: ev.AllocationFails(0, vm, 0, "guest", 1),
    "host_alloc": lambda vm, _: ev.AllocationFails(0, vm, 0, "host", 1),
    "gup": lambda vm, _: ev.WorkerGupFails(0, vm, 0, 1),
}
"""Chances that a scenario can have as events, too."""
