"""The fair scheduler of one guest CPU: who runs next, for how long, and who may push in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pagewake.guest_kernel.config import SchedulerConfig
from pagewake.guest_kernel.scheduler import RunQueue
from pagewake.guest_kernel.tasks import Task

MS = 1_000_000
CONFIG = SchedulerConfig(
    latency_ns=18 * MS, min_granularity_ns=2 * MS, wakeup_granularity_ns=3 * MS, balance_ns=64 * MS
)


def task(name: str, weight: int = 1024, vruntime: int = 0) -> Task:
    made = Task(0, name, "t", 0, weight=weight)
    made.vruntime = vruntime
    return made


def queue(*waiting: Task) -> RunQueue:
    rq = RunQueue(CONFIG)
    rq.waiting = list(waiting)
    return rq


def running(rq: RunQueue) -> str:
    assert rq.curr is not None
    return rq.curr.name


class TestPick:
    def test_least_virtual_runtime_first(self) -> None:
        rq = queue(task("a", vruntime=5), task("b", vruntime=3), task("c", vruntime=4))
        rq.pick(0)
        assert running(rq) == "b"
        assert [other.name for other in rq.waiting] == ["a", "c"]

    def test_among_equals_who_came_first(self) -> None:
        rq = queue(task("a"), task("b"))
        rq.pick(0)
        assert running(rq) == "a"

    def test_of_nobody_is_idle(self) -> None:
        rq = queue()
        assert rq.pick(0) is None
        assert rq.load() == 0

    def test_who_is_put_back_goes_behind_its_equals(self) -> None:
        rq = queue(task("a"), task("b"))
        rq.pick(0)
        rq.put_back()
        rq.pick(0)
        assert running(rq) == "b"


class TestCharge:
    def test_time_counts_in_inverse_proportion_to_weight(self) -> None:
        light, heavy = task("light"), task("heavy", weight=2048)
        for each in (light, heavy):
            rq = queue(each)
            rq.pick(0)
            rq.update(10 * MS)
        assert (light.vruntime, heavy.vruntime) == (10 * MS, 5 * MS)

    def test_is_for_the_time_since_the_last_one(self) -> None:
        only = task("a")
        rq = queue(only)
        rq.pick(2 * MS)
        rq.update(5 * MS)
        rq.update(6 * MS)
        assert only.vruntime == 4 * MS

    def test_while_idle_is_for_nobody(self) -> None:
        rq = queue()
        rq.update(50 * MS)
        rq.waiting.append(task("a"))
        rq.pick(50 * MS)
        rq.update(51 * MS)
        assert rq.curr is not None
        assert rq.curr.vruntime == MS

    def test_the_floor_follows_the_least_and_never_goes_back(self) -> None:
        first, second = task("a"), task("b", vruntime=4 * MS)
        rq = queue(first, second)
        rq.pick(0)
        rq.update(3 * MS)
        assert rq.min_vruntime == 3 * MS
        rq.update(10 * MS)
        assert rq.min_vruntime == 4 * MS
        rq.waiting.append(task("late"))
        rq.update(11 * MS)
        assert rq.min_vruntime == 4 * MS


class TestSliceAtTicks:
    def test_alone_it_is_never_taken_off(self) -> None:
        rq = queue(task("a"))
        rq.pick(0)
        rq.update(500 * MS)
        assert not rq.tick_preempts(500 * MS)

    def test_idle_gives_way_to_anybody(self) -> None:
        rq = queue()
        rq.pick(0)
        assert not rq.tick_preempts(MS)
        rq.waiting.append(task("a"))
        assert rq.tick_preempts(MS)

    def test_its_share_of_one_latency_by_weight(self) -> None:
        rq = queue(task("a"), task("b", weight=2048, vruntime=99 * MS))
        rq.pick(0)  # 6 of 18 ms
        rq.update(6 * MS)
        assert not rq.tick_preempts(6 * MS)
        rq.update(6 * MS + 1)
        assert rq.tick_preempts(6 * MS + 1)

    def test_with_many_tasks_the_period_stretches(self) -> None:
        rq = queue(*(task(str(number), vruntime=99 * MS) for number in range(20)))
        rq.pick(0)  # 20 tasks of 2 ms each
        rq.update(2 * MS)
        assert not rq.tick_preempts(2 * MS)
        rq.update(2 * MS + 1)
        assert rq.tick_preempts(2 * MS + 1)

    def test_far_ahead_of_the_next_one_it_ends_sooner_but_not_below_the_granularity(self) -> None:
        ahead = task("ahead", vruntime=50 * MS)
        rq = queue(ahead)
        rq.pick(0)
        rq.waiting.append(task("b", vruntime=10 * MS))
        rq.update(MS)
        assert not rq.tick_preempts(MS)
        rq.update(2 * MS)
        assert rq.tick_preempts(2 * MS)


class TestWakeUp:
    def test_a_long_sleeper_has_half_a_latency_of_credit(self) -> None:
        rq = queue()
        rq.min_vruntime = 100 * MS
        sleeper = task("s", vruntime=MS)
        rq.enqueue_woken(sleeper)
        assert sleeper.vruntime == 91 * MS

    def test_a_short_one_keeps_what_it_had(self) -> None:
        rq = queue()
        rq.min_vruntime = 100 * MS
        sleeper = task("s", vruntime=120 * MS)
        rq.enqueue_woken(sleeper)
        assert sleeper.vruntime == 120 * MS

    def test_pushes_in_with_a_lead_of_more_than_the_granularity(self) -> None:
        rq = queue(task("a", vruntime=10 * MS))
        rq.pick(0)
        assert not rq.wakeup_preempts(task("s", vruntime=7 * MS))
        assert rq.wakeup_preempts(task("s", vruntime=7 * MS - 1))

    def test_a_heavier_one_needs_less_of_a_lead(self) -> None:
        rq = queue(task("a", vruntime=10 * MS))
        rq.pick(0)
        assert rq.wakeup_preempts(task("s", weight=2048, vruntime=8 * MS))

    def test_idle_is_always_preempted(self) -> None:
        assert queue().wakeup_preempts(task("s", vruntime=99 * MS))


class TestArrival:
    def test_a_new_task_starts_one_slice_behind(self) -> None:
        rq = queue(task("a"))
        rq.pick(0)
        rq.min_vruntime = 100 * MS
        new = task("new")
        rq.enqueue_new(new)
        assert new.vruntime == 109 * MS

    def test_from_another_cpu_it_keeps_its_lag(self) -> None:
        source, rq = queue(), queue()
        source.min_vruntime, rq.min_vruntime = 500 * MS, 20 * MS
        moved = task("m", vruntime=503 * MS)
        rq.enqueue_moved(moved, source)
        assert moved.vruntime == 23 * MS


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from((512, 1024, 3072))), min_size=1),
    st.integers(0, 60),
    st.integers(1, 40),
)
def test_no_tick_before_the_lower_bound_preempts(
    waiting: list[tuple[int, int]], ran_ms: int, tick_ms: int
) -> None:
    """What lookahead promises: nobody else runs before `earliest_switch_ns`."""
    rq = queue(*(task(str(i), w, v * MS) for i, (v, w) in enumerate(waiting)))
    rq.pick(0)
    rq.update(ran_ms * MS)
    if not rq.waiting:
        return
    first_tick_ns = (ran_ms + 1) * MS
    bound_ns = rq.earliest_switch_ns(first_tick_ns)
    at_ns = first_tick_ns
    while at_ns < min(bound_ns, first_tick_ns + tick_ms * MS):
        rq.update(at_ns)
        assert not rq.tick_preempts(at_ns)
        at_ns += MS


@given(st.lists(st.sampled_from((512, 1024, 2048)), min_size=2, max_size=5))
def test_over_many_rounds_everybody_gets_a_share_by_weight(weights: list[int]) -> None:
    tasks = [task(str(i), weight) for i, weight in enumerate(weights)]
    got = dict.fromkeys((each.name for each in tasks), 0)
    rq = queue(*tasks)
    rq.pick(0)
    for at_ms in range(1, 2_001):
        got[running(rq)] += 1
        rq.update(at_ms * MS)
        if rq.tick_preempts(at_ms * MS):
            rq.put_back()
            rq.pick(at_ms * MS)
    for each in tasks:
        share = got[each.name] / 2_000
        assert abs(share - each.weight / sum(weights)) < 0.03
