"""An NMI whose handler page-faults between an APF trap's entry and its read (semantics 2.2)."""

from __future__ import annotations

from pagewake.events.types import (
    DummyInserted,
    ExceptionInjected,
    ProtocolFault,
    TaskFinished,
    TaskMoved,
    TaskSlept,
    TaskWoken,
    TrapTaken,
    VcpuHalted,
)
from pagewake.guest_kernel.lookahead import next_event_ns, next_ns
from pagewake.guest_kernel.nmi import CR2
from pagewake.guest_kernel.overlays import IRET, Overlay
from pagewake.guest_kernel.unresolved import unresolved
from tests.support.abi import BROADCAST
from tests.support.small import SmallRun, event, run_small, script, work

BOGUS = CR2 & 0xFFFFFFFF
FAULT_AT_2050US = ("at 2ms run 50us", "touch 3", "finish")
STALL = event("2020us", "vcpu-stall", "vcpu = 0", 'for = "100us"')
NMI = event("2100us", "nmi", "vcpu = 0", "faults = true")


def traps(run: SmallRun) -> list[tuple[int, str, int]]:
    """Those that are not about a broadcast, in order: reason, handler, CR2."""
    taken = [trap for trap in run.of(TrapTaken) if trap.cr2 != BROADCAST]
    return [(trap.reason, trap.handler, trap.cr2) for trap in taken]


class TestStolenNotPresent:
    def steal(self, *more: str, overrides: str = "", profile: str = "2.6.39") -> SmallRun:
        return run_small(
            script("t", *FAULT_AT_2050US), work(), STALL, NMI, *more,
            overrides=overrides, profile=profile,
        )  # fmt: skip

    def test_the_handler_waits_halted_for_its_own_address(self) -> None:
        run = self.steal()
        assert [(e.task, e.token, e.halted) for e in run.of(TaskSlept)] == [("nmi/0", BOGUS, True)]
        assert [fault.what for fault in run.of(ProtocolFault)] == ["reason_stolen"]
        assert unresolved(run.kernel) == ["nmi/0"]
        assert {halt.why for halt in run.of(VcpuHalted)} == {"hlt"}

    def test_the_trap_below_it_is_not_read_and_its_ready_leaves_a_dummy(self) -> None:
        run = self.steal()
        assert traps(run) == [(1, "wait", CR2), (2, "wake", 0)]
        assert [dummy.token for dummy in run.of(DummyInserted)] == [0]
        assert run.of(TaskFinished) == []

    def test_a_broadcast_ends_the_wait_and_the_trap_below_becomes_an_ordinary_fault(self) -> None:
        run = self.steal(event("5ms", "msr-write", "vcpu = 0", 'msr = "apf-en"'))
        assert traps(run) == [(1, "wait", CR2), (2, "wake", 0), (0, "page_fault", 0)]
        assert [(e.task, e.how) for e in run.of(TaskWoken)] == [("nmi/0", "broadcast")]
        assert [e.task for e in run.of(TaskFinished)] == ["t-0"]

    def test_the_seed_would_schedule_there(self) -> None:
        run = self.steal(overrides='guest_wait = "schedule"')
        assert [e.what for e in run.of(ProtocolFault)] == [
            "reason_stolen",
            "scheduling_while_atomic",
        ]

    def test_5_8_panics(self) -> None:
        run = self.steal(profile="5.10")
        assert [e.what for e in run.of(ProtocolFault)] == ["reason_stolen", "not_present_in_kernel"]

    def test_going_down_wakes_it_and_waits_for_the_trap_below(self) -> None:
        run = run_small(
            script("t", *FAULT_AT_2050US, vcpu=0),
            work(more="vcpu = 1"),
            STALL,
            NMI,
            event("5ms", "vcpu-offline", "vcpu = 0"),
            vcpus=2,
        )
        assert [(e.task, e.how) for e in run.of(TaskWoken)] == [("nmi/0", "offline")]
        last = next(e for e in run.of(TrapTaken) if e.handler == "page_fault")
        assert last.n < run.of(TaskMoved)[0].n
        assert [e.task for e in run.of(TaskFinished)] == ["t-0"]

    def test_a_second_nmi_meanwhile_steals_nothing(self) -> None:
        ready = next(e for e in self.steal().of(ExceptionInjected) if e.kind == "ready")
        run = self.steal(event(f"{ready.at_ns + 100}ns", "nmi", "vcpu = 0", "faults = true"))
        assert [e.at_ns for e in run.of(ExceptionInjected) if e.kind == "ready"] == [ready.at_ns]
        assert len(run.of(ProtocolFault)) == 1
        assert traps(run) == [(1, "wait", CR2), (2, "wake", 0)]


class TestStolenReady:
    def test_a_wake_of_its_own_address_and_the_sleeper_sleeps_on(self) -> None:
        """The tick at 3 ms lets READY through; the host holds the vcpu until the NMI is there."""
        run = run_small(
            script("t", "at 2ms touch 3", "finish"),
            work(),
            event("2900us", "vcpu-stall", "vcpu = 0", 'for = "100us"'),
            event("3050us", "nmi", "vcpu = 0", "faults = true"),
        )
        assert [fault.what for fault in run.of(ProtocolFault)] == ["reason_stolen"]
        assert [dummy.token for dummy in run.of(DummyInserted)] == [BOGUS]
        assert traps(run)[1:] == [(2, "wake", CR2), (0, "page_fault", 0)]
        assert run.of(TaskWoken) == []
        assert unresolved(run.kernel) == ["t-0"]


class TestStolenFromNobody:
    def test_a_reason_left_by_a_dropped_exception_is_waited_for_over_the_task(self) -> None:
        run = run_small(
            script("t", *FAULT_AT_2050US),
            work(),
            STALL,
            event("2100us", "registers-set", "vcpu = 0"),
            event("2101us", "nmi", "vcpu = 0", "faults = true"),
            event("5ms", "msr-write", "vcpu = 0", 'msr = "apf-en"'),
        )
        assert traps(run)[0] == (1, "wait", CR2)
        assert [(e.task, e.how) for e in run.of(TaskWoken)] == [("nmi/0", "broadcast")]
        assert [e.task for e in run.of(TaskFinished)] == ["t-0"]


class TestWithoutAPendingReason:
    def test_the_handlers_fault_is_an_ordinary_one(self) -> None:
        run = run_small(work(), event("2ms", "nmi", "vcpu = 0", "faults = true"))
        assert run.of(ProtocolFault) == []
        assert traps(run) == []


def test_while_something_is_suspended_nothing_is_foreseen() -> None:
    kernel = run_small(work()).kernel
    assert next_ns(kernel) != next_event_ns(kernel)
    kernel.cpus[0].suspended = Overlay(IRET, 0, 0)
    assert next_ns(kernel) == next_event_ns(kernel)
