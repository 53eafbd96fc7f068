"""The lines of a result about its tasks: how far they came, and what went wrong with them.

What is not zero and bad is never left out; what is zero and bad makes no line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pagewake.cli.progress import duration
from pagewake.observe.progress import Share, TaskProgress, by_kind
from pagewake.observe.report import words
from pagewake.observe.result import RunResult
from pagewake.observe.wrong import NOT_SENT, named
from pagewake.scenario.interventions import INTERVENTIONS
from pagewake.scenario.model import group_of

SHOWN_MAX = 8
"""Kinds of tasks on the line of touches; `--json` has all."""
PROGRESS = ("requests", "touches", "work")
"""What tells VMs apart that are alike: what waits for pages before what fills the waits."""


def task_rows(result: RunResult) -> Iterator[tuple[str, str]]:
    """What the tasks of a run did, as label and text."""
    yield "work", _work(result)
    yield "touches", _touches(result)
    ends = [task for task in (result.progress or {}).values() if task.ends]
    if ends:
        yield "finished", _finished(ends)


def trouble_rows(result: RunResult) -> Iterator[tuple[str, str]]:
    """What a reader must not miss: what befell VMs and tasks, and who intervened."""
    if result.panics:
        at = {vm: duration(panic.at_ns / 1e9) for vm, panic in result.panics.items()}
        yield "PANICKED", named([f"{vm} at {at[vm]}, {result.panics[vm].why}" for vm in at])
    killed_ns = {
        name: task.killed_ns
        for name, task in (result.progress or {}).items()
        if task.killed_ns is not None
    }
    if killed_ns:
        first = duration(min(killed_ns.values()) / 1e9)
        tasks = words.counted(len(killed_ns), "task")
        yield "killed", f"{tasks}, the first at {first}: {named(list(killed_ns))}"
    silent = [(why, number) for why, number in (result.silent or {}).items() if number]
    if silent:
        yield "never ready", ", ".join(f"{_fate(why)} {number:,}" for why, number in silent)
    carried_out = [
        (do, number)
        for kind, do in INTERVENTIONS.items()
        if (number := result.by_event.get(kind.__name__, 0))
    ]
    if carried_out:
        yield "interventions", ", ".join(f"{do} {number:,}" for do, number in carried_out)


def group_rows(result: RunResult) -> Iterator[tuple[str, str]]:
    """A line for each kind of VMs, where there are several, and one on how its VMs differ."""
    groups = list((result.per_group or {}).items())
    for name, share in groups[:SHOWN_MAX] if len(groups) > 1 else ():
        paged = f"page-ins {share.page_ins:,}, evictions {share.evictions:,}"
        yield f"of {name}", f"{paged}, vcpus {shares(share.cpu)}"
    if len(groups) > SHOWN_MAX:
        yield "of others", f"{len(groups) - SHOWN_MAX} more kinds of VMs are in --json"
    for name, share in groups[:SHOWN_MAX]:
        alike = {vm: each for vm, each in (result.per_vm or {}).items() if group_of(vm) == name}
        progress = next((what for what in PROGRESS if getattr(share, what)), PROGRESS[-1])
        spreads = [_spread(what, alike) for what in (progress, "page_ins")]
        if any(spreads):
            yield f"within {name}", ", ".join(spread for spread in spreads if spread)


def _spread(what: str, alike: Mapping[str, Share]) -> str:
    """Which of VMs that are alike had least of something, and which most; nothing if all had it."""
    found = {vm: getattr(share, what) for vm, share in alike.items()}
    least, most = (of(found, key=found.__getitem__) for of in (min, max))
    if found[least] == found[most]:
        return ""
    name = what.replace("_", "-")
    return f"{name} {found[least]:,} ({least}) to {found[most]:,} ({most})"


def shares(cpu: Mapping[str, int]) -> str:
    """What vcpu time went to, the most first; tasks by their names alone."""
    total = sum(cpu.values())
    most_first = sorted(cpu.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{label(kind)} {percent(ns / total)}" for kind, ns in most_first if ns)


def percent(share: float, decimals: int = 1) -> str:
    """A share; what is there but rounds to nothing does not look like nothing."""
    least = 10.0**-decimals
    small = 0 < 100 * share < least / 2
    return f"<{least:.{decimals}f} %" if small else f"{100 * share:.{decimals}f} %"


def label(name: str) -> str:
    """A key as words; vcpu time that went to tasks is called by the tasks' name alone."""
    return name.removeprefix("task:").replace("_", " ")


def _work(result: RunResult) -> str:
    tasks = len(result.work.per_task)
    if not tasks:
        return "no task of pattern work"
    return f"{result.work.total:,} increments by {words.counted(tasks, 'task')}"


def _touches(result: RunResult) -> str:
    """By kind of task; of which VM, if there are several kinds of VMs."""
    every = by_kind(result.progress or {})
    kinds = {name: tasks for name, tasks in every.items() if tasks[0].work is None}
    if len(result.per_group or ()) == 1:
        kinds = {name.partition("/")[2]: tasks for name, tasks in kinds.items()}
    if not kinds:
        return "no task touches memory"
    shown = [f"{kind} {_pace(tasks, result.sim_ns)}" for kind, tasks in kinds.items()]
    more = f", and {len(shown) - SHOWN_MAX} more kinds" if len(shown) > SHOWN_MAX else ""
    return ", ".join(shown[:SHOWN_MAX]) + more


def _pace(tasks: Sequence[TaskProgress], sim_ns: int) -> str:
    """How many touches, how many a simulated second until the last of the tasks ended."""
    touches = sum(task.touches for task in tasks)
    ended_ns = [task.finished_ns or task.killed_ns or sim_ns for task in tasks]
    rate = round(touches * 1e9 / max(ended_ns)) if touches else 0
    text = f"{_short(touches)} ({_short(rate)}/s"
    passes = [task.passes for task in tasks if task.passes is not None]
    more = f", {words.counted(sum(passes), 'pass', 'passes')}" if passes else ""
    return f"{text}{more})"


def _short(number: int) -> str:
    return words.short(number).replace(words.GLUE, " ")


def _finished(ends: Sequence[TaskProgress]) -> str:
    done_ns = [task.finished_ns for task in ends if task.finished_ns is not None]
    text = f"{len(done_ns):,} of {words.counted(len(ends), 'task')}"
    return f"{text}, the last at {duration(max(done_ns) / 1e9)}" if done_ns else text


def _fate(why: str) -> str:
    """Why a token was never ready: not sent, or withdrawn."""
    return f"not sent ({why.replace('_', ' ')})" if why in NOT_SENT else f"withdrawn ({why})"
