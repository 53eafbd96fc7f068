"""A grid as a table: a row per point, and the columns that its points have something to say in.

The most telling columns come first, because a terminal that is too narrow leaves out the last ones:
what the tasks came to, what went wrong, where the time went, and then the protocol.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pagewake.cli.figures import Figures
from pagewake.cli.progress import duration
from pagewake.cli.task_rows import percent
from pagewake.observe.measures import ENDED, RATES, Measure, measures
from pagewake.observe.report.verdict import stood_still
from pagewake.observe.result import RunResult
from pagewake.observe.wrong import NOT_SENT

GROUPS_MAX = 4
"""More groups of tasks than these are told together: a column each would leave no room."""
NOTHING = "-"


class Column(NamedTuple):
    """A heading, and a cell for each point."""

    heading: str
    cells: list[str]


def compare_table(axes: Sequence[Mapping[str, str]], results: Sequence[RunResult]) -> Figures:
    """A row per point of the grid."""
    columns = grid_columns(axes, results)
    table = Figures([column.heading for column in columns], words=len(axes[0]))
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def grid_columns(axes: Sequence[Mapping[str, str]], results: Sequence[RunResult]) -> list[Column]:
    """The axes, then what there is to say of the points; progress also relative to the first."""
    keys = [Column(key, [point[key] for point in axes]) for key in axes[0]]
    return [*keys, *_measured(results, "scenario.duration" in axes[0]), *_said(results)]


# ---------------------------------------------------------------------------------- progress


def _measured(results: Sequence[RunResult], other_durations: bool) -> Iterator[Column]:
    """What each group of tasks came to, and when the runs ended if they did so by themselves."""
    known = _together(measures(results))
    ends = any(measure.what == ENDED for measure in known)
    if not ends and not other_durations and len({result.sim_ns for result in results}) > 1:
        known[Measure("", ENDED)] = [result.sim_ns for result in results]
    vms = {measure.group.partition("/")[0] for measure in known}
    whats = [measure.what for measure in known]
    for measure, values in known.items():
        group = measure.group.partition("/")[2] if len(vms) == 1 else measure.group
        alone = whats.count(measure.what) == 1
        yield Column(
            measure.what if alone else f"{group} {measure.what}",
            [_value(measure, value) for value in values],
        )
        if len(results) > 1:
            yield Column("of first", [_ratio(value, values[0]) for value in values])


def _together(known: Mapping[Measure, list[int | None]]) -> dict[Measure, list[int | None]]:
    """All groups that are measured alike as one, where there are too many for a column each."""
    if len(known) <= GROUPS_MAX:
        return dict(known)
    alike: defaultdict[str, list[list[int | None]]] = defaultdict(list)
    for measure, values in known.items():
        alike[measure.what].append(values)
    return {
        Measure("", what): [_all(what, at_point) for at_point in zip(*groups, strict=True)]
        for what, groups in alike.items()
    }


def _all(what: str, values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return sum(known) if what in RATES else max(known)


def _value(measure: Measure, value: int | None) -> str:
    if value is None:
        return NOTHING
    return duration(value / 1e9) if measure.less_is_better else f"{value:,}"


def _ratio(value: int | None, first: int | None) -> str:
    return NOTHING if value is None or not first else f"{value / first:.3f}"


# ---------------------------------------------------------------------------------- the rest


def _said(results: Sequence[RunResult]) -> Iterator[Column]:
    """What any point has some of."""
    for heading, (figure, written) in _FIGURES.items():
        values = [figure(result) for result in results]
        if any(values):
            yield Column(
                heading, [NOTHING if value is None else written(value) for value in values]
            )


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _killed(result: RunResult) -> float:
    return result.by_event.get("TaskKilled", 0)


def _not_sent(result: RunResult) -> float:
    return sum((result.silent or {}).get(why, 0) for why in NOT_SENT)


def _stood_still(result: RunResult) -> float:
    return stood_still(result.cpu) / (sum(result.cpu.values()) or 1)


def _dummies(result: RunResult) -> float:
    return result.dummies.left + result.dummies.leaked


def _p99(result: RunResult) -> float | None:
    return result.wait_sim_seconds.p99 if result.wait_sim_seconds else None


def _p50(result: RunResult) -> float | None:
    return result.wait_sim_seconds.p50 if result.wait_sim_seconds else None


def _missed(result: RunResult) -> float:
    return sum(not expectation.met for expectation in result.expected)


_FIGURES: Mapping[str, tuple[Callable[[RunResult], float | None], Callable[[float], str]]] = {
    "missed": (_missed, _count),
    "panicked": (lambda result: len(result.panics), _count),
    "killed": (_killed, _count),
    "unresolved": (lambda result: result.unresolved, _count),
    "READYs not sent": (_not_sent, _count),
    "stood still": (_stood_still, percent),
    "page-ins": (lambda result: result.page_ins, _count),
    "slept p50": (_p50, duration),
    "p99": (_p99, duration),
    "injected": (lambda result: result.not_present["injected"], _count),
    "halted": (lambda result: result.not_present["halted"], _count),
    "dummies": (_dummies, _count),
}
"""By heading, in order of weight: the figure of a result, and how it is written."""
