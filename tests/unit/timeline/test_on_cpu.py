"""Which task ran: named alone only where nobody else can have run."""

from __future__ import annotations

from typing import TypeAlias

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.scenario.loading import load
from pagewake.timeline.on_cpu import Guest, OnCpu, Placed, guest_of

Slice: TypeAlias = tuple[int, str, int, int]

TICK_NS = 1_000_000
TWO = Guest([Placed("worker-0", 0), Placed("faulter-0", 0)], TICK_NS)


def slices(guest: Guest, *events: ev.Event, end_ns: int) -> list[Slice]:
    """What a vcpu 0 that runs from 0 to the end ran, from these events."""
    found: list[Slice] = []
    on_cpu = OnCpu(guest, lambda *ran: found.append(ran))
    on_cpu.runs(0, 0)
    for event in events:
        on_cpu.take(event)
    on_cpu.stops(0, end_ns)
    on_cpu.close()
    return found


def fault(at_ns: int, task: str) -> ev.PageNotPresent:
    return ev.PageNotPresent(
        at_ns=at_ns, vm="v", n=1, vcpu=0, gfn=Gfn(1), access="read", cpl=3, level=1, epoch=0,
        delivery="injected", token=Token(1), task=task,
    )  # fmt: skip


def slept(at_ns: int, task: str) -> ev.TaskSlept:
    return ev.TaskSlept(at_ns=at_ns, vm="v", n=2, vcpu=0, task=task, token=Token(1))


def woken(at_ns: int, task: str) -> ev.TaskWoken:
    return ev.TaskWoken(
        at_ns=at_ns, vm="v", n=3, vcpu=0, task=task, token=Token(1), how="token", waited_ns=1
    )


def test_a_task_alone_on_its_vcpu_runs_whenever_that_does() -> None:
    assert slices(Guest([Placed("a-0", 0)], TICK_NS), end_ns=10**9) == [(0, "a-0", 0, 10**9)]


def test_while_the_other_sleeps_one_is_left() -> None:
    found = slices(
        TWO, fault(100, "faulter-0"), slept(200, "faulter-0"), woken(9_000_000, "faulter-0"),
        fault(9_000_500, "faulter-0"), end_ns=9_000_600,
    )  # fmt: skip

    assert found == [
        (0, "faulter-0", 0, 200),
        (0, "worker-0", 200, 9_000_000),
        (0, "worker-0 or faulter-0", 9_000_000, 9_000_500),
        (0, "faulter-0", 9_000_500, 9_000_600),
    ]


def test_a_tick_in_between_leaves_it_open() -> None:
    found = slices(
        TWO, fault(100, "faulter-0"), fault(100 + TICK_NS, "faulter-0"),
        fault(200 + TICK_NS, "faulter-0"), end_ns=300 + TICK_NS,
    )  # fmt: skip

    assert found[1] == (0, "worker-0 or faulter-0", 100, 100 + TICK_NS)
    assert found[2] == (0, "faulter-0", 100 + TICK_NS, 300 + TICK_NS)


def test_a_task_that_moved_is_run_elsewhere() -> None:
    moved = ev.TaskMoved(at_ns=500, vm="v", n=4, vcpu=0, task="worker-0", to=1, why="idle")
    assert slices(TWO, moved, end_ns=10**8)[-1] == (0, "faulter-0", 500, 10**8)


def test_of_many_tasks_only_the_number_is_told() -> None:
    crowd = Guest([Placed(f"t-{number}", 0) for number in range(9)], TICK_NS)
    assert slices(crowd, end_ns=10**8) == [(0, "one of 9 tasks", 0, 10**8)]


def test_what_goes_on_can_be_asked_for() -> None:
    on_cpu = OnCpu(TWO, lambda *_: None)
    on_cpu.runs(0, 0)
    on_cpu.take(slept(200, "faulter-0"))
    assert on_cpu.so_far(10**8)[-1] == (0, "worker-0", 200, 10**8)


def test_tasks_are_placed_as_the_guest_places_them() -> None:
    scenario = load("natapov-2010")
    guest = guest_of(scenario, scenario.instances()[0])
    assert guest.tick_ns == TICK_NS
    assert {one.vcpu for one in guest.tasks} == {0, 1, 2, 3}
    nested = load("nested")
    assert guest_of(nested, nested.instances()[0]).tasks == []
