"""What a grid came to, in sentences: one axis at a time, all others equal.

A sentence compares one value of an axis with the axis' first value, at every combination of the
other axes, and says for each group of tasks by what it was measured.  Groups may move in opposite
directions, so each of them is said.  Nothing is compared across two axes at once.  Seeds are not
compared but told as what they are, the spread of everything else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf, log, sqrt
from typing import NamedTuple, TypeAlias

from pagewake.observe.measures import ENDED, Measure, measures
from pagewake.observe.result import RunResult

Axes: TypeAlias = Sequence[Mapping[str, str]]
Known: TypeAlias = Mapping[Measure, Sequence[int | None]]

SEED = "scenario.seed"
MEDIAN = "median; "
"""Heads the first range of a sentence: what the figure before it is, and those that follow."""
GROUPS_MAX = 4
"""A sentence that names more of them is a table."""
NEAR_ONE = 0.1
"""Ratios as close to 1 as this are told with a digit more: it is all that they say."""
NEGLIGIBLE = 0.005
"""A ratio closer to 1 is neither gain nor loss: one seed or another moves more than that."""


class Change(NamedTuple):
    """One measure at one value of an axis, relative to the first value, at each other point."""

    measure: Measure
    ratios: list[float]

    @property
    def middle(self) -> float:
        """The median ratio; of an even number the geometric mean of the two in the middle.

        0 if that is of 0 and infinity: nothing for some is not made up for by some for nothing.
        """
        ordered = sorted(self.ratios)
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return low if low in {0.0, high} else sqrt(low * high)

    @property
    def only(self) -> int:
        """At how many points the ratio is the middle one; 0 if at all of them."""
        alike = self.ratios.count(self.middle)
        return alike if alike < len(self.ratios) else 0

    @property
    def size(self) -> float:
        """How far the ratio furthest from 1 is from it; a doubling is as far as a halving."""
        return max(abs(log(ratio)) if 0 < ratio < inf else inf for ratio in self.ratios)

    @property
    def gains(self) -> bool | None:
        """Whether it is for the better; None if it is neither, or hardly."""
        if abs(self.middle - 1) < NEGLIGIBLE:
            return None
        return (self.middle > 1) != self.measure.less_is_better


class Step(NamedTuple):
    """From the first value of an axis to another: what changed, over which pairs of points."""

    key: str
    value: str
    first: str
    pairs: list[tuple[int, int]]
    changes: list[Change]

    @property
    def size(self) -> float:
        """That of its largest change."""
        return max((change.size for change in self.changes), default=0.0)


def headline(axes: Axes, results: Sequence[RunResult]) -> list[str]:
    """A sentence per axis that has several values, the largest effect first.

    `axes` are the values of each point, in the order of the grid, and `results` what each came to;
    points of the grid may be missing.  Empty where there is nothing to compare.
    """
    known = measures(results)
    keys = [key for key in axes[0] if key != SEED] if axes else []
    steps = [step for key in keys if (step := _largest(key, axes, known)) is not None]
    steps.sort(key=lambda step: -step.size)
    spread = _spread(axes, known)
    return [_said(step, axes, results) for step in steps] + ([spread] if spread else [])


def _largest(key: str, axes: Axes, known: Known) -> Step | None:
    """The step of an axis that changes most; of several that change as much, the last."""
    values = list(dict.fromkeys(point[key] for point in axes))
    steps = [_step(key, value, values[0], axes, known) for value in reversed(values[1:])]
    return max((step for step in steps if step.pairs), key=lambda step: step.size, default=None)


def _step(key: str, value: str, first: str, axes: Axes, known: Known) -> Step:
    numbers = {tuple(point.values()): number for number, point in enumerate(axes)}
    found = [
        (number, numbers.get(tuple({**point, key: first}.values())))
        for number, point in enumerate(axes)
        if point[key] == value
    ]
    pairs = [(new, old) for new, old in found if old is not None]
    changes = [Change(measure, _ratios(values, pairs)) for measure, values in known.items()]
    return Step(key, value, first, pairs, [change for change in changes if change.ratios])


def _ratios(values: Sequence[int | None], pairs: Sequence[tuple[int, int]]) -> list[float]:
    found = [(values[new], values[old]) for new, old in pairs]
    return [_ratio(new, old) for new, old in found if new is not None and old is not None]


def _ratio(new: int, old: int) -> float:
    if new == old:
        return 1.0
    return new / old if old else inf


# ---------------------------------------------------------------------------------- sentences


def _said(step: Step, axes: Axes, results: Sequence[RunResult]) -> str:
    compared = f"{step.key}={step.value} against {step.first}"
    if len(axes[0]) > 1:
        compared += ", all else equal"
    if step.size:
        return f"{compared}: {_groups(step, axes)}."
    if all(results[new].digest == results[old].digest for new, old in step.pairs):
        return f"{compared}: no difference."
    same = " and ".join(dict.fromkeys(change.measure.what for change in step.changes))
    return f"{compared}: {f'the same {same}, but ' if same else ''}not the same events."


def _groups(step: Step, axes: Axes) -> str:
    """Every group in order; of too many the ones that changed most, and the range of the others."""
    most = sorted(step.changes, key=lambda change: -change.size)[:GROUPS_MAX]
    named = [change for change in step.changes if change in most]
    text, over = "", _over(step, axes)
    for number, change in enumerate(named):
        before = named[number - 1] if number else None
        if before is not None:
            text += ", but " if {before.gains, change.gains} == {True, False} else ", "
        text += f"{_name(change, before)}{_told(change)}"
        if change.middle in {0, inf} and change.only:
            text += f" (at {change.only} of {over.removeprefix(' over ') or 'them'})"
        elif figure(min(change.ratios)) != figure(max(change.ratios)) and max(change.ratios) < inf:
            text += f" ({MEDIAN if over else ''}{_range(change.ratios)}{over})"
            over = ""
    rest = [ratio for change in step.changes if change not in most for ratio in change.ratios]
    if rest:
        text += f", {len(step.changes) - len(named)} more groups {_range(rest)} times theirs"
    return text


def _name(change: Change, before: Change | None) -> str:
    """The group; without its VMs, or not at all, where that is as it was before."""
    group = change.measure.group
    vm, _, task = group.partition("/")
    if before is None or before.measure.group.partition("/")[0] != vm:
        return f"{group} "
    return "" if before.measure.group == group else f"{task} "


def _told(change: Change) -> str:
    what, ratio = change.measure.what, figure(change.middle)
    if not change.size:
        return "took as long" if what == ENDED else f"the same {what}"
    if what == ENDED:
        return f"took {ratio} times as long"
    if not change.middle:
        return f"no {what} instead of some"
    return f"{ratio} times the {what}" if change.middle < inf else f"some {what} instead of none"


def _range(ratios: Sequence[float]) -> str:
    low, high = figure(min(ratios)), figure(max(ratios))
    return low if low == high else f"{low} to {high}"


def _over(step: Step, axes: Axes) -> str:
    """Over which other points a range is."""
    others = [key for key in axes[0] if len({axes[new][key] for new, _ in step.pairs}) > 1]
    if len(others) == 1:
        return f" over {len(step.pairs)} values of {others[0]}"
    return f" over {len(step.pairs)} points of {' and '.join(others)}"


def _spread(axes: Axes, known: Known) -> str:
    """How far points lie apart that differ in nothing but the seed; empty without such points."""
    alike: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, point in enumerate(axes):
        if SEED in point:
            alike[tuple(value for key, value in point.items() if key != SEED)].append(number)
    several = [numbers for numbers in alike.values() if len(numbers) > 1]
    if not several:
        return ""
    parts = [
        f"{measure.group} {measure.what} {100 * _apart(values, several):.2g} %"
        for measure, values in known.items()
    ]
    seeds = max(map(len, several))
    return f"{seeds} seeds, all else equal, lie apart by at most: {', '.join(parts) or 'nothing'}."


def _apart(values: Sequence[int | None], several: Sequence[Sequence[int]]) -> float:
    found = [[value for n in alike if (value := values[n]) is not None] for alike in several]
    return max((_ratio(max(known), min(known)) - 1 for known in found if known), default=0.0)


def figure(ratio: float) -> str:
    """A ratio in three digits, or four where it is close to 1."""
    if abs(ratio - 1) < NEAR_ONE:
        return f"{ratio:.3f}"
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:#.3g}"
