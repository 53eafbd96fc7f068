"""The timeline of a page: pictures that need no script, and the data with which a script moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pagewake.observe.report import words
from pagewake.observe.report.colours import use_colours
from pagewake.observe.report.html import json_block
from pagewake.observe.report.live import MIXED, live
from pagewake.observe.report.reading import LoggedRun
from pagewake.observe.report.timeline import Mark, Timeline
from pagewake.observe.report.timeline_chart import (
    MARKS_MAX,
    drawn_flights,
    legend,
    task_of,
    timeline_chart,
)

MAX_MARKS = 4_000
"""Spans and flights in one SVG. Chosen: beyond, the page grows heavy and the picture is a blur."""
LISTED = 40
"""Lost tokens named one by one: a table that fits a screen or two."""


def moments(told: LoggedRun, kinds: Sequence[str]) -> dict[str, object]:
    """What the template says of the timeline; `kinds` are those of vcpu time, for equal colours."""
    stretch = told.timeline
    about: dict[str, object] = {
        "timelines": [],
        "timeline_data": None,
        "marks": [],
        "lost": told.lost,
        "LISTED": LISTED,
    }
    if stretch is None or not stretch.vcpus:
        return about
    colours = {
        kind.removeprefix("task:"): colour
        for kind, colour in use_colours(kinds).items()
        if kind.startswith("task:")
    }
    shown = stretch.zoomed()
    part = shown.busiest()
    pictures = [one for one in (shown, part) if one is not None]
    if len(pictures) == 2 and shown.drawn() > MAX_MARKS:
        del pictures[0]
    numbered = _numbered(told, pictures[0])
    return {
        **about,
        "timelines": [
            _picture(f"timeline-{number}", picture, stretch, colours)
            | {"is_part": picture is part, "is_zoomed": picture is shown and shown is not stretch}
            for number, picture in enumerate(pictures)
        ],
        "legend": legend(stretch),
        "legend_tasks": _tasks(stretch, colours),
        "has_flights": bool(stretch.flights),
        "marks": numbered,
        "has_overview": told.overview is not None and bool(told.overview.vcpus),
        "timeline_data": json_block(
            live(stretch, part or shown, told.overview, colours), indented=False
        ),
    }


def _tasks(stretch: Timeline, colours: Mapping[str, str]) -> list[tuple[str, str]]:
    """Colour and name of the kinds of tasks in the picture; one for where several may have run."""
    kinds = dict.fromkeys(task_of(ran.task) for ran in stretch.tasks)
    named = [(colours[kind], words.use(f"task:{kind}")) for kind in kinds if kind in colours]
    return [*named, (MIXED, "one of several tasks")] if "" in kinds else named


def _numbered(told: LoggedRun, picture: Timeline) -> list[tuple[int, Mark]]:
    marks = told.overview.marks if told.overview is not None else picture.marks
    return list(enumerate(marks[:MARKS_MAX], 1))


def _picture(
    name: str, picture: Timeline, whole: Timeline, colours: Mapping[str, str]
) -> dict[str, object]:
    return {
        "chart": timeline_chart(name, picture, colours),
        "hides_flights": bool(picture.flights) and not drawn_flights(picture),
        "stretch": picture,
        "whole": whole,
        "shown_s": (picture.until_ns - picture.from_ns) / 1e9,
    }
