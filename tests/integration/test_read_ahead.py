"""Swap read-ahead in whole runs: what decides whether a fault is asynchronous at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.engine.run import run_scenario
from pagewake.events import types as ev
from pagewake.observe.result import RunResult
from pagewake.recorded.export import write_ftrace
from pagewake.scenario.loading import loads
from pagewake.verify.verify import verify_log
from tests.support.exported import out_of_turn, read_trace
from tests.support.runs import read_events

WALKS = """
[scenario]
name = "walks"
duration = "60ms"
[kernel]
profile = "{profile}"
[host]
medium = "ssd-sata"
page_cluster = {page_cluster}
[[vm]]
name = "vm"
vcpus = 2
memory = "64MiB"
limit = "8MiB"
{tasks}
"""
TASK = """
[[vm.task]]
name = "{name}"
pattern = "{pattern}"
working_set = "12MiB"
access = "mixed"
populated = true
touch = "3us"
"""


def walk(tmp_path: Path, profile: str, page_cluster: int, pattern: str = "sequential") -> RunResult:
    """Two tasks, each in memory of its own, whose run is verified."""
    tasks = "".join(TASK.format(name=name, pattern=pattern) for name in ("one", "two"))
    text = WALKS.format(profile=profile, page_cluster=page_cluster, tasks=tasks)
    log = tmp_path / f"{profile}-{page_cluster}-{pattern}"
    result = run_scenario(loads(text, "walks.toml", Path()), log_dir=log)
    assert verify_log(log).problems == []
    return result


def asynchronous(result: RunResult) -> int:
    return result.not_present["injected"] + result.not_present["halted"]


@pytest.mark.parametrize("profile", ["4.13", "5.4", "6.1"])
def test_who_polls_for_single_pages_has_no_asynchronous_fault_without_a_window(
    tmp_path: Path, profile: str
) -> None:
    alone = walk(tmp_path, profile, 0)
    assert asynchronous(alone) == 0
    assert alone.not_present["synchronous"] > 100
    assert asynchronous(walk(tmp_path, profile, 3)) > 100


def test_from_6_6_on_faults_are_asynchronous_with_and_without(tmp_path: Path) -> None:
    assert asynchronous(walk(tmp_path, "6.6", 0)) > 100
    assert asynchronous(walk(tmp_path, "6.6", 3)) > 100


@pytest.mark.parametrize("profile", ["3.10", "3.16", "6.6"])
def test_a_walk_is_served_by_read_ahead(tmp_path: Path, profile: str) -> None:
    alone, ahead = walk(tmp_path, profile, 0), walk(tmp_path, profile, 3)
    assert alone.read_ahead == 0
    assert ahead.read_ahead > ahead.page_ins // 2
    assert alone.touches is not None
    assert ahead.touches is not None
    assert ahead.touches > 2 * alone.touches


def test_random_touches_shrink_a_window_and_fill_a_block(tmp_path: Path) -> None:
    """Until 3.13 the whole block is read, whatever comes of it."""
    hits, whole = (walk(tmp_path, profile, 3, "random") for profile in ("6.6", "3.10"))
    assert hits.read_ahead < hits.page_ins // 5
    assert whole.read_ahead > whole.page_ins // 2


def test_a_run_is_the_same_again(tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert walk(tmp_path, "6.1", 3).digest == walk(again, "6.1", 3).digest


def test_a_page_may_be_in_before_the_attempt_looks(tmp_path: Path) -> None:
    """A thread that has begun to read its window reclaims for the rest; then it looks for its page.

    What is in by then was a slow synchronous fault, of which the guest is told nothing; what is
    not, an asynchronous one.
    """
    walk(tmp_path, "6.6", 3)
    began: dict[int, tuple[int, int]] = {}
    slow = asynchronous = 0
    events = read_events(tmp_path / "6.6-3-sequential")
    for event in sorted(events, key=lambda event: event.n):
        if isinstance(event, ev.PageRequested):
            began[event.vcpu] = event.gfn, event.at_ns
        elif isinstance(event, ev.FrameFound) and event.vcpu in began:
            gfn, at_ns = began.pop(event.vcpu)
            slow += gfn == event.gfn and event.at_ns - at_ns > 300_000
        elif isinstance(event, ev.PageNotPresent):
            asynchronous += event.delivery == "injected"
    assert slow > 10
    assert asynchronous > slow


def test_before_5_8_neighbours_without_a_frame_are_not_read(tmp_path: Path) -> None:
    walk(tmp_path, "5.4", 3)
    events = read_events(tmp_path / "5.4-3-sequential")
    assert not any(isinstance(event, ev.FrameAwaited) for event in events)
    windows = [
        sum(map(len, event.ahead))
        for event in events
        if isinstance(event, ev.PageNotPresent) and event.ahead
    ]
    assert max(windows) == 8


@pytest.mark.parametrize("profile", ["4.13", "6.1", "6.6"])
def test_a_run_can_be_written_as_a_trace_and_read_back(tmp_path: Path, profile: str) -> None:
    walk(tmp_path, profile, 3)
    place = tmp_path / "trace.txt"
    write_ftrace(tmp_path / f"{profile}-3-sequential", place, None, None)
    assert out_of_turn(read_trace(place.read_text("utf-8"), profile)) == []
