"""`profiles`: what there is, and what differs between two."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pagewake.kvm.profile import PROFILES
from tests.unit.cli.support import invoke


def test_two_profiles_differ_in_what_came_between_them(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "profiles", "6.12", "6.19", "--json")
    told: list[dict[str, Any]] = msgspec.json.decode(outcome.out)
    by_name = {each["name"]: each for each in told}
    assert by_name["pg_clears_queue"]["6.12"] == "true"
    assert by_name["pg_clears_queue"]["6.19"] == "false"
    assert "ab4e41eb9fab" in by_name["pg_clears_queue"]["stands for"]
    of = [PROFILES[name].values for name in ("6.12", "6.19")]
    assert set(by_name) == {switch for switch, value in of[0].items() if value != of[1][switch]}


def test_what_is_the_same_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no switch differs" in invoke(capsys, "profiles", "6.x", "6.12").out


def test_without_names_all_are_listed_with_what_an_alias_stands_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = msgspec.json.decode(invoke(capsys, "profiles", "--json").out)
    assert [each["name"] for each in listed] == list(PROFILES)
    assert {each["name"]: each["alias_of"] for each in listed}["debian12"] == "6.1"
    assert "alias of: 6.1" in invoke(capsys, "profiles").out


@pytest.mark.parametrize(
    ("names", "says"),
    [(["5.8"], "two profiles"), (["5.8", "6.20"], '"6.19"'), (["5.8", "rhel11"], '"rhel10"')],
)
def test_wrong_names_are_told(
    capsys: pytest.CaptureFixture[str], names: list[str], says: str
) -> None:
    outcome = invoke(capsys, "profiles", *names)
    assert outcome.code == 2
    assert says in outcome.err
