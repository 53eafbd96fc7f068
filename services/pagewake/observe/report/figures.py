"""The figures of a page: tiles, tables, and the result as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from pagewake.nested_svm.exit_codes import name_of
from pagewake.observe.report import words
from pagewake.observe.report.colours import use_colours
from pagewake.observe.report.reading import LoggedRun
from pagewake.observe.report.verdict import stood_still
from pagewake.observe.result import RunResult

MAX_TASKS = 40
"""A table that fits a screen or two; the JSON below it has all of them."""
MAX_ROUTES = 40
"""As many as `MAX_TASKS`; the most frequent ones come first."""
_TABLES = ("progress", "per_group", "per_vm", "latency", "expected")
"""Keys with tables of their own."""
NOTHING = "\u2013"


class Use(NamedTuple):
    """A row of the table of vcpu time: what it went to, how much, and its share."""

    colour: str
    name: str
    seconds: str
    share: str


def tiles(result: RunResult) -> list[tuple[str, str, str]]:
    """The large figures at the head of a page: label, figure, remark."""
    faults = sum(result.not_present.values())
    injected = result.not_present["injected"]
    times = result.wait_sim_seconds
    found = [
        ("simulated", words.instant(result.sim_ns), f"{words.count(result.events)} events"),
        (
            "faults",
            words.count(faults),
            f"on absent pages, {words.percent(injected, faults)} injected",
        ),
        (
            "vcpus stood still",
            words.percent(stood_still(result.cpu), sum(result.cpu.values())),
            "of their time for a page",
        ),
        (
            "time asleep",
            words.duration(times.p50) if times else NOTHING,
            f"at p50, {words.duration(times.p99)} at p99" if times else "nobody was woken",
        ),
        (
            "page-ins",
            words.count(result.page_ins),
            f"{words.count(result.evictions)} evictions",
        ),
    ]
    if result.work.per_task:
        tasks = words.counted(len(result.work.per_task), "task")
        found.append(("work", words.short(result.work.total), f"increments by {tasks}"))
    if result.touches:
        rate = round(result.touches * 1e9 / result.sim_ns)
        found.append(("touches", words.short(result.touches), f"{words.short(rate)} a second"))
    if result.latency:
        answered = sum(one.count for one in result.latency.values())
        worst = max((one.p99_ns or 0 for one in result.latency.values()), default=0)
        found.append(
            ("requests", words.short(answered), f"p99 at most {words.duration(worst / 1e9)}")
        )
    if any(result.exits.values()):
        exits = sum(result.exits.values())
        found.append(("nested exits", words.count(exits), "routed, by all hypervisors"))
    return found


def kinds_of(results: Sequence[RunResult]) -> list[str]:
    """Kinds of vcpu time in the order of the bars: tasks, overhead, idle, standing still."""
    kinds = sorted({kind for result in results for kind in result.cpu})
    behind = ("l1", "exit", "interrupt", "polling", "idle", "steal", "halted", "blackout")
    tasks = [kind for kind in kinds if kind not in behind]
    return [*tasks, *(kind for kind in behind if kind in kinds)]


def uses(cpu: Mapping[str, int], kinds: Sequence[str]) -> list[Use]:
    """The legend of the bar of vcpu time, with its figures."""
    colours, total = use_colours(kinds), sum(cpu.values())
    return [
        Use(
            colours[kind],
            words.use(kind),
            words.duration(cpu.get(kind, 0) / 1e9, 4),
            words.percent(cpu.get(kind, 0), total),
        )
        for kind in kinds
    ]


def routes(told: LoggedRun) -> list[dict[str, object]]:
    """Rows (level, exit, route), the most frequent first."""
    total = told.routes.total()
    ordered = sorted(told.routes.items(), key=lambda item: (-item[1], item[0]))
    return [
        {
            "level": f"L{level}",
            "exit": name_of(code),
            "code": f"{code:#05x}",
            "route": route,
            "number": number,
            "share": words.percent(number, total),
            "width": round(100 * number / ordered[0][1], 1),
        }
        for (level, code, route), number in ordered[:MAX_ROUTES]
    ]


def reasons(told: LoggedRun) -> list[tuple[str, str, int]]:
    """Rows (delivery, why, faults), the most frequent first."""
    ordered = sorted(told.reasons.items(), key=lambda item: (-item[1], item[0]))
    return [
        (delivery, why.replace("_", " ") or NOTHING, number) for (delivery, why), number in ordered
    ]


def counters(result: RunResult) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every figure of the result under its key; work by task up to a bound."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    single: list[tuple[str, str]] = []
    for key, value in document(result).items():
        if key in _TABLES:
            continue
        if key == "work":
            per_task = list(result.work.per_task.items())
            rows = [("total", words.count(result.work.total))]
            rows += [(name, words.count(number)) for name, number in per_task[:MAX_TASKS]]
            if len(per_task) > MAX_TASKS:
                rows.append((f"and {words.count(len(per_task) - MAX_TASKS)} more tasks", "…"))
            groups.append((key, rows))
        elif isinstance(value, dict):
            groups.append((key, [(str(name), _figure(number)) for name, number in value.items()]))
        elif isinstance(value, list):
            shown = [(str(index + 1), str(name)) for index, name in enumerate(value[:MAX_TASKS])]
            if len(value) > MAX_TASKS:
                shown.append((f"and {words.count(len(value) - MAX_TASKS)} more", "…"))
            groups.append((key, shown))
        else:
            single.append((key, str(value) if key == "seed" else _figure(value)))
    return [("run", single), *((key, rows or [("none", "")]) for key, rows in groups)]


def _figure(value: object) -> str:
    if value is None:
        return NOTHING
    return words.count(value) if isinstance(value, int) else str(value)


def document(result: RunResult) -> dict[str, object]:
    """The result as `run --json` has it, but for how it was run: equal runs give equal pages."""
    builtins: dict[str, object] = msgspec.to_builtins(result)
    for name in ("wall_s", "jobs"):
        del builtins[name]
    return builtins
