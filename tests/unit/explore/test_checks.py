"""Invariants of `verify` over explored orders: kept by our rules, and seen where one is not."""

from __future__ import annotations

import pytest

from pagewake.explore import checks
from pagewake.explore.checks import broken_invariants
from pagewake.explore.gallery import load_small
from pagewake.explore.search import Plan, Search
from pagewake.verify.invariants import Rules


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("one-vcpu", "3.10"),
        ("one-vcpu", "6.12"),
        ("offline", "5.4"),
        ("nested-guest", "4.9"),
        ("four-tasks", "6.12"),  # two of which are alike
    ],
)
def test_every_order_keeps_them(name: str, profile: str) -> None:
    plan = Plan(load_small(name, [f"kernel.profile={profile}"]))
    search = Search(plan)
    search.breadth_first()
    assert broken_invariants(plan, search.space) == {}


def test_what_another_kernel_would_not_do_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rules of 2.6.39 the tokens of 6.12 are no tokens, and its READYs no READYs."""
    plan = Plan(load_small("one-vcpu", ["kernel.profile=6.12"]))
    search = Search(plan)
    search.breadth_first()
    monkeypatch.setattr(checks, "rules_of", lambda *_, **__: Rules())
    found = broken_invariants(plan, search.space)
    assert "token" in found
    assert found["token"].path
