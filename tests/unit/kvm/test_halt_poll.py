"""Halt polling: how long a vcpu thread polls, and what a wake-up within it saves."""

from __future__ import annotations

import pytest

from pagewake.kvm.halt_poll import HaltPoll
from pagewake.kvm.ports import IRQ_DEVICE
from tests.unit.kvm.scripted import ENTRY_NS, Machine

WAKE_NS = 2_400


def after(waits_us: list[int], max_us: int = 200) -> int:
    """How long it polls, in us, after waits of these lengths."""
    poll = HaltPoll(max_us * 1_000)
    at_ns = 0
    for wait_us in waits_us:
        poll.begin(at_ns, alone=True)
        at_ns += wait_us * 1_000
        poll.woken(at_ns)
    return poll.for_ns // 1_000


@pytest.mark.parametrize(
    ("waits_us", "polls_us"),
    [
        ([], 0),
        ([100], 10),
        ([100, 100], 20),
        ([100, 100, 15], 20),
        ([150] * 9, 160),
        ([190] * 9, 200),
        ([100, 100, 300], 0),
        ([300, 300], 0),
        ([200], 0),
        ([100, 200], 10),
    ],
)
def test_it_grows_by_waits_a_little_longer_and_ends_by_one_too_long(
    waits_us: list[int], polls_us: int
) -> None:
    assert after(waits_us) == polls_us


def test_who_is_not_alone_does_not_poll() -> None:
    poll = HaltPoll(200_000)
    poll.for_ns = 50_000
    assert poll.begin(1_000, alone=False) == 0
    assert poll.begin(1_000, alone=True) == 51_000


def woken_at(machine: Machine, waits_ns: int) -> int:
    """A vcpu halts, and after that an interrupt comes: when its guest runs again."""
    machine.hlt(10_000)
    machine.run(10_000 + waits_ns)
    machine.vcpu.interrupt(10_000 + waits_ns, IRQ_DEVICE)
    machine.run(1_000_000)
    (*_, (at_ns, *_)) = machine.entered()
    assert isinstance(at_ns, int)
    return at_ns


def polling(for_ns: int) -> Machine:
    machine = Machine(config={"halt_poll_ns": 200_000})
    assert machine.vcpu.poll is not None
    machine.vcpu.poll.for_ns = for_ns
    return machine


def test_a_wake_up_within_the_poll_saves_its_latency() -> None:
    assert woken_at(Machine(), 20_000) == 10_000 + 20_000 + WAKE_NS + ENTRY_NS
    assert woken_at(polling(50_000), 20_000) == 10_000 + 20_000 + ENTRY_NS
    assert woken_at(polling(15_000), 20_000) == 10_000 + 20_000 + WAKE_NS + ENTRY_NS


def test_the_time_of_a_poll_is_not_idle() -> None:
    machine = polling(15_000)
    woken_at(machine, 20_000)
    spent = {kind: spent.ns for kind, spent in machine.vcpu.cpu.items()}
    assert spent["polling"] == 15_000
    assert 0 < spent["idle"] < 20_000 + WAKE_NS - 15_000
