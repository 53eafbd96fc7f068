"""The report of a run or of a grid: one HTML file that needs nothing but itself.

Nothing is fetched, and no script runs in it but its own, whose hash it names: its
Content-Security-Policy makes sure of both. It can be read without scripts. The same log gives the
same bytes. matplotlib and Jinja are loaded here and nowhere else, so import this
module when a report is wanted, not before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jinja2

from pagewake import __version__
from pagewake.observe.headline import headline
from pagewake.observe.report import grids, words
from pagewake.observe.report.charts import (
    Bar,
    SleepTimes,
    cpu_bars,
    measure_bars,
    time_ranges,
)
from pagewake.observe.report.distribution import durations_chart
from pagewake.observe.report.figures import (
    counters,
    document,
    kinds_of,
    reasons,
    routes,
    tiles,
    uses,
)
from pagewake.observe.report.grids import Point
from pagewake.observe.report.html import environment, json_block
from pagewake.observe.report.moments import moments
from pagewake.observe.report.payoff_section import maps
from pagewake.observe.report.progress import (
    expected_table,
    latency_table,
    latency_times,
    progress_tables,
    task_table,
)
from pagewake.observe.report.reading import LoggedRun, read_log
from pagewake.observe.report.replaying import FILE, command_of
from pagewake.observe.report.svg import Chart
from pagewake.observe.report.verdict import (
    is_bad,
    never_ready,
    pending_worries,
    stood_still,
    verdict,
    worries,
)
from pagewake.observe.result import RunResult
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml

MAX_CHARTED = 40
"""Points of a grid with bars of their own: 46 pixels each. The table below has all points."""
NOBODY_ANSWERED = "nothing was answered"
DETAILS = ("work", "cpu", "by_event", "unresolved_tasks")


def page_of_log(log: Path, result: RunResult | None = None) -> str:
    """The page of one run; `result` is what the run itself counted, where it has just been made."""
    told = read_log(log)
    if result is not None:
        told.result = result
    return _template().render(_of_run(told))


def page_of_grid(points: Sequence[Point], scenario: Scenario, command: str) -> str:
    """The page of a grid; `scenario` is that of its first point, `command` makes the grid again."""
    return _template().render(_of_grid(points, scenario, command))


def _template() -> jinja2.Template:
    templates = environment()
    templates.globals.update(
        count=words.count, percent=words.percent, duration=words.duration, instant=words.instant
    )
    return templates.get_template("page.html")


# ---------------------------------------------------------------------------------- one run


def _of_run(told: LoggedRun) -> dict[str, object]:
    result, scenario = told.result, told.scenario
    command = command_of(scenario)
    kinds = kinds_of([result])
    return {
        **_about(scenario, command),
        "kind": "run",
        "facts": [f"seed {result.seed}", f"profile {result.profile}", f"apf {result.apf}"],
        "verdict": verdict(result, told.pending),
        "worries": [
            *worries(result),
            *never_ready(Counter(one.reason for one in told.lost), result),
            *pending_worries(told.pending),
        ],
        "bad": is_bad(result, told.lost, told.pending),
        "result": result,
        "results": [result],
        "json": json_block(document(result)),
        "tiles": tiles(result),
        "uses": uses(result.cpu, kinds),
        "progress": progress_tables(result),
        "by_task": task_table(result),
        "latency": latency_table(result),
        "expected": expected_table(result),
        **_run_pictures(told, kinds),
        **moments(told, kinds),
        "routes": routes(told),
        "reasons": reasons(told),
        "counters": [group for group in counters(result) if group[0] not in DETAILS],
        "details": [group for group in counters(result) if group[0] in DETAILS],
    }


def _run_pictures(told: LoggedRun, kinds: Sequence[str]) -> dict[str, object]:
    result = told.result
    return {
        "cpu": cpu_bars("cpu", [Bar("", result.cpu)], kinds) if result.cpu else None,
        "durations": durations_chart(
            "durations",
            [
                ("tasks that slept until they were woken", "task-1", told.slept),
                ("vcpus halted for a page, each halt", "halted", told.halted),
                (
                    "vcpus blacked out, waiting for a page in their own thread",
                    "blackout",
                    told.blacked_out,
                ),
            ],
            result.wait_sim_seconds,
        ),
        "latencies": time_ranges(
            "latencies",
            [SleepTimes(name, latency_times(one)) for name, one in result.latency.items()],
            "latency of requests",
            NOBODY_ANSWERED,
        ),
    }


def _about(scenario: Scenario, command: str) -> dict[str, object]:
    return {
        "scenario": scenario,
        "description": scenario.about.description,
        "toml": effective_toml(scenario, scenario.about.version or __version__),
        "command": command,
        "file": FILE,
        "needs_file": command.endswith(f" {FILE}"),
    }


# ---------------------------------------------------------------------------------- a grid


def _common(results: Sequence[RunResult]) -> list[str]:
    """Facts that are the same for all points."""
    facts = [words.counted(len(results), "point")]
    for key in ("seed", "profile", "apf"):
        values = [getattr(result, key) for result in results]
        if values.count(values[0]) == len(values):
            facts.append(f"{key} {values[0]}")
    return facts


def _of_grid(points: Sequence[Point], scenario: Scenario, command: str) -> dict[str, object]:
    results = [point.result for point in points]
    found = grids.measured(points)
    shown = grids.in_groups(points)[:MAX_CHARTED]
    kinds = kinds_of(results)
    worrying = [
        f"{points[one.number].label}: {worry}"
        for one in shown
        for worry in (
            *worries(results[one.number]),
            *never_ready(results[one.number].silent or {}, results[one.number]),
        )
    ]
    return {
        **_about(scenario, command),
        "needs_file": False,
        "kind": "grid",
        "facts": _common(results),
        "verdict": " ".join(headline([point.axes for point in points], results))
        or verdict(results[0]),
        "worries": worrying,
        "bad": any(is_bad(result, (), ()) for result in results),
        "points": points,
        "axes": list(points[0].axes),
        "results": results,
        "json": json_block([{"axes": dict(p.axes), **document(p.result)} for p in points]),
        "hidden": len(points) - len(shown),
        "uses": grids.headings(kinds),
        "shares": grids.shares(points, kinds),
        "measured": found,
        "maps": maps(points),
        "heats": grids.heats(points, found),
        "still": [
            words.percent(stood_still(result.cpu), sum(result.cpu.values())) for result in results
        ],
        "series": grids.ordered(points),
        **_grid_pictures(results, shown, found, kinds),
    }


def _grid_pictures(
    results: Sequence[RunResult],
    shown: Sequence[grids.Placed],
    found: Sequence[grids.Measured],
    kinds: Sequence[str],
) -> dict[str, object]:
    return {
        "cpu": cpu_bars(
            "cpu", [Bar(one.label, results[one.number].cpu, one.heading) for one in shown], kinds
        ),
        "bars": [
            (one.name, measure_bars(f"measure-{number}", one, shown))
            for number, one in enumerate(found[: grids.MEASURES_MAX])
        ],
        "sleeps": time_ranges(
            "sleeps",
            [
                SleepTimes(one.label, results[one.number].wait_sim_seconds, one.heading)
                for one in shown
            ],
            "time asleep",
            "nobody was woken",
        ),
        "latencies": [
            (name, picture)
            for number, name in enumerate(results[0].latency)
            if (picture := _latencies(number, name, shown, results)) is not None
        ],
    }


def _latencies(
    number: int, name: str, shown: Sequence[grids.Placed], results: Sequence[RunResult]
) -> Chart | None:
    """The latencies of one group of tasks at every point."""
    found = [(one, results[one.number].latency.get(name)) for one in shown]
    return time_ranges(
        f"latencies-{number}",
        [
            SleepTimes(one.label, None if latency is None else latency_times(latency), one.heading)
            for one, latency in found
        ],
        f"latency of {name}",
        NOBODY_ANSWERED,
    )
