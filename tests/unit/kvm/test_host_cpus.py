"""The CPUs of a host under either scheduler, and CFS alone: who runs, how long, who goes first."""

from __future__ import annotations

import pickle

import pytest

from pagewake.kvm.host_cfs import Cfs
from pagewake.kvm.host_cpus import HostCpus, HostThread
from pagewake.kvm.host_eevdf import Eevdf
from pagewake.simtime.ports import NEVER_NS

MS = 1_000_000
EITHER = pytest.mark.parametrize("of", [Cfs, Eevdf])
Scheduler = type[Cfs] | type[Eevdf]


class Spinner(HostThread):
    """Runs whenever it may, and leaves its CPU as soon as it is asked to."""

    def __init__(self, name: str, polls: bool = False) -> None:
        super().__init__("spinner")
        self.name = name
        self.polls = polls
        self.asked = False
        self.went: list[int] = []

    def go(self, at_ns: int) -> str:
        self.went.append(at_ns)
        return self.name

    def asked_to_leave(self, at_ns: int) -> str:
        self.asked = True
        return self.name

    def stop_poll(self, at_ns: int) -> bool:
        stopped, self.polls = self.polls, False
        return stopped


def run(cpus: HostCpus, threads: list[Spinner], until_ns: int) -> None:
    """What the scheduler decides by itself, before that instant."""
    while (at_ns := cpus.next_ns()) < until_ns:
        cpus.tick(at_ns)
        for thread in threads:
            if thread.asked:
                thread.asked = False
                cpus.preempt(at_ns, thread)
    cpus._charge(until_ns)


def spinners(cpus: HostCpus, number: int) -> list[Spinner]:
    threads = [Spinner(f"spinner-{i}") for i in range(number)]
    for thread in threads:
        cpus.wake(0, thread)
    return threads


@pytest.mark.parametrize(
    ("cpus", "threads"), [(1, 1), (1, 2), (1, 5), (2, 3), (2, 4), (3, 4), (4, 20)]
)
@EITHER
def test_everybody_has_the_same_part(of: Scheduler, cpus: int, threads: int) -> None:
    host = of(cpus)
    all_of_them = spinners(host, threads)
    run(host, all_of_them, 1_000 * MS)
    fair_ns = 1_000 * MS * min(cpus, threads) // threads
    assert sum(thread.vruntime for thread in all_of_them) == 1_000 * MS * min(cpus, threads)
    assert all(abs(thread.vruntime - fair_ns) <= Cfs(cpus).latency_ns for thread in all_of_them)


@pytest.mark.parametrize(("cpus", "latency_ms"), [(1, 6), (2, 12), (4, 18), (8, 24), (64, 24)])
def test_the_latency_grows_with_the_cpus(cpus: int, latency_ms: int) -> None:
    assert Cfs(cpus).latency_ns == latency_ms * MS


def test_a_turn_is_a_part_of_the_latency_and_no_shorter_than_the_granularity() -> None:
    host = Cfs(1)
    two = spinners(host, 2)
    run(host, two, 13 * MS)
    assert (two[0].went, two[1].went) == ([6 * MS, 12 * MS], [3 * MS, 9 * MS])
    crowd = Cfs(1)
    many = spinners(crowd, 20)
    run(crowd, many, 15 * MS)
    assert [thread.went[0] for thread in many[1:5]] == [750_000, 1_500_000, 2_250_000, 3 * MS]


@EITHER
def test_behind_a_short_worker_whoever_is_first_has_the_cpu(of: Scheduler) -> None:
    host = of(1)
    ran, waits = spinners(host, 2)
    assert not host.picks_again(100_000, ran), "it has had a part of its turn, the other none"
    host.preempt(100_000, ran)
    assert (waits.went, ran.waits) == ([100_000], True)
    host.sleep(200_000, ran)
    assert host.picks_again(300_000, waits), "nobody else is there"
    assert waits.turn_ns == 300_000, "another turn"


@EITHER
def test_while_nobody_waits_there_is_nothing_to_decide(of: Scheduler) -> None:
    host = of(2)
    spinners(host, 2)
    assert host.next_ns() == NEVER_NS


def test_who_slept_long_goes_first_and_who_slept_little_waits_its_turn() -> None:
    host = Cfs(1)
    running, late = Spinner("running"), Spinner("late")
    host.wake(0, running)
    assert not host.wake(500_000, late)
    assert not running.asked, "half a millisecond is no lead"
    host.sleep(600_000, late)
    assert not host.wake(20 * MS, late)
    least = 20 * MS - host.latency_ns // 2
    assert (running.asked, late.vruntime) == (True, least), "no more credit than that"
    host.preempt(20 * MS, running)
    assert late.on_cpu
    assert running.waits


def test_who_ran_alone_makes_room_at_once_for_who_comes() -> None:
    """Its turn began long ago: what is due is now, never in the past."""
    host = Cfs(1)
    alone, other = Spinner("alone"), Spinner("other")
    host.wake(0, alone)
    other.vruntime = 51 * MS
    host.wake(50 * MS, other)
    assert host.next_ns() == 50 * MS
    host.tick(50 * MS)
    assert not alone.asked, "nobody had less"
    assert host.next_ns() == 53 * MS


@EITHER
def test_a_thread_that_polls_gives_its_cpu_up_for_any_other(of: Scheduler) -> None:
    host = of(1)
    poller, other = Spinner("poller", polls=True), Spinner("other")
    host.wake(0, poller)
    assert host.wake(1_000, other)
    assert not poller.on_cpu
    assert not poller.waits


@EITHER
def test_who_leaves_by_itself_does(of: Scheduler) -> None:
    host = of(1)
    worker, other = Spinner("worker"), Spinner("other")
    host.wake(0, worker)
    worker.until_ns = 2_400
    worker.yields = True
    host.wake(1_000, other)
    assert host.next_ns() == 2_400
    host.tick(2_400)
    assert other.went == [2_400]
    assert not worker.on_cpu


@EITHER
def test_who_waits_in_vain_leaves_the_queue(of: Scheduler) -> None:
    host = of(1)
    first, second = spinners(host, 2)
    host.sleep(1_000, second)
    host.sleep(2_000, first)
    assert (host.running, host.waiting, second.went) == ([], [], [])


@EITHER
def test_those_that_were_given_steps_are_named(of: Scheduler) -> None:
    host = of(1)
    first, _ = spinners(host, 2)
    host.sleep(1_000, first)
    assert host.stirred == ["spinner-1"]


@EITHER
def test_a_copy_from_a_snapshot_decides_the_same(of: Scheduler) -> None:
    host = of(2)
    threads = spinners(host, 5)
    run(host, threads, 40 * MS)
    copied, copies = pickle.loads(pickle.dumps((host, threads)))
    for one, them in ((host, threads), (copied, copies)):
        run(one, them, 200 * MS)
    assert [thread.went for thread in threads] == [thread.went for thread in copies]
