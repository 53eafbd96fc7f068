"""Every known defect is found in its small scenario without a hint, and gone with what mends it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from pagewake.engine.run import run_scenario
from pagewake.errata.entry import entries
from pagewake.explore.gallery import Case, cases, load_small, names
from pagewake.explore.machine import SmallMachine
from pagewake.explore.saved import saved_toml
from pagewake.explore.search import Explored, Plan, Search
from pagewake.explore.story import as_scenario, breaking, minimised
from pagewake.explore.timed import broken_in, timed
from pagewake.explore.words import LINES_MAX, story
from pagewake.scenario.loading import loads
from pagewake.verify.verify import verify_log

CASES = cases()
TWICE = {48}
"""Of errata that need two preemptions at their instants: no drawn durations bring them about, and
the scenario of the erratum itself does."""


def named(case: Case) -> str:
    return f"{case.scenario}-{case.property}"


@cache
def explored(number: int) -> tuple[Plan, Explored]:
    plan = Plan(CASES[number].broken())
    return plan, Search(plan).breadth_first()


numbered = pytest.mark.parametrize("number", range(len(CASES)), ids=list(map(named, CASES)))


@numbered
def test_it_is_found(number: int) -> None:
    _, found = explored(number)
    assert found.complete
    assert CASES[number].property in found.found


@numbered
def test_with_what_mends_it_the_whole_space_has_nothing(number: int) -> None:
    found = Search(Plan(CASES[number].mended())).breadth_first()
    assert found.complete
    assert found.found.keys() == set(CASES[number].remains)
    assert found.states > 100


@numbered
def test_its_story_is_a_log_that_verifies_and_replays(number: int, tmp_path: Path) -> None:
    plan, found = explored(number)
    short = minimised(plan, found.found[CASES[number].property])
    told = as_scenario(plan.scenario, short.path)
    result = run_scenario(told, log_dir=tmp_path / "log")
    report = verify_log(tmp_path / "log")
    assert report.problems == []
    assert report.digest == result.digest == run_scenario(told).digest


@numbered
def test_its_story_is_a_page(number: int) -> None:
    plan, found = explored(number)
    lines = story(plan.scenario, found.found[CASES[number].property])
    assert 5 < len(lines) <= LINES_MAX + 2
    assert lines[-1] == f"so: {found.found[CASES[number].property].broken.what}"


@pytest.mark.parametrize(
    "number",
    [number for number, case in enumerate(CASES) if case.errata not in TWICE],
    ids=lambda number: named(CASES[number]),
)
def test_a_run_by_the_clock_shows_it(number: int) -> None:
    plan, found = explored(number)
    short = minimised(plan, found.found[CASES[number].property])
    saved = timed(plan, short)
    assert saved is not None
    assert saved.explore is None
    lines = story(plan.scenario, short)
    text = saved_toml(plan.scenario, saved, short.broken, lines)
    assert text.startswith(f"# {CASES[number].property}: {short.broken.what}\n")
    assert len(text.splitlines()) < 140
    kept = loads(text)
    assert CASES[number].property in {each.property for each in broken_in(kept, ())}


def test_choices_that_are_not_needed_are_left_out() -> None:
    plan = Plan(load_small("one-vcpu", ["kernel.profile=5.10"]))
    found = Search(plan).at_random(300, 1).found["asleep"]
    short = minimised(plan, found)
    assert breaking(plan, short.path, "asleep") is not None
    assert len(short.path) <= len(found.path)
    assert not any(choice.kind == "tick" for choice in short.path)


def test_every_scenario_is_small_and_described() -> None:
    assert len(names()) >= 9
    for name in names():
        scenario = load_small(name)
        assert scenario.about.description
        assert SmallMachine(scenario).choices()


def test_cases_name_defects_that_there_are() -> None:
    known = {each.id for each in entries()}
    assert {case.errata for case in cases()} - {0} <= known
