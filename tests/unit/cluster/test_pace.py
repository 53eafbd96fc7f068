"""A pace holds windows back until the wall clock reaches them."""

from __future__ import annotations

import pytest

from pagewake.cluster.pace import Pace
from tests.support.clock import FakeClock

S = 1_000_000_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pace(clock: FakeClock) -> Pace:
    return Pace(clock)


def test_without_a_pace_nothing_waits(pace: Pace) -> None:
    assert [pace.wait_s(0.0, at_ns, caught_up=True) for at_ns in (0, 5 * S)] == [0.0, 0.0]


def test_a_window_waits_until_the_clock_is_where_it_begins(pace: Pace, clock: FakeClock) -> None:
    assert pace.wait_s(0.5, 3 * S, caught_up=True) == 0.0  # counted from here
    assert pace.wait_s(0.5, 4 * S, caught_up=True) == 2.0
    clock.advance(1.5)
    assert pace.wait_s(0.5, 4 * S, caught_up=True) == 0.5
    clock.advance(10.0)
    assert pace.wait_s(0.5, 4 * S, caught_up=True) == 0.0


def test_another_speed_counts_from_where_it_was_set(pace: Pace, clock: FakeClock) -> None:
    pace.wait_s(0.1, 0, caught_up=True)
    clock.advance(3.0)
    assert pace.wait_s(2.0, 1 * S, caught_up=True) == 0.0
    assert pace.wait_s(2.0, 5 * S, caught_up=True) == 2.0


def test_a_replay_does_not_wait_and_the_pace_counts_from_its_end(pace: Pace) -> None:
    assert [pace.wait_s(1.0, at_ns, caught_up=False) for at_ns in (0, 7 * S)] == [0.0, 0.0]
    assert pace.wait_s(1.0, 7 * S, caught_up=True) == 0.0
    assert pace.wait_s(1.0, 8 * S, caught_up=True) == 1.0
