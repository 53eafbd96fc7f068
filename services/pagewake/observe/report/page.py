"""The report of a run or of a grid: one HTML file that needs nothing but itself.

No script runs in it and nothing is fetched, which its Content-Security-Policy makes sure of. The
same log gives the same bytes. matplotlib and Jinja are loaded here and nowhere else, so import this
module when a report is wanted, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from pagewake import __version__
from pagewake.observe.headline import headline
from pagewake.observe.report import words
from pagewake.observe.report.charts import (
    Bar,
    SleepTimes,
    cpu_bars,
    sleep_ranges,
    use_colours,
    work_bars,
)
from pagewake.observe.report.distribution import durations_chart
from pagewake.observe.report.figures import (
    NOTHING,
    Use,
    counters,
    document,
    kinds_of,
    reasons,
    routes,
    tiles,
    uses,
)
from pagewake.observe.report.html import environment, json_block
from pagewake.observe.report.reading import LoggedRun, read_log
from pagewake.observe.report.replaying import FILE, command_of
from pagewake.observe.report.timeline import Timeline
from pagewake.observe.report.timeline_chart import drawn_flights, legend, timeline_chart
from pagewake.observe.report.verdict import stood_still, verdict, worries
from pagewake.observe.result import RunResult
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml

MAX_CHARTED = 40
"""Points of a grid with bars of their own: 46 pixels each. The table below has all points."""
MAX_MARKS = 4_000
"""Spans and flights in one SVG. Chosen: beyond, the page grows heavy and the picture is a blur."""
DETAILS = ("work", "cpu", "by_event", "unresolved_tasks")


class Point(NamedTuple):
    """One run of a grid: the values of its axes, and its result."""

    axes: Mapping[str, str]
    result: RunResult

    @property
    def label(self) -> str:
        """The values of its axes, such as `kernel.apf=pv`."""
        return ", ".join(f"{key}={value}" for key, value in self.axes.items())


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
        "verdict": verdict(result),
        "worries": list(worries(result)),
        "result": result,
        "results": [result],
        "json": json_block(document(result)),
        "tiles": tiles(result),
        "cpu": cpu_bars("cpu", [Bar("", result.cpu)], kinds) if result.cpu else None,
        "uses": uses(result.cpu, kinds),
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
        "timelines": _timelines(told.timeline),
        "routes": routes(told),
        "reasons": reasons(told),
        "counters": [group for group in counters(result) if group[0] not in DETAILS],
        "details": [group for group in counters(result) if group[0] in DETAILS],
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


def _timelines(whole: Timeline | None) -> list[dict[str, object]]:
    """The stretch, and its busiest part where the stretch is too full to be read."""
    if whole is None or not whole.vcpus:
        return []
    shown = whole.zoomed()
    pictures = [] if shown.marks() > MAX_MARKS else [shown]
    part = shown.busiest()
    if part is not None:
        pictures.append(part)
    return [
        {
            "chart": timeline_chart(f"timeline-{number}", picture),
            "legend": legend(picture),
            "has_flights": bool(drawn_flights(picture)),
            "hides_flights": bool(picture.flights) and not drawn_flights(picture),
            "stretch": picture,
            "whole": whole,
            "shown_s": (picture.until_ns - picture.from_ns) / 1e9,
            "is_part": picture is part,
            "is_zoomed": picture is shown and shown is not whole,
        }
        for number, picture in enumerate(pictures)
    ]


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
    shown = points[:MAX_CHARTED]
    kinds = kinds_of([point.result for point in shown])
    first = results[0].work.total
    return {
        **_about(scenario, command),
        "needs_file": False,
        "kind": "grid",
        "facts": _common(results),
        "verdict": " ".join(headline([point.axes for point in points], results))
        or verdict(results[0]),
        "worries": [
            f"{point.label}: {worry}" for point in shown for worry in worries(point.result)
        ],
        "points": points,
        "axes": list(points[0].axes),
        "results": results,
        "json": json_block([{"axes": dict(p.axes), **document(p.result)} for p in points]),
        "hidden": len(points) - len(shown),
        "cpu": cpu_bars("cpu", [Bar(p.label, p.result.cpu) for p in shown], kinds),
        "uses": [
            Use(colour, words.use(kind), "", "") for kind, colour in use_colours(kinds).items()
        ],
        "work": work_bars("work", [(p.label, p.result.work.total / first) for p in shown])
        if first
        else None,
        "sleeps": sleep_ranges(
            "sleeps", [SleepTimes(p.label, p.result.wait_sim_seconds) for p in shown]
        ),
        "still": [
            words.percent(stood_still(p.result.cpu), sum(p.result.cpu.values())) for p in points
        ],
        "relative": [f"{p.result.work.total / first:.3f}" if first else NOTHING for p in points],
    }
