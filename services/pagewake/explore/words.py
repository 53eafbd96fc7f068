"""A story in kernel words: a line for each thing that happens and matters to the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from pagewake.events import types as ev
from pagewake.explore.machine import Choice
from pagewake.explore.search import Found
from pagewake.explore.told import Told
from pagewake.kvm.abi import BROADCAST_TOKEN
from pagewake.kvm.msr import MSR_KVM_ASYNC_PF_ACK, MSR_KVM_ASYNC_PF_EN, MSR_KVM_ASYNC_PF_INT
from pagewake.scenario.interventions import INTERVENTIONS
from pagewake.scenario.model import Scenario

LINES_MAX: Final = 60
"""A page."""
MSRS: Final = {
    MSR_KVM_ASYNC_PF_EN: "MSR_KVM_ASYNC_PF_EN",
    MSR_KVM_ASYNC_PF_INT: "MSR_KVM_ASYNC_PF_INT",
    MSR_KVM_ASYNC_PF_ACK: "MSR_KVM_ASYNC_PF_ACK",
}


def _token(token: int | None) -> str:
    if token is None:
        return "no token"
    return "the broadcast" if token == BROADCAST_TOKEN else f"token {token:#x}"


def _not_present(event: ev.PageNotPresent) -> str:
    whose = f"{event.task} " if event.task else ""
    mode = "kernel" if event.cpl == 0 else "user"
    why = (event.why or "the write failed").replace("_", " ")
    told = {
        "injected": f"NOT_PRESENT, {_token(event.token)}, is to be injected",
        "halted": f"{_token(event.token)}, the vcpu is to be halted ({why})",
        "untold": f"{_token(event.token)}, the guest is not told ({why})",
        "synchronous": f"the thread waits itself ({why})",
    }[event.delivery]
    return f"{whose}touches gfn {event.gfn} in {mode} mode: {told}"


def _presented(event: ev.ApfPresented) -> str:
    if event.delivery == "silent":
        return f"completion of {_token(event.token)}: no READY ({str(event.why).replace('_', ' ')})"
    return f"READY of {_token(event.token)} is on its way"


def _trap(event: ev.TrapTaken) -> str:
    what = {
        "wait": f"#PF, NOT_PRESENT, CR2 = {event.cr2:#x}: task_wait",
        "wake": f"READY, {_token(event.cr2)}: task_wake",
        "page_fault": f"#PF at {event.cr2:#x}, an ordinary fault",
    }
    return what[event.handler]


def _msr(event: ev.MsrWritten) -> str:
    return f"the {event.by} writes {MSRS.get(event.msr, hex(event.msr))} = {event.value:#x}"


TELL: Final[dict[type[ev.Event], Callable[[Any], str]]] = {
    ev.PageNotPresent: _not_present,
    ev.PageReady: lambda e: f"the page of gfn {e.gfn} is in",
    ev.DoubleFault: lambda e: f"gfn {e.gfn} again, which is outstanding: halt",
    ev.ExceptionInjected: lambda e: f"entry: #PF {e.kind}, {_token(e.token)}, to level {e.level}",
    ev.ExceptionDropped: lambda e: f"the queued #PF, {_token(e.token)}, is dropped ({e.why})",
    ev.ReasonWritten: lambda e: "" if e.ok else f"the write of reason {e.reason} fails",
    ev.TrapTaken: _trap,
    ev.TaskSlept: lambda e: f"{e.task} {'halts' if e.halted else 'sleeps'} for {_token(e.token)}",
    ev.TaskWoken: lambda e: f"{e.task} is woken ({e.how})",
    ev.DummyInserted: lambda e: f"nobody waits for {_token(e.token)}: a dummy is left",
    ev.DummyConsumed: lambda e: f"{e.task} finds the dummy of {_token(e.token)}, does not sleep",
    ev.DummyUnlinked: lambda e: f"the dummy of {_token(e.token)} is unlinked, not freed",
    ev.SleeperFreed: lambda e: f"{e.task} takes {e.victim}'s entry for a dummy and frees it",
    ev.ApfPresented: _presented,
    ev.InterruptQueued: lambda e: (
        f"the slot holds {_token(e.token)}, " + ("no interrupt" if e.lost else "interrupt pending")
    ),
    ev.ApfCleared: lambda e: f"withdrawn ({e.why}): {', '.join(map(_token, e.tokens))}",
    ev.VcpuHalted: lambda e: f"halts ({e.why})",
    ev.VcpuResumed: lambda e: f"goes on ({e.why})",
    ev.BroadcastQueued: lambda _: "a broadcast is queued",
    ev.BroadcastLost: lambda _: "no memory for the broadcast",
    ev.MsrWritten: _msr,
    ev.ProtocolFault: lambda e: f"FORBIDDEN: {e.what}: {e.detail}",
    ev.GuestPanicked: lambda e: f"the guest panics: {e.why}",
    ev.TaskKilled: lambda e: f"{e.task} of level {e.level} is killed by {_token(e.token)}",
    ev.TaskMoved: lambda e: f"{e.task} moves to vcpu {e.to} ({e.why})",
    ev.TaskFinished: lambda e: f"{e.task} is done",
    ev.ReasonLatched: lambda e: f"L{e.level} latches reason {e.apf_reason}, {_token(e.token)}",
    ev.NestedVmexit: lambda e: f"#VMEXIT {e.exit_code:#x} to L{e.level} ({e.reason})",
    ev.WakeSpun: lambda e: f"no memory for a dummy of {_token(e.token)}: it spins",
}
"""What each kind of event says; those of no interest are left out."""

CHANCES: Final = {
    "tick": "the timer of vcpu {} fires",
    "preempt": "the timer of vcpu {} fires, and the slice is used up",
    "balance": "the timer of vcpu {} fires, and CPUs are balanced",
    "exit": "vcpu {} leaves for the host's own business",
}


def story(scenario: Scenario, found: Found, skip: int = 0) -> list[str]:
    """What happens, line by line; nothing of the first choices, by which CPUs start."""
    told = Told(scenario, [])
    machine = told.machine
    lines: list[str] = []
    for number, choice in enumerate(found.path):
        events = machine.take(choice)
        if number >= skip:
            lines += [*_chance(choice), *_lines(events)]
        machine.forget_written()
    dropped = len(lines) - LINES_MAX
    if dropped > 0:
        lines = [f"({dropped} lines before)", *lines[dropped:]]
    return [*lines, f"so: {found.broken.what}"]


def _chance(choice: Choice) -> Iterator[str]:
    if choice.kind in CHANCES:
        yield f"  -- {CHANCES[choice.kind].format(choice.number)}"


def _lines(events: Sequence[ev.Event]) -> Iterator[str]:
    for event in events:
        if isinstance(event, ev.Control):
            vcpu = getattr(event, "vcpu", None)
            where = "" if vcpu is None else f" (vcpu {vcpu})"
            yield f"  -- {INTERVENTIONS[type(event)]}{where}"
            continue
        tell = TELL.get(type(event))
        text = tell(event) if tell is not None else ""
        if text:
            vcpu = None if isinstance(event, ev.PageReady) else getattr(event, "vcpu", None)
            yield f"{'host  ' if vcpu is None else f'vcpu {vcpu}'}  {text}"
