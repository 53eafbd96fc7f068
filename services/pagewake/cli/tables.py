"""Results as small tables: the numbers a person asks for, in the protocol's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich.console import RenderableType
from rich.table import Table

from pagewake.cli.figures import Counted, Figures
from pagewake.cli.progress import duration, factor, seconds
from pagewake.cli.task_rows import group_rows, label, shares, task_rows, trouble_rows
from pagewake.events.journal import JournalMode
from pagewake.observe.expectations import Expectation
from pagewake.observe.result import RunResult, WaitTimes
from pagewake.scenario.units import mib

JOURNAL: Mapping[JournalMode, str] = {
    "none": "none of it is kept",
    "faults": "kept is what figures are counted from",
}
IN_JOURNAL = ("task_wait", "woken by", "slept for", "halts", "double faults")
"""Rows that say nothing where no journal was read."""


def run_table(
    result: RunResult, beside: Iterable[tuple[str, str]] = (), *, saw_journal: bool = True
) -> list[RenderableType]:
    """One run: a head line, the figures, the digest; `beside` stands before the digest."""
    left_out = () if saw_journal else IN_JOURNAL
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in (
        *_figures(result),
        *_expectations(result),
        *beside,
        ("digest", result.digest),
    ):
        if name not in left_out:
            table.add_row(name, Counted(text))
    head = f"{result.scenario}: seed {result.seed}, profile {result.profile}, apf {result.apf}"
    return [head, table, *([requests_table(result)] if result.latency else [])]


def _expectations(result: RunResult) -> Iterator[tuple[str, str]]:
    for each in result.expected:
        yield "expected" if each.met else "MISSED", f"{each.of} {_expected(each)}"


def missed(result: RunResult) -> Iterator[str]:
    """What the scenario expects and did not come true, in words."""
    for each in result.expected:
        if not each.met:
            yield f"{each.of} {_expected(each)}"


def _expected(each: Expectation) -> str:
    if each.what == "throughput":
        return f"{each.what} {factor(each.found or 0)}/s, expected at least {factor(each.limit)}/s"
    found = "of no request" if each.found is None else duration(each.found / 1e9)
    return f"{each.what} {found}, expected at most {duration(each.limit / 1e9)}"


def requests_table(result: RunResult) -> Figures:
    """A row per group of tasks that served requests; times count from the intended arrival."""
    times = list(next(iter(result.latency.values())).times_ns())
    headings = ("requests of", "answered", "a second", *times, "unfinished")
    table = Figures(headings, first_out=("mean", "p90", "p99.9"))
    for name, found in result.latency.items():
        table.add_row(
            name,
            f"{found.count:,}",
            factor(found.throughput_per_s),
            *("-" if ns is None else duration(ns / 1e9) for ns in found.times_ns().values()),
            f"{found.unfinished:,}",
        )
    return table


def _figures(result: RunResult) -> Iterable[tuple[str, str]]:
    yield "simulated", _simulated(result)
    yield from task_rows(result)
    if result.cpu:
        yield "vcpu time", shares(result.cpu)
    if result.host_cpu:
        yield "host cpus", shares(result.host_cpu)
    yield from group_rows(result)
    yield "not present", _counts(result.not_present)
    ahead = f"read ahead {result.read_ahead:,}, " if result.read_ahead else ""
    yield "page-ins", f"{result.page_ins:,}, {ahead}first touches {_first_touches(result)}"
    if result.pushed:
        yield "pushed", f"{result.pushed:,} pages, unasked"
    yield "evictions", f"{result.evictions:,}"
    if result.page_ins_from:
        counts = result.page_ins_from.items()
        yield "read from", ", ".join(f"{name} {pages:,}" for name, pages in counts)
    if result.in_swap_bytes:
        yield "in swap", f"{result.in_swap:,} pages, in {mib(result.in_swap_bytes)} of memory"
    waits = result.waits
    yield (
        "task_wait",
        f"slept {waits.slept:,}, early ready {waits.early_ready:,}, halted {waits.halted:,}",
    )
    yield "woken by", _counts(result.wakes)
    yield "slept for", wait_times(result.wait_sim_seconds)
    yield "dummies", _dummies(result)
    yield "halts", _counts(result.halts) if result.halts else "none"
    yield "double faults", _double_faults(result)
    if any(result.exits.values()):
        yield "nested exits", _counts(result.exits)
    if result.journal != "full":
        yield "journal", JOURNAL[result.journal]
    yield from trouble_rows(result)
    yield "unresolved", _unresolved(result)


def _simulated(result: RunResult) -> str:
    where = f" in {result.jobs} processes" if (result.jobs or 1) > 1 else ""
    took = f"in {duration(result.wall_s)}{where} ({factor(result.speed)} x real time)"
    counted = f"{result.events:,} events, {result.windows:,} windows"
    return f"{seconds(result.sim_ns)} {took}, {counted}"


def _first_touches(result: RunResult) -> str:
    """How many first touches there were; those that found no frame made their vcpu wait."""
    waited = result.by_event.get("PageNotPresent", 0) - sum(result.not_present.values())
    parts = [f"{waited:,} waited for a frame"] if waited else []
    parts += [f"{result.huge_touches:,} faults for 512 each"] if result.huge_touches else []
    return f"{result.first_touches:,}" + (f" ({', '.join(parts)})" if parts else "")


def _dummies(result: RunResult) -> str:
    dummies = result.dummies
    return (
        f"inserted {dummies.inserted:,}, consumed {dummies.consumed:,},"
        f" leaked {dummies.leaked:,}, left {dummies.left:,}"
    )


def _double_faults(result: RunResult) -> str:
    """Each asks for a halt; by the time of it the page may be there, and the halt is called so."""
    other = result.double_faults - result.halts.get("double_fault", 0)
    text = f"{result.double_faults:,}"
    return f"{text} ({other:,} halted as stale, or not: the page came first)" if other else text


def _unresolved(result: RunResult) -> str:
    if not result.unresolved:
        return f"none of {result.sleepers:,} asleep at the end" if result.sleepers else "none"
    named = ", ".join(result.unresolved_tasks[:5])
    more = " ..." if result.unresolved > 5 else ""
    return f"{result.unresolved:,} asleep with no page-in in flight: {named}{more}"


def _counts(table: Mapping[str, int]) -> str:
    return ", ".join(f"{label(name)} {count:,}" for name, count in table.items())


def wait_times(times: WaitTimes | None) -> str:
    """Percentiles of how long tasks slept, as one line."""
    if times is None:
        return "nobody was woken"
    return (
        f"p50 {duration(times.p50)}, p90 {duration(times.p90)},"
        f" p99 {duration(times.p99)}, max {duration(times.max)}"
    )
