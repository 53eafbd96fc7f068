"""How far the tasks of a run came, and how its VMs fared, as tables of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pagewake.observe.expectations import Expectation
from pagewake.observe.latency import Latency
from pagewake.observe.progress import Share, TaskProgress, by_kind
from pagewake.observe.report import words
from pagewake.observe.report.figures import NOTHING
from pagewake.observe.report.verdict import stood_still
from pagewake.observe.result import RunResult, WaitTimes

TASKS_MAX = 40
"""Tasks named one by one: a table that fits a screen or two; the JSON has all of them."""
VMS_MAX = 20
"""VMs named one by one, those that stood still most."""


class Table(NamedTuple):
    """A table of a page; cells beyond the first are numbers, and `note` says what is left out."""

    name: str
    headings: list[str]
    rows: list[list[str]]
    note: str = ""


def progress_tables(result: RunResult) -> list[Table]:
    """Kinds of tasks, and of VMs if there are several, first; then one by one."""
    progress = result.progress or {}
    tables = []
    if progress:
        tables.append(_kinds(progress, result.sim_ns))
    groups, vms = result.per_group or {}, result.per_vm or {}
    if len(groups) > 1:
        tables.append(_shares("by kind of VM", list(groups.items())))
    if len(vms) > 1:
        tables.append(_vms(vms))
    return tables


def task_table(result: RunResult) -> Table | None:
    """Every task, up to a bound; None where the kinds say as much."""
    progress = result.progress or {}
    if len(progress) == len(by_kind(progress)):
        return None
    shown = list(progress.items())[:TASKS_MAX]
    rows = [
        [
            name,
            words.count(task.touches),
            _or_nothing(task.passes),
            _or_nothing(task.work),
            words.duration(task.cpu_ns / 1e9, 4),
            _ended(task),
        ]
        for name, task in shown
    ]
    more = len(progress) - len(shown)
    note = f"The first {len(shown)}; {words.count(more)} more are in the JSON." if more else ""
    headings = ["task", "touches", "passes", "work", "CPU time", "ended"]
    return Table("task by task", headings, rows, note)


def _kinds(progress: Mapping[str, TaskProgress], sim_ns: int) -> Table:
    """Rates are per simulated second, until the last of the kind ended."""
    rows = []
    counted = [kind for kind in ("touches", "requests", "work") if _any(progress, kind)]
    for name, tasks in by_kind(progress).items():
        until_ns = max(_until_ns(task, sim_ns) for task in tasks)
        row = [name, words.count(len(tasks))]
        for kind in counted:
            number = sum(getattr(task, kind) or 0 for task in tasks)
            rate = round(number * 1e9 / until_ns) if until_ns else 0
            row += [words.short(number), words.short(rate)] if number else [NOTHING, NOTHING]
        passes = [task.passes for task in tasks if task.passes is not None]
        row += [words.count(sum(passes)) if passes else NOTHING, _finished(tasks), _killed(tasks)]
        rows.append(row)
    rates = [heading for kind in counted for heading in (kind, f"{kind}/s")]
    return Table(
        "by kind of task",
        ["tasks", "number", *rates, "passes", "finished", "killed"],
        rows,
        "Rates are per simulated second, until the last task of a kind had ended.",
    )


def _any(progress: Mapping[str, TaskProgress], kind: str) -> bool:
    return any(getattr(task, kind) for task in progress.values())


def _until_ns(task: TaskProgress, sim_ns: int) -> int:
    ended = task.finished_ns if task.finished_ns is not None else task.killed_ns
    return sim_ns if ended is None else ended


def _finished(tasks: Sequence[TaskProgress]) -> str:
    done_ns = [task.finished_ns for task in tasks if task.finished_ns is not None]
    if not done_ns:
        return NOTHING
    number = "all" if len(done_ns) == len(tasks) else words.count(len(done_ns))
    return f"{number}, the last at {words.duration(max(done_ns) / 1e9, 4)}"


def _killed(tasks: Sequence[TaskProgress]) -> str:
    killed_ns = [task.killed_ns for task in tasks if task.killed_ns is not None]
    if not killed_ns:
        return NOTHING
    return f"{len(killed_ns)}, the first at {words.duration(min(killed_ns) / 1e9, 4)}"


def _ended(task: TaskProgress) -> str:
    if task.killed_ns is not None:
        return f"killed at {words.duration(task.killed_ns / 1e9, 4)}"
    if task.finished_ns is not None:
        return f"finished at {words.duration(task.finished_ns / 1e9, 4)}"
    return NOTHING


def _or_nothing(number: int | None) -> str:
    return NOTHING if number is None else words.count(number)


def _vms(vms: Mapping[str, Share]) -> Table:
    most = sorted(vms.items(), key=lambda item: (-_still(item[1]), len(item[0]), item[0]))
    note = "Those whose vcpus stood still most come first"
    rest = most[VMS_MAX:]
    if rest:
        least, last = _share(rest[-1][1]), _share(rest[0][1])
        range_ = least if least == last else f"{least} to {last}"
        note += f"; the other {words.count(len(rest))} VMs stood still {range_} of their time"
    return _shares("VM by VM", most[:VMS_MAX])._replace(note=f"{note}.")


def _shares(name: str, shares: Sequence[tuple[str, Share]]) -> Table:
    counted = [
        kind for kind in ("touches", "requests", "work") if any(getattr(s, kind) for _, s in shares)
    ]
    rows = [
        [
            vm,
            *(words.short(getattr(share, kind)) for kind in counted),
            words.count(sum(share.not_present.values())),
            words.count(share.page_ins),
            words.count(share.evictions),
            _share(share),
            f"{share.finished} of {share.tasks}" if share.finished else NOTHING,
            words.count(share.killed) if share.killed else NOTHING,
        ]
        for vm, share in shares
    ]
    headings = ["VM", *counted, "faults", "page-ins", "evictions", "stood still"]
    return Table(name, [*headings, "finished", "killed"], rows)


def _still(share: Share) -> float:
    return stood_still(share.cpu) / (sum(share.cpu.values()) or 1)


def _share(share: Share) -> str:
    return words.percent(stood_still(share.cpu), sum(share.cpu.values()))


def latency_table(result: RunResult) -> Table | None:
    """How long requests took, a row per group of tasks; None where there were none."""
    if not result.latency:
        return None
    times = list(next(iter(result.latency.values())).times_ns())
    rows = [
        [
            name,
            words.count(one.count),
            words.short(round(one.throughput_per_s)),
            *(_time(ns) for ns in one.times_ns().values()),
            words.count(one.unfinished),
        ]
        for name, one in result.latency.items()
    ]
    headings = ["requests of", "answered", "a second", *times, "unfinished"]
    note = "Times count from the instant at which a request was meant to come."
    return Table("latency of requests", headings, rows, note)


def expected_table(result: RunResult) -> Table | None:
    """What the scenario expects of its requests, and whether it came so; None without such."""
    rows = [
        [one.of, one.what, _amount(one, one.limit), _amount(one, one.found), _met(one)]
        for one in result.expected
    ]
    headings = ["requests of", "what", "limit", "found", ""]
    return Table("expected", headings, rows) if rows else None


def _amount(one: Expectation, value: float | None) -> str:
    return f"{value:,.4g} a second" if one.what == "throughput" and value else _time(value)


def _met(one: Expectation) -> str:
    return "met" if one.met else "not met"


def _time(ns: float | None) -> str:
    return NOTHING if ns is None else words.duration(ns / 1e9)


def latency_times(latency: Latency) -> WaitTimes | None:
    """Percentiles for a picture; None where nothing was answered."""
    p50, p90, p99, most = latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.max_ns
    if p50 is None or p90 is None or p99 is None or most is None:
        return None
    return WaitTimes(p50 / 1e9, p90 / 1e9, p99 / 1e9, most / 1e9)
