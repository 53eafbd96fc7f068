"""A result taken apart: by task, VM and group, from events and from what shards account for."""

from __future__ import annotations

from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    Event,
    PageReady,
    PageTouched,
    ShardEnded,
    ShardSummary,
    TaskAccount,
    TaskFinished,
    TaskKilled,
)
from pagewake.observe.counter import ResultCounter
from pagewake.observe.progress import TaskProgress
from pagewake.observe.result import RunFacts, RunResult

FACTS = RunFacts("s", 1, "posted-v7", "pv", 2_000_000_000, 0.5, 9, "00ff", 1, "0.1.0")
ONE = ShardSummary(
    {"web-1/w-0": 3},
    {"blackout": 5, "task:f": 7},
    tasks={"web-1/f-0": TaskAccount(7, 4, 2, 1), "web-1/w-0": TaskAccount(30, work=3)},
    vm_cpu={"web-1/task:f": 7, "web-1/blackout": 5},
    unreported_touches=2,
    vm_unreported={"web-1": 2},
)
TWO = ShardSummary(
    cpu={"halted": 4},
    tasks={"web-0/f-0": TaskAccount(9, 6, ends=True), "db-0/f-0": TaskAccount(1, 1)},
    vm_cpu={"web-0/halted": 4},
)


def result_of(*events: Event, closing: tuple[ShardSummary, ...] = (ONE, TWO)) -> RunResult:
    counter = ResultCounter()
    counter.feed(events)
    return counter.finish(FACTS, closing)


def test_every_task_has_its_progress_and_when_it_ended() -> None:
    result = result_of(
        TaskFinished(11, "web-1", 1, 0, "f-0"), TaskKilled(12, "db-0", 1, 0, "f-0", 2, Token(1))
    )
    assert result.progress == {
        "db-0/f-0": TaskProgress(1, None, 0, None, 1, None, 12, False),
        "web-0/f-0": TaskProgress(6, None, 0, None, 9, None, None, True),
        "web-1/f-0": TaskProgress(4, 2, 1, None, 7, 11, None, False),
        "web-1/w-0": TaskProgress(0, None, 0, 3, 30, None, None, False),
    }


def test_vms_add_up_to_groups_and_groups_to_the_run() -> None:
    result = result_of(TaskFinished(11, "web-1", 1, 0, "f-0"), PageTouched(1, "web-0", 1, [4, 5]))
    assert result.per_vm is not None
    assert result.per_group is not None
    assert list(result.per_vm) == ["db-0", "web-0", "web-1"]
    assert list(result.per_group) == ["db", "web"]
    web = result.per_group["web"]
    assert (web.tasks, web.finished, web.touches, web.requests, web.work) == (3, 1, 10, 1, 3)
    assert (web.first_touches, web.blackout_ns, web.halted_ns) == (4, 5, 4)
    assert web.cpu == {"blackout": 5, "halted": 4, "task:f": 7}
    assert (result.touches, result.requests, result.first_touches) == (11, 1, 4)


def test_what_a_log_of_the_first_version_does_not_hold_is_null_and_not_zero() -> None:
    before = ShardSummary({"web-1/w-0": 3}, {"blackout": 5})
    result = result_of(TaskFinished(11, "web-1", 1, 0, "f-0"), closing=(before,))
    assert (result.touches, result.requests) == (None, None)
    assert (result.progress, result.per_vm, result.per_group) == (None, None, None)
    assert result.work.total == 3


def test_pages_that_a_shard_took_in_are_of_the_vms_that_it_says() -> None:
    told, counted = ResultCounter(), ResultCounter()
    reads = [PageReady(1, vm, 1, 0, Gfn(1), 0) for vm in ("web-0", "web-1", "web-1")]
    counted.feed(reads)
    told.feed_consumed(ShardEnded(0, {}, {"PageReady": 3}, 3, ONE, {"web-0": 1, "web-1": 2}))
    assert told.finish(FACTS, (ONE, TWO)) == counted.finish(FACTS, (ONE, TWO))


def test_pages_of_which_the_first_version_does_not_say_the_vm_count_in_the_run() -> None:
    counter = ResultCounter()
    counter.feed_consumed(ShardEnded(0, {}, {"PageReady": 3}, 3, ShardSummary()))
    assert counter.finish(FACTS, [ShardSummary()]).page_ins == 3


def test_tokens_that_were_never_ready_count_by_why() -> None:
    lost = ShardSummary(tasks={"web-0/f-0": TaskAccount()}, vm_silent={"web-0/write_failed": 2})
    result = result_of(closing=(ONE, lost))
    assert result.per_vm is not None
    assert result.silent is not None
    assert {why: number for why, number in result.silent.items() if number} == {"write_failed": 2}
    assert result.per_vm["web-0"].silent == result.silent
    assert not any(result.per_vm["web-1"].silent.values())
