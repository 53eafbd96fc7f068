"""The counter that makes `run --json` of a run's events: every event counts where it should."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    DoubleFault,
    DummyConsumed,
    DummyInserted,
    DummyUnlinked,
    Event,
    ExitRouted,
    HaltWhy,
    PageNotPresent,
    PageReady,
    PagesEvicted,
    PageTouched,
    ShardSummary,
    TaskSlept,
    TaskWoken,
    VcpuHalted,
)
from pagewake.observe.counter import ResultCounter
from pagewake.observe.result import RunFacts, RunResult

FACTS = RunFacts("s", 1, "posted-v7", "pv", 2_000_000_000, 0.5, 9, "00ff", 1, "0.1.0")


def _of(events: Sequence[Event], *summaries: ShardSummary) -> RunResult:
    counter = ResultCounter()
    counter.feed(events)
    return counter.finish(FACTS, summaries)


def _fault(delivery: str = "injected", **more: object) -> PageNotPresent:
    fields = {"at_ns": 1, "vm": "a", "n": 1, "vcpu": 0, "gfn": 7, "access": "read", "cpl": 3}
    whole = {"event": "PageNotPresent", **fields, "level": 1, "epoch": 0, "delivery": delivery}
    return msgspec.convert({**whole, **more}, PageNotPresent)


def _woken(waited_ns: int, how: str = "token") -> TaskWoken:
    fields = {"at_ns": 1, "vm": "a", "n": 1, "vcpu": 0, "task": "t", "token": 0}
    return msgspec.convert(
        {"event": "TaskWoken", **fields, "how": how, "waited_ns": waited_ns}, TaskWoken
    )


def test_nothing_happened_is_all_zeros_and_no_wait_times() -> None:
    result = _of([])
    assert result.events == 0
    assert set(result.not_present.values()) == {0}
    assert set(result.wakes.values()) == {0}
    assert set(result.exits.values()) == {0}
    assert result.halts == {}
    assert result.wait_sim_seconds is None
    assert result.unresolved == 0


def test_faults_count_by_delivery_joined_ones_too() -> None:
    faults = [_fault("injected"), _fault("injected", joined=True), _fault("halted")]
    result = _of([*faults, _fault("untold"), _fault("synchronous")])
    assert result.not_present == {"injected": 2, "halted": 1, "untold": 1, "synchronous": 1}
    assert result.page_ins == 0


def test_a_first_touch_is_no_device_request() -> None:
    touched = PageTouched(1, "a", 1, [4, 5, 6])
    result = _of([touched, _fault("synchronous", first_touch=True)])
    assert result.first_touches == 4
    assert result.not_present["synchronous"] == 0


def test_page_ins_are_device_reads_wherever_they_were_made() -> None:
    read = PageReady(1, "a", 1, 0, Gfn(7), 0)
    no_read = PageReady(1, "a", 2, 0, Gfn(8), 0, read=False)
    result = _of([read, no_read, _fault("synchronous", served=True)])
    assert result.page_ins == 2


def test_evictions_are_frames_taken_back() -> None:
    result = _of([PagesEvicted(1, "a", 1, dropped=[1, 2], dirty=[3], refused=[4])])
    assert result.evictions == 2


def test_waits_count_by_outcome() -> None:
    slept = TaskSlept(1, "a", 1, 0, "t", Token(0))
    halted = TaskSlept(1, "a", 2, 0, "t", Token(1), halted=True)
    early = DummyConsumed(1, "a", 3, 0, "t", Token(2))
    result = _of([slept, slept, halted, early])
    assert msgspec.to_builtins(result.waits) == {"slept": 2, "early_ready": 1, "halted": 1}


def test_wakes_count_by_cause() -> None:
    result = _of([_woken(1), _woken(1, "broadcast"), _woken(1, "broadcast"), _woken(1, "offline")])
    assert result.wakes == {"token": 1, "broadcast": 2, "offline": 1}


def test_dummies_are_accounted_for() -> None:
    inserted = [DummyInserted(1, "a", n, 0, Token(n)) for n in range(5)]
    consumed = DummyConsumed(1, "a", 6, 0, "t", Token(0))
    leaked = DummyUnlinked(1, "a", 7, 0, Token(1), "broadcast")
    dummies = _of([*inserted, consumed, leaked]).dummies
    assert (dummies.inserted, dummies.consumed, dummies.leaked, dummies.left) == (5, 1, 1, 3)
    assert dummies.inserted == dummies.consumed + dummies.leaked + dummies.left


def test_halts_double_faults_and_exits_count() -> None:
    reasons: list[HaltWhy] = ["hlt", "double_fault", "hlt"]
    halts = [VcpuHalted(1, "a", n, 0, why) for n, why in enumerate(reasons)]
    result = _of(
        [*halts, DoubleFault(1, "a", 4, 0, Gfn(7)), ExitRouted(1, "a", 5, 0, 0, 0x400, "done")]
    )
    assert result.halts == {"double_fault": 1, "hlt": 2}
    assert result.double_faults == 1
    assert result.exits == {"host": 0, "continue": 0, "done": 1}


@pytest.mark.parametrize(
    ("waited_ms", "expected_ms"),
    [
        ([5], (5, 5, 5, 5)),
        (list(range(1, 101)), (50, 90, 99, 100)),
        ([3, 1, 2], (2, 3, 3, 3)),
    ],
)
def test_wait_times_are_nearest_ranks(
    waited_ms: list[int], expected_ms: tuple[int, int, int, int]
) -> None:
    times = _of([_woken(ms * 1_000_000) for ms in waited_ms]).wait_sim_seconds
    assert times is not None
    assert (times.p50, times.p90, times.p99, times.max) == tuple(ms / 1000 for ms in expected_ms)


def test_how_the_events_were_cut_into_feeds_does_not_matter() -> None:
    events = [_fault(), _woken(5), _fault("halted"), _woken(9), DoubleFault(1, "a", 4, 0, Gfn(7))]
    by_one = ResultCounter()
    for event in events:
        by_one.feed([event])
    assert by_one.finish(FACTS, []) == _of(events)


def test_summaries_of_shards_add_up() -> None:
    one = ShardSummary({"a/w-0": 3}, {"worker": 5, "idle": 1}, [], 2, 7)
    two = ShardSummary({"b/w-0": 4}, {"worker": 6}, ["b/f-1", "b/f-0"], 0, 1)
    result = _of([PageTouched(1, "a", 1, [4, 5])], two, one)
    assert result.work.total == 7
    assert list(result.work.per_task) == ["a/w-0", "b/w-0"]
    assert result.cpu == {"idle": 1, "worker": 11}
    assert (result.unresolved, result.unresolved_tasks) == (2, ["b/f-0", "b/f-1"])
    assert result.sleepers == 2
    assert result.first_touches == 2 + 7 + 1


def test_every_event_counts_once_and_by_name() -> None:
    result = _of([_fault(), _fault(), _woken(1)])
    assert result.events == 3
    assert result.by_event == {"PageNotPresent": 2, "TaskWoken": 1}


def test_speed_is_simulated_over_wall_time() -> None:
    assert _of([]).speed == 4.0
