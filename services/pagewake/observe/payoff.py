"""Whether asynchronous page faults pay: a mode of `kernel.apf` beside `off`, at points of a map.

Runs are paired: each with the one that differs in `kernel.apf` alone, so also of the same seed. The
ratio of a point is that of its sums over the seeds, above 1 for the better, times turned round. A
point *pays* or *costs* only if it does at every seed, by more than `NEGLIGIBLE`; else it is
neither, because one seed or another decides. With one seed nothing is known of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from pagewake.observe.headline import NEGLIGIBLE, SEED, figure
from pagewake.observe.measures import Measure, measures
from pagewake.observe.regions import Box, Place, cover, words_of
from pagewake.observe.result import RunResult

MODE = "kernel.apf"
WITHOUT = "off"
"""The mode that the others are compared with."""
Verdict: TypeAlias = Literal["pays", "costs", "neither"]


class Spot(NamedTuple):
    """A point of a map: the ratio, and the lowest and highest of one seed."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Whether every seed is on the same side of 1, by more than what is negligible."""
        if self.high < 1 - NEGLIGIBLE:
            return "costs"
        return "pays" if self.low > 1 + NEGLIGIBLE else "neither"


class Region(NamedTuple):
    """Neighbours at which a mode costs more than it gives, and the range of their ratios."""

    name: str
    box: Box
    low: float
    high: float


class Payoff(NamedTuple):
    """One measure with one mode, relative to none: a spot at each place of the map's axes.

    Places whose runs are not finished, or came to nothing without the mode, are not there.
    """

    measure: Measure
    mode: str
    seeds: int
    axes: dict[str, list[str]]
    spots: dict[Place, Spot]

    @property
    def name(self) -> str:
        """Such as `pv against off: guest/server touches`."""
        return f"{self.mode} against {WITHOUT}: {self.measure.group} {self.measure.what}".rstrip()

    def of(self, verdict: Verdict) -> list[Place]:
        """The places of a verdict."""
        return [place for place, spot in self.spots.items() if spot.verdict == verdict]

    def regions(self) -> list[Region]:
        """Where it costs more than it gives, the largest region first."""
        found: list[Region] = []
        for box in cover(self.axes, self.of("costs")):
            ratios = [
                spot.ratio
                for place, spot in self.spots.items()
                if all(value in run for value, run in zip(place, box, strict=True))
            ]
            found.append(Region(words_of(self.axes, box), box, min(ratios), max(ratios)))
        return found

    def said(self) -> str:
        """The counts of all verdicts in a sentence."""
        pays, costs = self.of("pays"), self.of("costs")
        parts = [
            f"pays at {len(pays)} of {len(self.spots)} points"
            + (f" (up to {figure(max(self.spots[one].ratio for one in pays))})" if pays else ""),
            f"costs at {len(costs)}"
            + (
                f" (down to {figure(min(self.spots[one].ratio for one in costs))})" if costs else ""
            ),
            f"neither at {len(self.of('neither'))}",
        ]
        over = f"over {self.seeds} seeds" if self.seeds > 1 else "at one seed, so without a spread"
        return f"{self.name}, {over}: {', '.join(parts)}."


def region_lines(payoff: Payoff) -> list[str]:
    """The regions in which it costs, a line each; a line that says so if there is none."""
    found = payoff.regions()
    if not found:
        return [f"Nowhere here does {payoff.mode} cost more than it gives."]
    lines = [f"{payoff.mode} costs more than it gives:"]
    return lines + [f"  {region.name}: {_range(region)}" for region in found]


def _range(region: Region) -> str:
    low, high = figure(region.low), figure(region.high)
    return low if low == high else f"{low} to {high}"


def payoffs(axes: Sequence[Mapping[str, str]], results: Sequence[RunResult]) -> list[Payoff]:
    """A map for each measure and mode; none if no mode stands beside `off`, or nothing else varies.

    `axes` are the values of each point, as `compare` has them; points of the grid may be missing.
    """
    keys = map_axes(axes)
    modes = list(dict.fromkeys(point.get(MODE, "") for point in axes))
    if WITHOUT not in modes or not keys:
        return []
    return [
        Payoff(measure, mode, len({point.get(SEED) for point in axes}), keys, spots)
        for measure, values in measures(results).items()
        for mode in modes
        if mode != WITHOUT and (spots := _spots(measure, mode, axes, values, keys))
    ]


def map_axes(axes: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """What varies beside mode and seed, with its values in order."""
    keys = [key for key in axes[0] if key not in {MODE, SEED}] if axes else []
    values = {key: list(dict.fromkeys(point[key] for point in axes)) for key in keys}
    return {key: found for key, found in values.items() if len(found) > 1}


def _spots(
    measure: Measure,
    mode: str,
    axes: Sequence[Mapping[str, str]],
    values: Sequence[int | None],
    keys: Mapping[str, Sequence[str]],
) -> dict[Place, Spot]:
    numbers = {tuple(point.values()): number for number, point in enumerate(axes)}
    pairs: dict[Place, list[tuple[int, int]]] = {}
    for number, point in enumerate(axes):
        other = numbers.get(tuple({**point, MODE: WITHOUT}.values()))
        if point[MODE] != mode or other is None:
            continue
        new, old = values[number], values[other]
        if measure.less_is_better:
            new, old = old, new
        if new is not None and old:
            pairs.setdefault(tuple(point[key] for key in keys), []).append((new, old))
    return {place: _spot(found) for place, found in pairs.items()}


def _spot(pairs: Sequence[tuple[int, int]]) -> Spot:
    ratios = [new / old for new, old in pairs]
    whole = sum(new for new, _ in pairs) / sum(old for _, old in pairs)
    return Spot(whole, min(ratios), max(ratios))
