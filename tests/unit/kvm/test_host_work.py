"""kswapd and emulators alone on the CPUs of a host: when they have done what, and for whom."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from pagewake.events.types import AgePages
from pagewake.kvm.config import EmulatorLoad
from pagewake.kvm.host_cfs import Cfs
from pagewake.kvm.host_work import Emulator, Kswapd
from pagewake.kvm.vm import Reclaiming, Vm
from pagewake.simtime.ports import NEVER_NS
from tests.unit.kvm.scripted import Machine
from tests.unit.kvm.test_host_cpus import MS, Spinner

US = 1_000


class PlainVm(Vm):
    """Writes down what was reclaimed, and has no threads of its own."""

    def __init__(self, name: str, page_ns: int = US) -> None:
        config = Machine(costs={"reclaim_page_ns": page_ns}).vm.config
        super().__init__(replace(config, name=name))
        self.steps: list[tuple[int, Any]] = []
        self.reclaimed: list[tuple[int, int]] = []

    def push(self, at_ns: int, vcpu: int, gen: int, op: object, arg: object = None) -> None:
        self.steps.append((at_ns, arg))

    def reclaim(self, at_ns: int, event: Reclaiming) -> None:
        self.reclaimed.append((at_ns, len(event.gfns)))


class Host:
    """One CPU, kswapd, and these VMs."""

    def __init__(self, *names: str, page_ns: int = US) -> None:
        self.cpus = Cfs(1)
        self.kswapd = Kswapd()
        self.vms = {name: PlainVm(name, page_ns) for name in names}
        self.spinners: list[Spinner] = []

    def wants(self, at_ns: int, vm: str, pages: int) -> bool:
        event = AgePages(at_ns, vm, 0, list(range(pages)))
        return self.kswapd.takes(at_ns, self.cpus, self.vms[vm], event)

    def spinner(self, at_ns: int) -> Spinner:
        spinner = Spinner(f"spinner-{len(self.spinners)}")
        self.spinners.append(spinner)
        self.cpus.wake(at_ns, spinner)
        return spinner

    def run(self, until_ns: int) -> None:
        while True:
            for vm in self.vms.values():
                vm.steps.sort(key=lambda step: step[0])
            due = [(vm.steps[0][0], vm.name) for vm in self.vms.values() if vm.steps]
            at_ns, name = min(due, default=(NEVER_NS, ""))
            tick_ns = self.cpus.next_ns()
            if min(at_ns, tick_ns) >= until_ns:
                return
            if tick_ns <= at_ns:
                self.cpus.tick(tick_ns)
            else:
                _, (thread, plan) = self.vms[name].steps.pop(0)
                thread.step(at_ns, self.cpus, plan)
            for spinner in self.spinners:
                if spinner.asked:
                    spinner.asked = False
                    self.cpus.preempt(min(at_ns, tick_ns), spinner)

    def reclaimed(self, vm: str) -> list[tuple[int, int]]:
        return self.vms[vm].reclaimed


def test_a_step_of_reclaim_is_done_once_its_pages_have_had_their_time() -> None:
    host = Host("a")
    assert host.wants(5 * US, "a", 32)
    host.run(MS)
    assert host.reclaimed("a") == [(37 * US, 32)]
    assert not host.kswapd.on_cpu, "with nothing to do it sleeps"


def test_steps_of_all_vms_are_done_one_after_the_other_in_their_order() -> None:
    host = Host("a", "b")
    for vm, pages in (("b", 10), ("a", 20), ("b", 5)):
        host.wants(0, vm, pages)
    host.run(MS)
    assert host.reclaimed("b") == [(10 * US, 10), (35 * US, 5)]
    assert host.reclaimed("a") == [(30 * US, 20)]


def test_who_computes_keeps_kswapd_waiting() -> None:
    host = Host("a")
    host.spinner(0)
    host.kswapd.vruntime = 10 * MS
    host.wants(MS, "a", 32)
    host.run(20 * MS)
    assert host.reclaimed("a") == [(12 * MS + 32 * US, 32)], "behind a turn in which it has least"


def test_it_gives_way_between_two_pages_and_goes_on_where_it_was() -> None:
    host = Host("a", page_ns=400 * US)
    host.wants(0, "a", 20)
    spinner = host.spinner(100 * US)
    host.run(40 * MS)
    assert spinner.went[0] == 3_200 * US, "its turn was over at 3 ms"
    ((done_ns, pages),) = host.reclaimed("a")
    assert pages == 20
    assert host.kswapd.vruntime == 8 * MS, "no page twice"
    assert done_ns > 14 * MS


def test_what_takes_no_time_is_done_at_once_where_a_cpu_is_free() -> None:
    host = Host("a", page_ns=0)
    assert not host.wants(0, "a", 32)
    assert not host.kswapd.on_cpu
    host.spinner(0)
    assert host.wants(MS, "a", 32), "it waits for its CPU all the same"
    host.run(20 * MS)
    assert [pages for _, pages in host.reclaimed("a")] == [32]


@pytest.mark.parametrize("busy", [False, True])
def test_a_vm_that_is_over_is_left_out(busy: bool) -> None:
    host = Host("a", "b")
    if busy:
        host.spinner(0)
        host.kswapd.vruntime = 3 * MS
    for vm, pages in (("a", 10), ("b", 20), ("a", 5)):
        host.wants(0, vm, pages)
    left = host.kswapd.leave_out(4 * US, host.cpus, host.vms["a"])
    assert [len(event.gfns) for event in left] == [10, 5]
    host.run(20 * MS)
    assert host.reclaimed("a") == []
    ((done_ns, pages),) = host.reclaimed("b")
    assert pages == 20
    assert (done_ns == 24 * US) is not busy


def test_with_nothing_left_to_do_it_sleeps() -> None:
    host = Host("a")
    host.wants(0, "a", 10)
    host.kswapd.leave_out(4 * US, host.cpus, host.vms["a"])
    assert (host.kswapd.on_cpu, host.cpus.running) == (False, [])
    host.run(MS)
    assert host.reclaimed("a") == [], "what was planned is void"


def test_a_copy_from_a_snapshot_goes_on_the_same() -> None:
    host = Host("a", "b", page_ns=100 * US)
    for vm in "abab":
        host.wants(0, vm, 16)
    host.spinner(US)
    host.run(2 * MS)
    copy = pickle.loads(pickle.dumps(host))
    for each in (host, copy):
        each.run(40 * MS)
    assert host.reclaimed("a") == copy.reclaimed("a") != []
    assert host.reclaimed("b") == copy.reclaimed("b") != []


def emulator(host: Host, vm: str, every_ns: int, for_ns: int) -> Emulator:
    return Emulator(host.vms[vm], EmulatorLoad(every_ns, for_ns))


class TestEmulator:
    def test_it_computes_for_its_time_in_each_of_its_periods(self) -> None:
        host = Host("a")
        thread = emulator(host, "a", MS, 20 * US)
        host.run(100 * MS)
        assert thread.vruntime == 100 * 20 * US

    def test_emulators_of_two_vms_do_not_wake_together(self) -> None:
        host = Host("a", "b")
        for vm in host.vms:
            emulator(host, vm, MS, 20 * US)
        first = [vm.steps[0][0] for vm in host.vms.values()]
        assert first[0] != first[1]
        assert max(first) < MS

    def test_while_it_is_busy_it_is_not_woken_anew(self) -> None:
        host = Host("a")
        thread = emulator(host, "a", MS, 900 * US)
        for _ in range(3):
            host.spinner(0)
        host.run(100 * MS)
        assert 20 * MS < thread.vruntime < 40 * MS, "a fourth of the CPU, not nine tenths"

    def test_it_goes_on_where_it_was_when_it_was_preempted(self) -> None:
        host = Host("a")
        thread = emulator(host, "a", 60 * MS, 20 * MS)
        until_ns = host.vms["a"].steps[0][0] + 6 * 60 * MS
        spinner = host.spinner(0)
        host.run(until_ns)
        host.cpus._charge(until_ns)
        assert len(spinner.went) > 12, "turn about"
        assert not thread.on_cpu
        assert until_ns - spinner.vruntime == 6 * 20 * MS

    def test_with_its_vm_it_is_over(self) -> None:
        host = Host("a")
        thread = emulator(host, "a", MS, 900 * US)
        host.run(2 * MS)
        assert thread.on_cpu
        thread.stop(2 * MS, host.cpus)
        assert host.cpus.running == []
