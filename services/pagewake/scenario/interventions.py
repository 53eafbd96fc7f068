"""What an `[[event]]` of a scenario can `do`, and the control event that each becomes.

The same table serves the commands of a running cluster, which carry no `at` (design, "Control
plane"). `pause`, `resume`, `pace` and `stop` concern wall time and exist only as commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, get_args

import msgspec

from pagewake.errors import nearest
from pagewake.events import types as ev
from pagewake.scenario.keys import (
    BadValueError,
    Choice,
    Choices,
    Duration,
    Flag,
    Integer,
    Key,
    Reader,
    Text,
    show,
)
from pagewake.scenario.presets import medium_names
from pagewake.scenario.script import read_msr, write_msr

MAX_VCPUS = 64
"""Chosen; the tables of vcpus of a VM are walked whole, so they are to stay small."""
SAVED = list(get_args(ev.SavedState))
"""All that a VMM can save of a vcpu, in an order in which nothing is lost."""
MANY_NAMES = 6
"""So many are not listed with a key: presets have tables of their own."""
T = TypeVar("T")


class _Msr:
    textual = True

    def read(self, raw: object) -> int:
        return read_msr(raw)

    def write(self, value: int) -> object:
        return write_msr(value)


class EventKey(NamedTuple):
    """One key of an event: the control event's field it fills, and whether it may be left out."""

    key: Key
    field: str
    required: bool = True

    @property
    def about(self) -> str:
        """What it is, with the names it may hold, and whether it may be left out."""
        reader = self.key.reader
        several = isinstance(reader, Choices)
        choice = reader.one if isinstance(reader, Choices) else reader
        names = choice.names() if isinstance(choice, Choice) else []
        listed = f"; {'of' if several else 'one of'} {', '.join(names)}" if names else ""
        listed = listed if len(names) <= MANY_NAMES else ""
        return f"{self.key.doc}{listed}{'' if self.required else '; optional'}"


class EventKind(NamedTuple):
    """One `do`: the control event it stands for, its keys beside `at` and `do`, what it does."""

    struct: type[ev.Control]
    keys: tuple[EventKey, ...]
    doc: str


def _key(
    name: str, reader: Reader[Any], doc: str, field: str = "", required: bool = True
) -> EventKey:
    return EventKey(Key(name, reader, doc), field or name, required)


_VM = _key("vm", Text(), "the VM instance, as in bm-0")
_VCPU = _key("vcpu", Integer(0, MAX_VCPUS - 1), "the vcpu's number")
_COUNT = _key("count", Integer(-1), "how many times; -1 = from now on", required=False)
_ON_VCPU = (_VM, _VCPU)
_FAIL_ALLOCATIONS = EventKind(
    ev.AllocationFails,
    (
        _VM,
        _key("where", Choice("place", ("guest", "host")), "whose atomic allocations fail"),
        _key("count", Integer(-1), "how many; -1 = all from now on"),
    ),
    "the next atomic allocations fail: of dummies (guest) or of work items (host)",
)

EVENT_KINDS: Mapping[str, EventKind] = {
    "vcpu-offline": EventKind(
        ev.VcpuOffline, _ON_VCPU, "the guest takes a vcpu down, unless it is the last one online"
    ),
    "vcpu-online": EventKind(ev.VcpuOnline, _ON_VCPU, "the guest brings a vcpu up again"),
    "migrate": EventKind(
        ev.VmMigrated,
        (_VM, _key("pause", Duration(), "how long the VM stands still", "pause_ns", False)),
        "save and restore: outstanding page-ins are cancelled, every vcpu's MSR is rewritten",
    ),
    "restore": EventKind(
        ev.VmRestored,
        (
            _VM,
            _key(
                "saves",
                Choices("saved state", SAVED),
                "what the snapshot holds, in the order of the restore; default: everything",
                required=False,
            ),
            _key("pause", Duration(), "how long the VM stands still", "pause_ns", False),
        ),
        "a snapshot is restored: as migrate, but of each vcpu only what was saved is there again",
    ),
    "new-kernel": EventKind(
        ev.KernelReplaced,
        (
            _VM,
            _key("how", Choice("takeover", get_args(ev.Takeover)), "by what"),
            _key("for", Duration(), "its start, or how long the machine is off", "for_ns", False),
        ),
        "another kernel takes over the guest, whose areas may still be registered with the host",
    ),
    "fail-allocations": _FAIL_ALLOCATIONS,
    "alloc-fails": _FAIL_ALLOCATIONS,
    "medium": EventKind(
        ev.MediumChanged,
        (
            _key("medium", Choice("medium", medium_names), "a preset"),
            _key("host", Integer(0), "the simulated host", required=False),
        ),
        "the swap device has other timings from now on",
    ),
    "msr-write": EventKind(
        ev.MsrWriteRequested,
        (
            *_ON_VCPU,
            _key("msr", _Msr(), "apf-en, apf-int, apf-ack or a number"),
            _key(
                "value",
                Integer(0, (1 << 64) - 1),
                "default: what the guest would write",
                required=False,
            ),
        ),
        "guest code writes an MSR on this vcpu",
    ),
    "area-write-fails": EventKind(
        ev.AreaWriteFails,
        (*_ON_VCPU, _COUNT),
        "the host's next writes to this vcpu's shared area fail",
    ),
    "worker-gup-fails": EventKind(
        ev.WorkerGupFails, (_VM, _COUNT), "get_user_pages fails in the next page-in workers"
    ),
    "vcpu-reset": EventKind(
        ev.VcpuReset, _ON_VCPU, "INIT/SIPI: MSR and queue cleared, halt lifted"
    ),
    "cr0-pg": EventKind(
        ev.Cr0PgToggled,
        (*_ON_VCPU, _key("for", Duration(), "how long it stays off", "for_ns", required=False)),
        "the guest turns paging off and on again",
    ),
    "smi": EventKind(
        ev.SmiArrived,
        (*_ON_VCPU, _key("for", Duration(), "how long it is in SMM", "for_ns", required=False)),
        "an SMI: the vcpu is in SMM, its paging off, and comes back; none in kernels before 4.2",
    ),
    "nmi": EventKind(
        ev.NmiArrived,
        (*_ON_VCPU, _key("faults", Flag(), "its handler takes a page fault", required=False)),
        "an NMI for this vcpu",
    ),
    "irq": EventKind(ev.IrqArrived, _ON_VCPU, "a device interrupt for this vcpu"),
    "vcpu-stall": EventKind(
        ev.VcpuStalled,
        (
            *_ON_VCPU,
            _key("for", Duration(1), "how long", "for_ns"),
            _key(
                "where",
                Choice("place", ("handle-exit", "latch")),
                "between handle_exit and the completion check, or in L1 after the latch",
                required=False,
            ),
        ),
        "the host takes the CPU from the vcpu thread",
    ),
    "handler-crash": EventKind(
        ev.HandlerCrashed,
        (
            _VM,
            _key("for", Duration(1), "how long there is none", "for_ns"),
            _key("keeps", Flag(), "the next one knows what this one had taken", required=False),
        ),
        "the task that brings the VM's pages (vm.userfault) dies, and is started again",
    ),
    "registers-set": EventKind(
        ev.RegistersSet, _ON_VCPU, "userspace sets the registers: a queued exception is dropped"
    ),
    "user-exit": EventKind(
        ev.LeftForUserspace,
        (*_ON_VCPU, _key("for", Duration(), "how long that takes", "for_ns", required=False)),
        "an exit to userspace, as of emulated I/O, if the vcpu runs: no completion check behind it",
    ),
    "lapic": EventKind(
        ev.LapicSwitched,
        (*_ON_VCPU, _key("on", Flag(), "whether it is on")),
        "the vcpu's LAPIC is turned on or off: while it is off, interrupts for the vcpu are lost",
    ),
}  # fmt: skip


class CommandKind(NamedTuple):
    """What a command that is no event does, and what its keys beside `id` and `do` mean."""

    doc: str
    keys: Mapping[str, str] = {}


COMMAND_ONLY: Mapping[str, CommandKind] = {
    "pause": CommandKind("open no more windows"),
    "resume": CommandKind("go on after pause"),
    "pace": CommandKind(
        "hold the run to a pace of wall time",
        {"speed": "simulated seconds per wall second; 0: as fast as can be"},
    ),
    "stop": CommandKind("end the run here"),
}

_DEFAULTS: Mapping[str, object] = {"count": -1, "where": "handle-exit", "saves": SAVED}
INTERVENTIONS = {kind.struct: do for do, kind in reversed(list(EVENT_KINDS.items()))}
"""What a scenario or a command calls a control event; of two names the first."""
_ALL_KEYS = sorted({each.key.name for kind in EVENT_KINDS.values() for each in kind.keys})


class ScheduledEvent(msgspec.Struct, frozen=True):
    """One `[[event]]` of a scenario: when, what to do, and the control event it becomes."""

    at_ns: int
    do: str
    control: ev.Control


def read_do(raw: object) -> str:
    """The name of an event kind; raises `BadValueError`."""
    if isinstance(raw, str) and raw in EVENT_KINDS:
        return raw
    if isinstance(raw, str) and raw in COMMAND_ONLY:
        raise BadValueError(
            f'"{raw}" is a command of a running cluster; a scenario file cannot hold it. '
            f"Valid are {', '.join(EVENT_KINDS)}"
        )
    raise BadValueError(f"{show(raw)} is nothing to do: {nearest(str(raw), EVENT_KINDS)}")


def control_event(do: str, at_ns: int, values: Mapping[str, Any]) -> ev.Control:
    """The control event of one kind; `values` by key, already read."""
    kind = EVENT_KINDS[do]
    fields: dict[str, Any] = {}
    for event_key in kind.keys:
        name = event_key.key.name
        if name in values:
            fields[event_key.field] = values[name]
        elif name in _DEFAULTS:
            fields[event_key.field] = _DEFAULTS[name]
    return kind.struct(at_ns=at_ns, n=0, **{"vm": "", **fields})


def event_table(event: ScheduledEvent) -> dict[str, object]:
    """The `[[event]]` table, without `at`, that reads back to the same event."""
    table: dict[str, object] = {"do": event.do}
    for event_key in EVENT_KINDS[event.do].keys:
        value = getattr(event.control, event_key.field)
        if value is not None:
            table[event_key.key.name] = event_key.key.reader.write(value)
    return table


def describe_events() -> list[dict[str, object]]:
    """What `pagewake scenarios --events` lists: name, description and keys of every kind."""
    listed: list[dict[str, object]] = [
        {
            "name": do,
            "description": kind.doc,
            "in": "scenario, command",
            "keys": {event_key.key.name: event_key.about for event_key in kind.keys},
        }
        for do, kind in EVENT_KINDS.items()
    ]
    for do, command in COMMAND_ONLY.items():
        keys = dict(command.keys)
        listed.append({"name": do, "description": command.doc, "in": "command", "keys": keys})
    return listed


class EventsReader:
    """Reads the array of tables `[[event]]`; without `at` if they are not `timed`."""

    textual = False

    def __init__(self, *, timed: bool = True) -> None:
        self.timed = timed

    def read(self, raw: object) -> tuple[ScheduledEvent, ...]:
        if not isinstance(raw, list):
            raise BadValueError(f"{show(raw)} is not a list of tables; write [[event]] sections")
        return tuple(self._one(index, item) for index, item in enumerate(raw))

    def _one(self, index: int, raw: object) -> ScheduledEvent:
        if not isinstance(raw, dict):
            raise BadValueError(f"{show(raw)} is not a table; write an [[event]] section", (index,))
        try:
            return read_event(raw if self.timed else {"at": "0s", **raw})
        except BadValueError as error:
            raise BadValueError(str(error), (index, *error.at)) from None

    def write(self, value: tuple[ScheduledEvent, ...]) -> object:
        at = [{"at": _AT.write(event.at_ns)} if self.timed else {} for event in value]
        return [{**when, **event_table(event)} for when, event in zip(at, value, strict=True)]


_AT = Duration()


def read_event(raw: Mapping[str, object]) -> ScheduledEvent:
    """Read one `[[event]]` table; BadValueError for what is wrong in it."""
    if "do" not in raw:
        _refuse_unknown(raw, ["at", "do", *_ALL_KEYS], "an event")
    do = _at_key("do", _required(raw, "do", "what happens"), read_do)
    _refuse_unknown(raw, ["at", "do", *_keys_of(do)], f'"{do}"')
    at_ns = _at_key("at", _required(raw, "at", "simulated time"), _AT.read)
    values = read_values(do, {name: raw[name] for name in raw if name not in ("at", "do")})
    return ScheduledEvent(at_ns, do, control_event(do, at_ns, values))


def _keys_of(do: str) -> dict[str, EventKey]:
    return {event_key.key.name: event_key for event_key in EVENT_KINDS[do].keys}


def _refuse_unknown(raw: Mapping[str, object], names: Iterable[str], whose: str) -> None:
    for name in raw:
        if name not in names:
            raise BadValueError(f'{whose} has no key "{name}": {nearest(name, names)}', (name,))


def read_values(do: str, raw: Mapping[str, object]) -> dict[str, object]:
    """The keys of one kind beside `at` and `do`, read; raises `BadValueError`."""
    keys = _keys_of(do)
    _refuse_unknown(raw, keys, f'"{do}"')
    for name, event_key in keys.items():
        if event_key.required:
            _required(raw, name, event_key.key.doc)
    return {name: _at_key(name, value, keys[name].key.reader.read) for name, value in raw.items()}


def _required(raw: Mapping[str, object], name: str, doc: str) -> object:
    if name not in raw:
        raise BadValueError(f'the required key "{name}" is missing ({doc})', (name,))
    return raw[name]


def _at_key(name: str, raw: object, read: Callable[[object], T]) -> T:
    try:
        return read(raw)
    except BadValueError as error:
        raise BadValueError(str(error), (name,)) from None
