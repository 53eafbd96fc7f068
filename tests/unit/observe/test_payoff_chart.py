"""The picture of a map: a number in every cell, and a colour that says the verdict."""

from __future__ import annotations

import re
from itertools import product

import pytest
from markupsafe import Markup

from pagewake.observe.measures import Measure
from pagewake.observe.payoff import Payoff, Spot
from pagewake.observe.report import payoff_chart as drawing
from pagewake.observe.report.payoff_chart import payoff_chart, shade

SPOTS = [Spot(0.7, 0.6, 0.8), Spot(0.97, 0.9, 1.2), Spot(1.02, 1.01, 1.03), Spot(1.9, 1.8, 2.0)]
AXES = {
    "host.medium": ["nvme", "zram"],
    "overcommit": ["1.25", "2"],
    "vm.0.task.0.access": ["read", "write"],
    "kernel.profile": ["4.13", "6.6"],
}


def payoff(axes: dict[str, list[str]] = AXES) -> Payoff:
    places = list(product(*axes.values()))
    spots = {place: SPOTS[number % len(SPOTS)] for number, place in enumerate(places)}
    return Payoff(Measure("vm/t", "touches"), "pv", 2, axes, spots)


def texts(picture: Markup) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


@pytest.mark.parametrize(
    ("spot", "name"),
    [
        (Spot(1.9, 1.8, 2.0), "pay-3"),
        (Spot(1.1, 1.08, 1.2), "pay-2"),
        (Spot(1.02, 1.01, 1.03), "pay-1"),
        (Spot(1.3, 0.9, 1.5), "even"),
        (Spot(0.97, 0.96, 0.98), "cost-1"),
        (Spot(0.9, 0.89, 0.91), "cost-2"),
        (Spot(0.5, 0.4, 0.6), "cost-3"),
        (Spot(0.0, 0.0, 0.0), "cost-3"),
    ],
)
def test_the_colour_is_verdict_and_distance(spot: Spot, name: str) -> None:
    assert shade(spot) == name


def test_every_cell_has_its_number_its_colour_and_its_words() -> None:
    wide = payoff_chart("p", payoff()).wide
    assert [texts(wide).count(told) for told in ("0.700", "0.970", "1.020", "1.90")] == [4] * 4
    for colour in ("cost-3", "even", "pay-1", "pay-3"):
        assert len(re.findall(rf"fill: var\(--{colour}\)", wide)) == 4
    assert wide.count("<title>") == 16
    assert "<title>nvme, 1.25, read, 4.13: 0.700, 0.600 to 0.800 by seed, costs</title>" in wide
    assert 'aria-label="pv against off: vm/t touches; the table below has the numbers"' in wide


def test_the_other_axes_name_the_panels() -> None:
    picture = payoff_chart("p", payoff())
    for drawn in picture:
        titles = [text for text in texts(drawn) if text.startswith("access")]
        assert titles == [
            f"access {access}, profile {profile}"
            for access in ("read", "write")
            for profile in ("4.13", "6.6")
        ]


def test_one_axis_is_a_column_and_a_missing_cell_is_empty() -> None:
    one = payoff({"overcommit": ["1.25", "2", "3"]})
    del one.spots["2",]
    wide = payoff_chart("p", one).wide
    assert wide.count("<title>") == 2
    assert texts(wide).count("2") == 1


def test_where_a_cell_is_too_small_its_number_is_left_to_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = {"a": ["x", "y"], "b": [str(number) for number in range(30)]}
    drawn = payoff_chart("p", payoff(many))
    assert "0.700" not in texts(drawn.wide)
    assert drawn.wide.count("<title>") == 60
    monkeypatch.setattr(drawing, "CELL_MIN_PX", 1)
    assert "0.700" in texts(payoff_chart("p", payoff(many)).wide)


def test_equal_maps_are_equal_bytes() -> None:
    assert payoff_chart("p", payoff()) == payoff_chart("p", payoff())
