"""The columns of a grid are those in which a point has something to say, the most telling first."""

from __future__ import annotations

from typing import Any

import msgspec

from pagewake.cli.grid_table import GROUPS_MAX, grid_columns
from pagewake.observe.counter import ResultCounter
from pagewake.observe.expectations import Expectation
from pagewake.observe.progress import TaskProgress
from pagewake.observe.result import Dummies, RunFacts, RunResult, WaitTimes

FACTS = RunFacts("s", 1, "5.8", "pv", 1_000, 0.5, 9, "00", 1, "0.2.0")
OFF, PV = {"kernel.apf": "off"}, {"kernel.apf": "pv"}


def task(touches: int = 0, work: int | None = None, finished_ns: int | None = None) -> TaskProgress:
    return TaskProgress(touches, None, 0, work, 1, finished_ns, None, finished_ns is not None)


def run(tasks: dict[str, TaskProgress] | None = None, **figures: Any) -> RunResult:
    """A run whose tasks are called `vm/task`, with these figures and nothing else."""
    progress = {f"{name.replace('/', '-0/')}-0": one for name, one in (tasks or {}).items()}
    empty = ResultCounter().finish(FACTS, [])
    return msgspec.structs.replace(empty, progress=progress, **figures)


def rows(*results: RunResult) -> list[dict[str, str]]:
    """What the table says of each point, by heading."""
    columns = grid_columns([OFF, PV][: len(results)], results)
    return [
        {column.heading: column.cells[number] for column in columns}
        for number in range(len(results))
    ]


def test_a_point_of_which_there_is_nothing_to_say_has_its_axes_alone() -> None:
    assert rows(run(), run()) == [OFF, PV]


def test_touches_and_work_are_columns_where_there_are_such_tasks() -> None:
    touching = {"web/worker": task(touches=1_000)}
    assert rows(run(touching), run({"web/worker": task(touches=1_006)})) == [
        {**OFF, "touches": "1,000", "of first": "1.000"},
        {**PV, "touches": "1,006", "of first": "1.006"},
    ]
    both = {**touching, "web/app": task(work=5)}
    assert list(rows(run(both))[0]) == ["kernel.apf", "touches", "work"]


def test_several_groups_that_touch_have_a_column_each() -> None:
    of_one_vm = {"web/a": task(touches=1), "web/b": task(touches=2)}
    assert rows(run(of_one_vm)) == [{**OFF, "a touches": "1", "b touches": "2"}]
    of_two = {"gold/web": task(touches=1), "batch/web": task(touches=2)}
    assert rows(run(of_two)) == [{**OFF, "gold/web touches": "1", "batch/web touches": "2"}]


def test_too_many_groups_are_told_together() -> None:
    many = {f"web/t{number}": task(touches=10) for number in range(GROUPS_MAX + 1)}
    assert rows(run(many)) == [{**OFF, "touches": f"{10 * (GROUPS_MAX + 1)}"}]


def test_runs_that_end_by_themselves_say_when() -> None:
    first, second = (
        task(touches=5, finished_ns=998_000_000),
        task(touches=5, finished_ns=784_000_000),
    )
    assert rows(run({"vm/sort": first}), run({"vm/sort": second})) == [
        {**OFF, "ended": "998 ms", "of first": "1.000"},
        {**PV, "ended": "784 ms", "of first": "0.786"},
    ]


def test_a_run_that_ended_at_one_point_only_says_when_beside_its_progress() -> None:
    cut = run({"vm/sort": task(touches=4)}, sim_ns=1_000_000_000)
    done = run({"vm/sort": task(touches=5, finished_ns=784_000_000)}, sim_ns=784_000_000)
    (_, second) = rows(cut, done)
    assert (second["touches"], second["ended"]) == ("5", "784 ms")


def test_what_went_wrong_at_one_point_is_a_column_for_all() -> None:
    wrong = run(
        by_event={"TaskKilled": 1},
        unresolved=2,
        silent={"write_failed": 3},
        dummies=Dummies(9, 4, 1, 4),
        expected=[Expectation("vm/server", "p99", 4, 5, False)],
    )
    first, second = rows(run(), wrong)
    assert set(first.values()) == {"off", "0"}
    assert second == {
        **PV, "missed": "1", "killed": "1", "unresolved": "2", "READYs not sent": "3",
        "dummies": "5",
    }  # fmt: skip


def test_the_rest_comes_behind_and_only_if_there_is_any() -> None:
    point = run(
        {"web/worker": task(touches=1)},
        cpu={"blackout": 1, "halted": 1, "idle": 6},
        page_ins=7,
        wait_sim_seconds=WaitTimes(0.001, 0.002, 0.003, 0.004),
        not_present={"injected": 2_000, "halted": 0, "untold": 0, "synchronous": 0},
        unresolved=1,
    )
    (row,) = rows(point)
    assert list(row)[1:] == [
        "touches", "unresolved", "stood still", "page-ins", "slept p50", "p99", "injected"
    ]  # fmt: skip
    assert row["stood still"] == "25.0 %"
    assert (row["slept p50"], row["p99"], row["injected"]) == ("1 ms", "3 ms", "2,000")


def test_a_figure_that_a_point_lacks_is_a_dash() -> None:
    asleep = run(wait_sim_seconds=WaitTimes(0.001, 0.002, 0.003, 0.004))
    assert rows(run(), asleep)[0] == {**OFF, "slept p50": "-", "p99": "-"}
