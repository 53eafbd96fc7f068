"""EEVDF alone: who is eligible, whose deadline is first, and what a sleep leaves of a lag."""

from __future__ import annotations

import pytest

from pagewake.kvm.host_eevdf import Eevdf
from tests.unit.kvm.test_host_cpus import MS, Spinner, run, spinners

SLICE = 750_000


@pytest.mark.parametrize(("cpus", "slice_us"), [(1, 750), (2, 1_500), (4, 2_250), (64, 3_000)])
def test_the_slice_grows_with_the_cpus(cpus: int, slice_us: int) -> None:
    assert Eevdf(cpus).slice_ns == slice_us * 1_000


def test_equals_take_turns_of_a_slice() -> None:
    host = Eevdf(1)
    three = spinners(host, 3)
    run(host, three, 7 * SLICE)
    went = [(at_ns // SLICE, i) for i, each in enumerate(three) for at_ns in each.went]
    assert sorted(went) == [(1, 1), (2, 2), (3, 0), (4, 1), (5, 2), (6, 0)]


def test_a_used_up_slice_is_another_one_for_who_is_first_all_the_same() -> None:
    host = Eevdf(1)
    behind, other = spinners(host, 2)
    other.vruntime = 5 * MS
    other.deadline = 5 * MS + SLICE
    run(host, [behind, other], 3 * MS)
    assert not other.went, "it has had more than its share"
    assert behind.on_cpu
    run(host, [behind, other], 20 * MS)
    assert 5 * MS < other.went[0] < 6 * MS


def test_who_has_had_more_than_its_share_waits_whatever_its_deadline() -> None:
    host = Eevdf(1)
    first, early, late = spinners(host, 3)
    early.vruntime, early.deadline = 4 * MS, 100
    host.sleep(0, first)
    assert late.went == [0]
    assert early.waits


class TestWaking:
    def host(self) -> tuple[Eevdf, Spinner, Spinner]:
        host = Eevdf(1)
        first, second = spinners(host, 2)
        return host, first, second

    def test_who_is_in_its_slice_and_eligible_keeps_its_cpu(self) -> None:
        """RUN_TO_PARITY: CFS would give a sleeper half a latency, and the CPU."""
        host, first, second = self.host()
        second.vruntime += 2 * MS
        host.wake(100, Spinner("woken"))
        assert not first.asked, "it is behind, and just began"

    def test_who_is_past_its_share_makes_room_for_a_deadline_that_is_earlier(self) -> None:
        host, first, second = self.host()
        second.deadline += MS
        host.wake(100_000, Spinner("woken"))
        assert first.asked
        host.preempt(100_000, first)
        assert not second.went

    def test_behind_an_earlier_deadline_of_another_it_takes_no_cpu(self) -> None:
        host, first, second = self.host()
        woken = Spinner("woken")
        host.wake(100_000, woken)
        assert woken.deadline > second.deadline
        assert not first.asked

    def test_it_has_the_lag_that_it_slept_with(self) -> None:
        host, first, second = self.host()
        run(host, [first, second], 700_000)
        host.sleep(700_000, first)
        assert first.lag == -350_000
        run(host, [second], 30 * MS)
        host.wake(30 * MS, first)
        threads = [first, second]
        mean = sum(thread.vruntime for thread in threads) // 2
        assert first.vruntime - mean == 350_000, "it owes as much as it did"
        assert first.deadline == first.vruntime + SLICE

    def test_no_lag_is_more_than_a_tick_or_two_slices(self) -> None:
        for cpus, most_ns in ((1, 4 * MS), (8, 6 * MS)):
            host = Eevdf(cpus)
            far, *_ = spinners(host, 2)
            far.vruntime = 100 * MS
            host.sleep(0, far)
            assert far.lag == -most_ns

    def test_a_slice_that_was_used_up_alone_counts_no_more(self) -> None:
        host = Eevdf(1)
        alone = Spinner("alone")
        host.wake(0, alone)
        woken = Spinner("woken")
        host.wake(50 * MS, woken)
        assert alone.deadline == 50 * MS + SLICE
        assert (woken.vruntime, woken.deadline) == (50 * MS, 50 * MS + SLICE)
        assert alone.asked, "no slice protects it that it was not picked for"


def test_of_several_the_one_that_has_had_most_makes_room() -> None:
    host = Eevdf(2)
    threads = spinners(host, 2)
    threads[1].vruntime += 3 * MS
    threads[0].vruntime += 1 * MS
    woken = Spinner("woken")
    woken.lag = 4 * MS
    host.wake(1_000, woken)
    assert (threads[0].asked, threads[1].asked) == (False, True)


def test_where_all_who_wait_have_had_too_much_a_free_cpu_is_given_away_all_the_same() -> None:
    host = Eevdf(2)
    poor, leaver, one, other = spinners(host, 4)
    for thread, ahead_ns in ((leaver, 9 * MS), (one, 6 * MS), (other, 5 * MS)):
        thread.vruntime += ahead_ns
        thread.deadline += ahead_ns
    poor.vruntime -= 40 * MS
    host.sleep(0, leaver)
    assert other.went == [0]
    assert not one.went
