"""The steps of a soak: all that may befall a cluster, in an order that a seed gives."""

from __future__ import annotations

import itertools
from itertools import islice

import pytest

from tests.soak import ways
from tests.soak.soak import matrix
from tests.soak.steps import MOMENTS, Step, steps
from tests.soak.ways import VICTIMS, WAYS
from tests.soak.work import Done

CELLS = len(VICTIMS) * len(MOMENTS) * len(WAYS)


@pytest.fixture(autouse=True)
def _able(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that can do all but replace a disk."""
    able = [way._replace(lacks=lambda *_: "") for way in WAYS if way.name != "replace"]
    unable = [way._replace(lacks=lambda *_: "why") for way in WAYS if way.name == "replace"]
    monkeypatch.setattr("tests.soak.steps.WAYS", (*able, *unable))
    monkeypatch.setattr(ways, "WAYS", (*able, *unable))


def _names(drawn: list[Step]) -> list[tuple[str, str, str]]:
    return [(step.victim, step.moment, step.way.name) for step in drawn]


def test_every_victim_moment_and_way_comes_once_before_any_comes_again() -> None:
    possible = CELLS - len(VICTIMS) * len(MOMENTS)
    drawn = _names(list(islice(steps(1, 2, 1), 2 * possible)))
    names = [way.name for way in WAYS if way.name != "replace"]
    cells = set(itertools.product(VICTIMS, MOMENTS, names))
    assert set(drawn[:possible]) == set(drawn[possible:]) == cells


def test_a_step_can_be_drawn_again_by_seed_and_number() -> None:
    first, again = (list(islice(steps(7, 2, 1), 30)) for _ in range(2))
    assert _names(first) == _names(again)
    assert [(step.works, step.seed) for step in first] == [
        (step.works, step.seed) for step in again
    ]
    assert _names(first) != _names(list(islice(steps(8, 2, 1), 30)))


def test_who_is_killed_has_a_part_in_the_first_run() -> None:
    drawn = [step for step in islice(steps(1, 2, 1), 60) if step.victim == "nested"]
    assert {step.works[0].load.scenario for step in drawn} == {"nested"}


def test_the_table_has_median_longest_and_number_of_each_cell() -> None:
    done = [
        Done(number, "guest", "guest-2", "end", "kill", "", recovery_s=recovery_s)
        for number, recovery_s in enumerate([1.0, 2.0, 6.0])
    ]
    lines = list(matrix(done, ["start", "end"], lambda each: each.moment))
    row = next(line for line in lines if line.startswith("guest"))
    assert row.split() == ["guest", ".", "2.0", "/", "6.0", "(3)"]
