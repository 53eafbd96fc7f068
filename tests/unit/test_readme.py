"""What the README shows is there, and works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pagewake.cli.app import app
from pagewake.scenario.loading import loads

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PACKAGE = ROOT / "services" / "pagewake"


def _paths() -> list[str]:
    return re.findall(r"^\|.*\| ((?:`[\w/.]+`(?:, )?)+) \|$", README, re.MULTILINE)


def test_the_scenario_loads() -> None:
    found = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    scenario = loads(found[1], "README.md")
    assert [instance.name for instance in scenario.instances()] == ["db-0", "db-1"]


def test_every_rule_is_where_the_table_says() -> None:
    named = [path for cell in _paths() for path in re.findall(r"`([\w/.]+)`", cell)]
    assert len(named) > 20
    assert [path for path in named if not (PACKAGE / path).exists()] == []


def test_every_command_is_in_the_table() -> None:
    listed = set(re.findall(r"^\| `pagewake (\w+)", README, re.MULTILINE))
    assert listed == {info.callback.__name__ for info in app.registered_commands if info.callback}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make (\w+)", README))))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
