"""What a run came to, in a sentence made of its figures, and what should worry a reader.

A sentence claims only what was counted: that the guest was told, that tasks slept, what share of
their time the vcpus stood still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pagewake.observe.report.recorder import Lost, Pending
from pagewake.observe.report.words import count, counted, duration, instant, percent
from pagewake.observe.result import RunResult
from pagewake.observe.wrong import NOT_SENT, wrongs
from pagewake.timeline.trace_tracks import NEVER_TOLD

_MODES = {
    "off": "With asynchronous page faults off, ",
    "nonpv": "With a guest that takes no part in the protocol, ",
}
_DELIVERED = {
    "injected": "were told to the guest",
    "halted": "halted their vcpu",
    "untold": "could not be told",
    "synchronous": "held their vcpu until the page was there",
}
_WRONG = (
    (
        "TaskKilled",
        "1 task killed by a token that it could not know",
        "tasks killed by a token that they could not know",
    ),
    (
        "SleeperFreed",
        "1 sleeper taken for a dummy and freed",
        "sleepers taken for dummies and freed",
    ),
    ("ProtocolFault", "1 protocol fault", "protocol faults"),
    ("BroadcastLost", "1 broadcast lost for want of memory", "broadcasts lost for want of memory"),
)


def verdict(result: RunResult, pending: Sequence[Pending] = ()) -> str:
    """What came of one run, in a few sentences; `pending` is what only its log tells."""
    faults = sum(result.not_present.values())
    if not faults:
        text = "No touch found its page in swap: there was nothing to tell the guest"
    else:
        text = f"{_faults(result, faults)}{_slept(result)}; {_stood_still(result.cpu)}"
        if pending:
            longest = max(one.until_ns - one.from_ns for one in pending)
            text += (
                f", but {'one' if len(pending) == 1 else count(len(pending)) + ' times one'} slept"
                f" in HLT with an exception pending, for up to {duration(longest / 1e9)}"
            )
    text += _routed(result)
    mode = _MODES.get(result.apf, "")
    if mode:
        text = mode + text[0].lower() + text[1:]
    return text + "."


def _faults(result: RunResult, faults: int) -> str:
    parts = [(name, number) for name, number in result.not_present.items() if number]
    said = dict(_DELIVERED)
    if result.by_event.get("TaskKilled"):
        said["injected"] = "were injected"  # not all into the guest that knows the token
    if len(parts) == 1:
        told = said[parts[0][0]]
        if faults == 1:
            told = told.replace("were ", "was ").replace("their", "its")
            return f"The one fault on an absent page {told}"
        return f"All {count(faults)} faults on absent pages {told}"
    named = [f"{count(n)} ({percent(n, faults)}) {said[name]}" for name, n in parts]
    return f"Of {count(faults)} faults on absent pages {_listed(named)}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _slept(result: RunResult) -> str:
    slept = result.waits.slept
    if not slept:
        return ""
    if slept == 1:
        left = ", to the end," if result.sleepers else ""
        return f", and a task slept once{left} so that its vcpu could go on"
    left = f", {count(result.sleepers)} of them to the end," if result.sleepers else ""
    return f", and tasks slept {count(slept)} times{left} so that their vcpus could go on"


def _stood_still(cpu: Mapping[str, int]) -> str:
    total = sum(cpu.values())
    blackout, halted = cpu.get("blackout", 0), cpu.get("halted", 0)
    if not stood_still(cpu):
        return "no vcpu ever stood still for a page"
    text = f"the vcpus stood still for a page {percent(blackout + halted, total)} of their time"
    if blackout and halted:
        text += f" ({percent(blackout, total)} blacked out, {percent(halted, total)} halted)"
    return text


def _routed(result: RunResult) -> str:
    exits = sum(result.exits.values())
    if not exits:
        return ""
    vmexits = result.by_event.get("NestedVmexit", 0)
    return (
        f"; {counted(exits, 'exit')} of nested guests {'was' if exits == 1 else 'were'} routed, and"
        f" their hypervisors got {counted(vmexits, '#VMEXIT')}"
    )


def worries(result: RunResult) -> Iterator[str]:
    """Sentences on what went wrong in the guest, or in the kernel that was simulated."""
    unmet = [f"{one.what} of {one.of}" for one in result.expected if not one.met]
    if unmet:
        yield f"What the scenario expects is not met: {', '.join(unmet)}."
    if result.unresolved:
        names = ", ".join(result.unresolved_tasks[:5])
        more = ", …" if result.unresolved > 5 else ""
        yield (
            f"{counted(result.unresolved, 'task')} asleep at the end with no page-in in flight:"
            f" nobody will wake {names}{more}."
        )
    for vm, panic in result.panics.items():
        yield (
            f"The kernel of {vm} panicked at {instant(panic.at_ns)} ({panic.why}): its tasks"
            " stopped there."
        )
    dummies = result.dummies
    if dummies.leaked:
        yield f"{_dummies(dummies.leaked)} unlinked and never freed."
    if dummies.left:
        yield f"{_dummies(dummies.left)} still in the sleeper hash at the end."
    for event, one, several in _WRONG:
        number = result.by_event.get(event, 0)
        if number:
            yield f"{one if number == 1 else f'{count(number)} {several}'}."


def never_ready(counts: Mapping[str, int], result: RunResult) -> Iterator[str]:
    """Sentences on tokens that were never ready, by why, as in `RunResult.silent`."""
    for why, number in counts.items():
        if number:
            woken = result.wakes.get("broadcast", 0)
            instead = f"; broadcasts woke {counted(woken, 'task')} instead" if woken else ""
            yield (
                f"READY never came for {counted(number, 'token')} that the guest was told of:"
                f" {NEVER_TOLD.get(why, why)}{'' if why in NOT_SENT else instead}."
            )


def is_bad(result: RunResult, lost: Sequence[Lost], pending: Sequence[Pending]) -> bool:
    """Whether something happened that must not: a reader has to see it first."""
    unmet = not all(one.met for one in result.expected)
    not_sent = any(one.reason in NOT_SENT for one in lost)
    return any(wrongs(result)) or unmet or not_sent or bool(pending)


def pending_worries(pending: Sequence[Pending]) -> Iterator[str]:
    """Sentences on vcpus that slept though something waited to be injected; the longest named."""
    if pending:
        one = max(pending, key=lambda each: each.until_ns - each.from_ns)
        more = f", the longest of {count(len(pending))} times" if len(pending) > 1 else ""
        yield (
            f"Vcpu {one.vcpu} of {one.vm} slept in HLT with an exception pending, for"
            f" {duration((one.until_ns - one.from_ns) / 1e9)} from {instant(one.from_ns)} on{more}."
        )


def _dummies(number: int) -> str:
    return "1 dummy" if number == 1 else f"{count(number)} dummies"


def stood_still(cpu: Mapping[str, int]) -> int:
    """Time that vcpus were halted for a page or waited for it in their own thread."""
    return cpu.get("blackout", 0) + cpu.get("halted", 0)
