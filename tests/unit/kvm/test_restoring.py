"""A snapshot restored with some of what a vcpu has, in some order (semantics 3.10)."""

from __future__ import annotations

from pagewake.events import types as ev
from pagewake.kvm.modes import GUEST, OFFLINE
from tests.support.abi import BROADCAST, MSR_EN, MSR_INT
from tests.unit.kvm.scripted import Machine

AS_INT = 0x1009
VECTOR = 0xF3
EVERYTHING: list[ev.SavedState] = ["regs", "lapic", "int", "en", "events", "mp_state"]


def restored(
    *without: ev.SavedState,
    saves: list[ev.SavedState] | None = None,
    profile: str = "6.1",
    stall_ns: int = 0,
    halted: bool = False,
) -> Machine:
    """A page of each of two vcpus is outstanding as they are saved and restored, at 100 us."""
    machine = Machine(profile, vcpus=2, msr=AS_INT if profile == "6.1" else 0x1001)
    for thread, guest in zip(machine.vm.vcpus, machine.guests, strict=True):
        guest.apf_vector = thread.apf.int_vector = VECTOR if profile == "6.1" else 0
    if stall_ns:
        machine.stalls(50_000, stall_ns)
    for vcpu in (0, 1):
        machine.touch(90_000, 7 + vcpu, vcpu)
        if halted:
            machine.hlt(95_000, vcpu)
    kept = saves if saves is not None else [each for each in EVERYTHING if each not in without]
    machine.deliver(ev.VmRestored(100_000, "vm", 0, kept))
    for vcpu in (0, 1):
        machine.exits(200_000, vcpu)
    machine.run(300_000)
    return machine


def test_with_everything_each_vcpu_is_told_to_wake_everybody() -> None:
    machine = restored()
    assert [(e.vcpu, e.why) for e in machine.of(ev.ApfCleared)] == [
        (0, "migration"),
        (1, "migration"),
    ]
    written = [(e.msr, e.value, e.by) for e in machine.of(ev.MsrWritten)]
    assert written == [(MSR_INT, VECTOR, "host"), (MSR_EN, AS_INT, "host")] * 2
    assert [(e.token, e.lost) for e in machine.of(ev.InterruptQueued)] == [(BROADCAST, False)] * 2
    assert machine.vcpu.apf.id == 0
    assert machine.vm.epoch == 1


def test_without_the_vector_the_broadcast_is_lost_and_the_slot_taken() -> None:
    machine = restored("int")
    assert [(e.token, e.lost) for e in machine.of(ev.InterruptQueued)] == [(BROADCAST, True)] * 2
    assert machine.guest.area.token == BROADCAST


def test_without_the_enable_msr_apf_is_off() -> None:
    machine = restored("en")
    assert machine.of(ev.InterruptQueued) == []
    assert machine.vcpu.apf.msr_val == 0


def test_without_the_lapic_it_is_off_and_what_was_pending_is_gone() -> None:
    machine = restored("lapic")
    assert not machine.vcpu.lapic_on
    assert machine.of(ev.InterruptQueued) == []
    assert len(machine.vcpu.apf.done) == 1, "waits for the LAPIC"


def test_the_order_of_msrs_and_lapic_is_all_the_same() -> None:
    """READYs leave the queue only where a vcpu runs, which is when all of it is there."""
    machine = restored(saves=["en", "int", "lapic", "events", "mp_state"])
    assert [(e.token, e.lost) for e in machine.of(ev.InterruptQueued)] == [(BROADCAST, False)] * 2


def test_a_queued_exception_needs_the_events_and_registers_that_came_before_them() -> None:
    late: list[ev.SavedState] = ["lapic", "int", "en", "events", "regs", "mp_state"]
    without: list[ev.SavedState] = ["en"]
    for saves, dropped in ((EVERYTHING, []), (late, ["registers_set"]), (without, ["not_saved"])):
        machine = restored(saves=saves, profile="2.6.39", stall_ns=50_000)
        assert [e.why for e in machine.of(ev.ExceptionDropped)] == dropped


def test_without_its_mp_state_vcpu_0_leaves_hlt_and_others_wait_for_a_sipi() -> None:
    machine = restored("mp_state", halted=True)
    assert [(e.vcpu, e.why) for e in machine.of(ev.VcpuResumed)][:2] == [
        (0, "signal"),
        (1, "signal"),
    ]
    assert [(e.vcpu, e.why) for e in machine.of(ev.VcpuHalted)][-1] == (1, "sipi")
    assert [thread.mode for thread in machine.vm.vcpus] == [GUEST, OFFLINE]


def test_with_it_both_stay_in_hlt() -> None:
    machine = restored("en", halted=True)
    assert machine.of(ev.VcpuResumed) == []
