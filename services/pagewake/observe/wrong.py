"""What must not happen in a run, if it is to count as a good one: what `--check` looks for.

A kernel that panics, a task that is killed, a wake-up that is lost, a READY that is not sent.
Tokens that are withdrawn are none of it: whoever withdraws them is to wake their sleepers, and if
it fails, the wake-up is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from pagewake.events.types import LostWhy, SilentWhy
from pagewake.observe.report.words import counted
from pagewake.observe.result import RunResult

NAMED_MAX = 5
"""Tasks in a sentence; `--json` has all."""
NOT_SENT = (*get_args(SilentWhy), *get_args(LostWhy))


def panics(result: RunResult) -> Iterator[str]:
    """The VMs whose kernel panicked, as a clause."""
    if result.panics:
        kernels = counted(len(result.panics), "guest kernel")
        yield f"{kernels} panicked: {named(list(result.panics))}"


def wrongs(result: RunResult) -> Iterator[str]:
    """Each as a clause, with the tasks that it befell; nothing for a good run."""
    yield from panics(result)
    killed = [name for name, task in (result.progress or {}).items() if task.killed_ns is not None]
    if killed:
        yield f"{counted(len(killed), 'task')} killed: {named(killed)}"
    lost = result.unresolved_tasks
    if lost:
        yield f"{counted(len(lost), 'wake-up')} lost: {named(lost)}"
    silent = {why: number for why, number in (result.silent or {}).items() if why in NOT_SENT}
    if any(silent.values()):
        why = ", ".join(reason.replace("_", " ") for reason, number in silent.items() if number)
        yield f"{counted(sum(silent.values()), 'READY')} not sent: {why}"


def named(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:NAMED_MAX]) + (", ..." if len(names) > NAMED_MAX else "")
