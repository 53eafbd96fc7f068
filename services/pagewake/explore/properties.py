"""What must hold: after every step, and where nothing more is under way.

`always`     no invariant of `verify` is broken (`checks.py`), no protocol fault, no panic, no task
             killed by a token, no sleeper's entry freed under it
`finally`    where nothing is under way: nobody sleeps without a page-in, no dummy is left, no slot
             is taken, no vcpu halts with work to do
`sometimes`  has to be reached

Expressions over the numbers of events, from the start of the machine on, say the same of a
scenario's own: "finally TaskSlept == TaskWoken", "always DummyInserted <= 1",
"sometimes ApfPresented.delivery=broadcast > 0".  "TaskWoken@TaskSlept" are those behind the first
TaskSlept.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from pagewake.errors import ConfigError, nearest
from pagewake.events import types as ev
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.unresolved import unresolved
from pagewake.guest_kernel.vcpu import GuestCpu
from pagewake.kvm.machine import Machine
from pagewake.kvm.modes import BLOCKED, GUEST, OFFLINE
from pagewake.kvm.ports import IRQ_APF
from pagewake.kvm.thread import VcpuThread


class Broken(NamedTuple):
    """A property that does not hold, and what shows it."""

    property: str
    what: str


# --------------------------------------------------------------------------- always


def broken_by(events: Sequence[ev.Event]) -> Broken | None:
    """What the events of one step break; the first of them."""
    for event in events:
        tell = FORBIDDEN.get(type(event))
        if tell is not None:
            return tell(event)
    return None


def _fault(event: ev.ProtocolFault) -> Broken:
    return Broken(event.what, f"vcpu {event.vcpu}: {event.detail or event.what}")


def _panic(event: ev.GuestPanicked) -> Broken:
    return Broken("panic", f"the guest panics on vcpu {event.vcpu}: {event.why}")


def _killed(event: ev.TaskKilled) -> Broken:
    return Broken(
        "killed", f"token {event.token:#x} kills {event.task}, a task of level {event.level}"
    )


def _freed(event: ev.SleeperFreed) -> Broken:
    return Broken(
        "freed",
        f"{event.task} takes the entry of {event.victim}, which sleeps, for a dummy and frees it",
    )


FORBIDDEN: Final[dict[type[ev.Event], Callable[..., Broken]]] = {
    ev.ProtocolFault: _fault,
    ev.GuestPanicked: _panic,
    ev.TaskKilled: _killed,
    ev.SleeperFreed: _freed,
}

# --------------------------------------------------------------------------- finally


class Resting(Protocol):
    """A machine, small or not, in which nothing more is under way."""

    @property
    def vm(self) -> Machine: ...

    @property
    def kernel(self) -> GuestKernel: ...


def broken_at_rest(machine: Resting) -> Iterator[Broken]:
    """What does not hold although nothing more is under way."""
    kernel = machine.kernel
    for name, token in _asleep(machine):
        yield Broken("asleep", f"{name} sleeps for token {token:#x}, which nobody will wake")
    for entry in kernel.sleepers.table():
        for token, cpu, task in entry[1]:
            if task is None:
                yield Broken("dummy", f"a dummy for token {token:#x} of vcpu {cpu} stays for good")
    if kernel.sleepers.leaked:
        yield Broken("leaked", "a dummy was taken out of the table and never freed")
    for thread, cpu_ in zip(machine.vm.vcpus, kernel.cpus, strict=True):
        yield from _slot(thread, cpu_)
        yield from _halt(thread, cpu_)


def _asleep(machine: Resting) -> Iterator[tuple[str, int]]:
    """A sleeper of whom nothing is on its way, or nobody runs who could take it."""
    kernel = machine.kernel
    stuck = unresolved(kernel)
    if not any(thread.mode is GUEST for thread in machine.vm.vcpus):
        stuck = list(kernel.slept_at)
    for name in stuck:
        yield name, kernel.slept_at[name][1]


def _slot(thread: VcpuThread, cpu: GuestCpu) -> Iterator[Broken]:
    if cpu.online and cpu.area.enabled and cpu.area.token and not thread.irqs & IRQ_APF:
        yield Broken(
            "slot", f"the slot of vcpu {thread.id} holds token {cpu.area.token:#x}, not taken"
        )


def _halt(thread: VcpuThread, cpu: GuestCpu) -> Iterator[Broken]:
    said = ""
    if thread.mode is OFFLINE and cpu.online:
        said = "waits for a SIPI that nobody sends"
    elif thread.mode is not BLOCKED:
        return
    elif thread.apf.halted:
        said = "is halted for a page, and none is outstanding"
    elif thread.exc is not None:
        said = f"sleeps in HLT with {thread.exc.kind} of token {thread.exc.token:#x} pending"
    elif thread.apf.done:
        said = "sleeps in HLT with a completion pending"
    elif cpu.curr is None and cpu.rq.waiting and not cpu.idle_halting:
        said = f"idles, and {cpu.rq.waiting[0].name} could run"
    if said:
        yield Broken("halted", f"vcpu {thread.id} {said}")


# --------------------------------------------------------------------------- expressions

OPERATORS: Final[dict[str, Callable[[int, int], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge,
    "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_FORM: Final = re.compile(r"(always|finally|sometimes)\s+(\S+)\s*(==|!=|<=|>=|<|>)\s*(\S+)")
_TERM: Final = re.compile(r"([A-Z]\w+)(?:\.(\w+)=([^\s@]+))?(?:@([A-Z]\w+))?")
COUNT_MAX: Final = 255
EVENTS_BY_NAME: Final = {kind.__name__: kind for kind in ev.EVENTS}


class Counted(NamedTuple):
    """Events of a kind, perhaps only those with a value in a field, or behind one of another."""

    kind: type[ev.Event]
    field: str = ""
    value: str = ""
    behind: type[ev.Event] | None = None

    def is_one(self, event: ev.Event) -> bool:
        """Whether it counts."""
        if type(event) is not self.kind:
            return False
        return not self.field or str(getattr(event, self.field)) == self.value


class Expression(NamedTuple):
    """`when` two numbers compare; each is a number, or a place among what is counted."""

    text: str
    when: str
    left: Counted | int
    compare: Callable[[int, int], bool]
    right: Counted | int


def expression_of(text: str) -> Expression:
    """ConfigError for what is none, with the form of one."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f'property "{text}": write always, finally or sometimes, then a comparison, as in '
            '"finally TaskSlept == TaskWoken" or "always ProtocolFault.what=reason_stolen == 0"'
        )
    when, left, compare, right = found.groups()
    return Expression(text, when, _term(text, left), OPERATORS[compare], _term(text, right))


def _term(text: str, term: str) -> Counted | int:
    if term.isdecimal():
        return int(term)
    found = _TERM.fullmatch(term)
    kind = _kind(text, found[1] if found is not None else term)
    assert found is not None
    if found[2] and found[2] not in kind.__struct_fields__:
        fields = kind.__struct_fields__
        raise ConfigError(
            f'property "{text}": {found[1]} has no field {found[2]}: {nearest(found[2], fields)}'
        )
    behind = _kind(text, found[4]) if found[4] else None
    return Counted(kind, found[2] or "", found[3] or "", behind)


def _kind(text: str, name: str) -> type[ev.Event]:
    if name not in EVENTS_BY_NAME:
        raise ConfigError(f'property "{text}": {name} is no event: {nearest(name, EVENTS_BY_NAME)}')
    return EVENTS_BY_NAME[name]


class Tally:
    """Counts what expressions ask for; the numbers are part of a state."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self.expressions = expressions
        terms = [term for each in expressions for term in (each.left, each.right)]
        counted = [term for term in terms if isinstance(term, Counted)]
        behind = [Counted(term.behind) for term in counted if term.behind is not None]
        self.counted = list(dict.fromkeys([*counted, *behind]))
        self.numbers = [0] * len(self.counted)

    def add(self, events: Sequence[ev.Event]) -> None:
        """Count one step's events."""
        for event in events:
            for place, counted in enumerate(self.counted):
                if counted.is_one(event) and self._began(counted):
                    self.numbers[place] = min(COUNT_MAX, self.numbers[place] + 1)

    def _began(self, counted: Counted) -> bool:
        return counted.behind is None or self._value(Counted(counted.behind)) > 0

    def _value(self, term: Counted | int) -> int:
        return term if isinstance(term, int) else self.numbers[self.counted.index(term)]

    def holding(self, when: str) -> Iterator[tuple[Expression, bool]]:
        """The expressions of that time, and whether each holds now."""
        for each in self.expressions:
            if each.when == when:
                yield each, each.compare(self._value(each.left), self._value(each.right))

    def broken(self, when: str) -> Iterator[Broken]:
        """Those that do not."""
        for each, holds in self.holding(when):
            if not holds:
                yield Broken(each.text, f"{self._value(each.left)} and {self._value(each.right)}")
