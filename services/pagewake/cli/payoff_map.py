"""`compare --map`: the maps of a grid as tables and sentences, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, TypeAlias

import typer
from rich.console import RenderableType

from pagewake.cli.figures import Figures
from pagewake.errors import ConfigError
from pagewake.observe.headline import NEGLIGIBLE, figure
from pagewake.observe.payoff import MODE, WITHOUT, Payoff, Verdict, map_axes, region_lines
from pagewake.observe.regions import short_names

MODES = f"{MODE}={WITHOUT},nonpv,pv"
"""The axis of a map whose command names none."""
MARKS: Mapping[Verdict, str] = {"pays": "+", "costs": "-", "neither": " "}
LEGEND = (
    f"ratio to {MODE}={WITHOUT}, more is better; + pays, - costs, at every seed by more than"
    f" {100 * NEGLIGIBLE:.1f} %"
)
NOTHING = "-"

MapOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--map",
        help="Print where asynchronous page faults pay and where they cost, not the points;"
        f" {MODES} is an axis even if not given.",
    ),
]


def with_modes(axes: Sequence[str]) -> list[str]:
    """The axes of a map, `kernel.apf` among them."""
    given = any(axis.partition("=")[0].strip() == MODE for axis in axes)
    return [*axes] if given else [*axes, MODES]


def refuse_no_map(cells: Sequence[Mapping[str, str]]) -> None:
    """ConfigError for a grid that is no map."""
    modes = list(dict.fromkeys(cell[MODE] for cell in cells))
    if WITHOUT not in modes or len(modes) == 1:
        raise ConfigError(
            f"--map: --axis {MODE}={','.join(modes)} has not both {WITHOUT} and a mode to compare"
            f" with it; leave it out for {MODES}"
        )
    if not map_axes(cells):
        raise ConfigError(
            f"--map: nothing varies but {MODE} and the seed, so there is no map; add for example"
            " --axis overcommit=1.25,1.5,2"
        )


def map_parts(found: Sequence[Payoff]) -> list[RenderableType]:
    """A table of each map, and what it comes to."""
    parts: list[RenderableType] = []
    for payoff in found:
        parts += [_table(payoff), payoff.said(), *region_lines(payoff), ""]
    return [*parts, LEGEND]


def _table(payoff: Payoff) -> Figures:
    """A row for each value of all axes but the one across, which is the second."""
    across = list(payoff.axes)[min(1, len(payoff.axes) - 1)]
    down = [key for key in payoff.axes if key != across]
    down = [*down[1:], *down[:1]]
    names = dict(zip(payoff.axes, short_names(list(payoff.axes)), strict=True))
    columns = payoff.axes[across]
    table = Figures(
        [*(names[key] for key in down), *(f"{names[across]} {value}" for value in columns)],
        words=len(down),
        title=payoff.name,
    )
    for row in product(*(payoff.axes[key] for key in down)):
        at = dict(zip(down, row, strict=True))
        table.add_row(*row, *(_cell(payoff, {**at, across: value}) for value in columns))
    return table


def _cell(payoff: Payoff, at: Mapping[str, str]) -> str:
    spot = payoff.spots.get(tuple(at[key] for key in payoff.axes))
    return NOTHING if spot is None else f"{figure(spot.ratio)} {MARKS[spot.verdict]}"


def map_document(found: Sequence[Payoff]) -> dict[str, object]:
    """The maps as JSON: ratios, verdicts and regions."""
    return {"negligible": NEGLIGIBLE, "maps": [_as_json(payoff) for payoff in found]}


def _as_json(payoff: Payoff) -> dict[str, object]:
    return {
        "group": payoff.measure.group,
        "what": payoff.measure.what,
        "apf": payoff.mode,
        "against": WITHOUT,
        "seeds": payoff.seeds,
        "axes": payoff.axes,
        "cells": [
            {
                "at": dict(zip(payoff.axes, place, strict=True)),
                **spot._asdict(),
                "verdict": spot.verdict,
            }
            for place, spot in payoff.spots.items()
        ],
        "regions": [
            {
                "name": region.name,
                "at": dict(zip(payoff.axes, region.box, strict=True)),
                "low": region.low,
                "high": region.high,
            }
            for region in payoff.regions()
        ],
    }
