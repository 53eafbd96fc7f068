"""A grid in sentences: one axis at a time, by what each group of tasks came to."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from pagewake.observe.counter import ResultCounter
from pagewake.observe.headline import GROUPS_MAX, figure, headline
from pagewake.observe.latency import Latency
from pagewake.observe.measures import Measure, measures
from pagewake.observe.progress import TaskProgress
from pagewake.observe.result import RunFacts, RunResult

FACTS = RunFacts("s", 1, "5.8", "pv", 1_000, 0.5, 9, "00", 1, "0.2.0")
OFF, PV = {"kernel.apf": "off"}, {"kernel.apf": "pv"}


def touched(touches: int, finished_ns: int | None = None) -> TaskProgress:
    return TaskProgress(touches, None, 0, None, 1, finished_ns, None, ends=finished_ns is not None)


def worked(work: int, finished_ns: int | None = None) -> TaskProgress:
    return TaskProgress(0, None, 0, work, 1, finished_ns, None, ends=finished_ns is not None)


def run(digest: str = "00", **tasks: TaskProgress) -> RunResult:
    """A run of one VM, `web-0`, with a task of each name."""
    progress = {f"web-0/{name}-0": task for name, task in tasks.items()}
    empty = ResultCounter().finish(FACTS, [])
    return msgspec.structs.replace(empty, progress=progress, digest=digest)


def grid(results: Mapping[tuple[str, str], RunResult]) -> list[str]:
    """The headline of a grid over medium and mode."""
    axes = [{"host.medium": medium, "kernel.apf": apf} for medium, apf in results]
    return headline(axes, list(results.values()))


def test_every_group_is_told_by_what_it_counts() -> None:
    two = [
        run(worker=touched(1_000), app=worked(100)),
        run(worker=touched(1_006), app=worked(213)),
    ]
    assert headline([OFF, PV], two) == [
        "kernel.apf=pv against off: web/worker 1.006 times the touches, app 2.13 times the work."
    ]


def test_groups_that_move_in_opposite_directions_are_both_said() -> None:
    two = [run(app=worked(100), worker=touched(100)), run(app=worked(200), worker=touched(50))]
    assert headline([OFF, PV], two) == [
        (
            "kernel.apf=pv against off: web/app 2.00 times the work,"
            " but worker 0.500 times the touches."
        )
    ]


def test_one_axis_is_compared_at_a_time_and_the_largest_effect_comes_first() -> None:
    sentences = grid(
        {
            ("nvme", "off"): run(worker=touched(100)),
            ("nvme", "pv"): run(worker=touched(120)),
            ("zram", "off"): run(worker=touched(1_000)),
            ("zram", "pv"): run(worker=touched(1_000)),
        }
    )
    assert sentences == [
        (
            "host.medium=zram against nvme, all else equal: web/worker 9.13 times the touches"
            " (median; 8.33 to 10.0 over 2 values of kernel.apf)."
        ),
        (
            "kernel.apf=pv against off, all else equal: web/worker 1.095 times the touches"
            " (median; 1.000 to 1.20 over 2 values of host.medium)."
        ),
    ]


def test_points_that_are_missing_leave_the_other_pairs() -> None:
    (sentence,) = grid(
        {
            ("nvme", "off"): run(worker=touched(100)),
            ("nvme", "pv"): run(worker=touched(300)),
        }
    )
    assert sentence == (
        "kernel.apf=pv against off, all else equal: web/worker 3.00 times the touches."
    )
    diagonal = {
        ("nvme", "off"): run(worker=touched(1)),
        ("zram", "pv"): run(worker=touched(2)),
    }
    assert grid(diagonal) == []


def test_runs_that_end_by_themselves_are_compared_by_when() -> None:
    two = [run(sort=touched(50, 1_000)), run(sort=touched(50, 786))]
    assert headline([OFF, PV], two) == [
        "kernel.apf=pv against off: web/sort took 0.786 times as long."
    ]


def test_a_group_that_finished_at_some_points_only_is_compared_by_its_progress() -> None:
    two = [run(sort=touched(20)), run(sort=touched(50, 786))]
    assert measures(two) == {Measure("web/sort", "touches"): [20, 50]}


def test_no_difference_is_said_only_of_the_same_events() -> None:
    same = [run(worker=touched(5)), run(worker=touched(5))]
    assert headline([OFF, PV], same) == ["kernel.apf=pv against off: no difference."]
    other = [run(worker=touched(5)), run("11", worker=touched(5))]
    assert headline([OFF, PV], other) == [
        "kernel.apf=pv against off: the same touches, but not the same events."
    ]


def test_of_many_values_the_one_that_changes_most_is_told() -> None:
    axes = [{"kernel.hz": value} for value in ("100", "250", "1000")]
    runs = [run(worker=touched(touches)) for touches in (100, 20, 150)]
    assert headline(axes, runs) == [
        "kernel.hz=250 against 100: web/worker 0.200 times the touches."
    ]


def test_seeds_are_a_spread_and_no_effect() -> None:
    axes = [{"scenario.seed": seed} for seed in "123"]
    runs = [run(worker=touched(touches)) for touches in (100, 104, 102)]
    assert headline(axes, runs) == [
        "3 seeds, all else equal, lie apart by at most: web/worker touches 4 %."
    ]


def test_who_serves_requests_has_their_latency_too() -> None:
    def served(requests: int, p99_ns: int) -> RunResult:
        task = TaskProgress(9, None, requests, None, 1, None, None, ends=False)
        latency = {"web/server": Latency(requests, 0, 1.0, p99_ns=p99_ns)}
        return msgspec.structs.replace(run(server=task), latency=latency)

    assert headline([OFF, PV], [served(500, 900), served(500, 300)]) == [
        "kernel.apf=pv against off: web/server the same requests, 0.333 times the request p99."
    ]
    assert headline([OFF, PV], [served(500, 300), served(1_000, 600)]) == [
        (
            "kernel.apf=pv against off: web/server 2.00 times the requests,"
            " but 2.00 times the request p99."
        )
    ]


def test_many_groups_are_those_that_change_most_and_a_range() -> None:
    before = {f"t{number}": touched(100) for number in range(GROUPS_MAX + 2)}
    after = {name: touched(100 + 10 * number) for number, name in enumerate(before)}
    (sentence,) = headline([OFF, PV], [run("", **before), run("", **after)])
    assert "web/t2 1.20 times" in sentence
    assert "t1 " not in sentence
    assert sentence.endswith(", 2 more groups 1.000 to 1.10 times theirs.")


def test_progress_where_there_was_none_is_no_division() -> None:
    two = [run(worker=touched(0)), run(worker=touched(9))]
    assert headline([OFF, PV], two) == [
        "kernel.apf=pv against off: web/worker some touches instead of none."
    ]
    assert headline([PV, OFF], [two[1], two[0]]) == [
        "kernel.apf=off against pv: web/worker no touches instead of some."
    ]


def test_progress_at_some_points_only_says_at_how_many() -> None:
    app = {"nvme": (0, 9), "zram": (0, 0), "hdd-2010": (0, 4)}
    points = {
        (medium, mode): run(f"{medium}{mode}", app=worked(work))
        for medium, both in app.items()
        for mode, work in zip(("off", "pv"), both, strict=True)
    }
    medium, mode = sorted(grid(points))
    assert mode == (
        "kernel.apf=pv against off, all else equal: web/app some work instead of none"
        " (at 2 of 3 values of host.medium)."
    )
    assert medium == (
        "host.medium=zram against nvme, all else equal: web/app no work instead of some"
        " (at 1 of 2 values of kernel.apf)."
    )


def test_nothing_for_some_and_some_for_nothing_have_no_middle() -> None:
    app = {"nvme": (9, 0), "zram": (0, 9)}
    points = {
        (medium, mode): run(f"{medium}{mode}", app=worked(work))
        for medium, both in app.items()
        for mode, work in zip(("off", "pv"), both, strict=True)
    }
    assert "web/app no work instead of some (at 1 of 2 values of host.medium)" in " ".join(
        grid(points)
    )


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.0, "1.000"), (0.9944, "0.994"), (0.5, "0.500"), (11.73, "11.7"), (1234.5, "1,234")],
)
def test_a_ratio_has_three_digits_that_say_something(ratio: float, text: str) -> None:
    assert figure(ratio) == text


def test_one_point_or_none_has_nothing_to_compare() -> None:
    assert headline([], []) == []
    assert headline([PV], [run(worker=touched(1))]) == []
