"""The page on exploring says what a walk finds: its smaller spaces are walked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.explore.gallery import load_small, names
from pagewake.explore.search import Plan, Search

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "exploring.md"
SMALL_STATES = 2_000


def table() -> tuple[list[str], dict[str, list[str]]]:
    """The kernels, and of each scenario what breaks by their rules, and how many states."""
    text = PAGE.read_text("utf-8").partition("## What was explored")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return lines[0][1:-1], {line[0].strip("`"): line[1:] for line in lines[2:]}


PROFILES, ROWS = table()
CHEAP = {
    name: row
    for name, row in ROWS.items()
    if int(row[-1].rpartition(" ")[2].replace(",", "")) <= SMALL_STATES
}


@pytest.mark.parametrize("name", CHEAP)
def test_the_table_of_what_breaks_is_what_a_walk_finds(name: str) -> None:
    *broken, states = CHEAP[name]
    walked = [
        Search(Plan(load_small(name, [f"kernel.profile={profile}"]))).breadth_first()
        for profile in PROFILES
    ]
    assert all(one.complete for one in walked)
    assert [set(one.found) for one in walked] == [
        set() if cell == "-" else set(cell.split(", ")) for cell in broken
    ]
    sizes = [one.states for one in walked]
    assert states == f"{min(sizes):,} to {max(sizes):,}"


def test_the_table_has_all_small_scenarios() -> None:
    assert set(ROWS) == set(names())
    assert len(CHEAP) >= 4
