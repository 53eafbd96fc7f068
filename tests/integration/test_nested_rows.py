"""Rows 16 to 19 of the scenario table (semantics 11.2), told from the run's log alone."""

from __future__ import annotations

from pathlib import Path

from pagewake.events.types import (
    ExceptionInjected,
    ExitRouted,
    NestedVmexit,
    PageNotPresent,
    ReasonLatched,
    TaskFinished,
    TaskKilled,
    TaskSlept,
    TaskWoken,
)
from pagewake.nested_svm.exit_codes import EXCP_PF, NPF
from tests.support.runs import LoggedRun, run_logged


def tokens_injected(run: LoggedRun) -> list[int]:
    return [event.token for event in run.of(ExceptionInjected) if event.kind == "not_present"]


class TestRow16L2UnderKvm:
    """L2 runs under a KVM L1: synchronous fault at L0 (G0)."""

    def test_every_fault_of_l2_is_synchronous(self, tmp_path: Path) -> None:
        run = run_logged("row-16-l2-under-kvm", tmp_path)
        faults = run.of(PageNotPresent)
        assert len(faults) == 16
        assert {(fault.delivery, fault.why, fault.level) for fault in faults} == {
            ("synchronous", "guest_mode", 2)
        }
        assert tokens_injected(run) == []
        assert run.of(TaskSlept) == []

    def test_the_exits_go_to_l0(self, tmp_path: Path) -> None:
        run = run_logged("row-16-l2-under-kvm", tmp_path)
        routed = [event for event in run.of(ExitRouted) if event.exit_code == NPF]
        assert {(event.level, event.route) for event in routed} == {(0, "host")}

    def test_without_the_gap_the_fault_is_asynchronous(self, tmp_path: Path) -> None:
        run = run_logged("row-16-l2-under-kvm", tmp_path, "kernel.overrides.gap_g0=false")
        assert run.of(PageNotPresent)[0].delivery == "injected"

    def test_in_6_1_the_vcpu_thread_of_l2_sleeps_in_l1(self, tmp_path: Path) -> None:
        run = run_logged("row-16-l2-under-kvm", tmp_path, "kernel.profile=6.1")
        assert {event.task for event in run.of(TaskSlept)} == {"l2-vcpu-0"}
        assert run.result.unresolved == 0


class TestRow17ShadowingL1:
    """No V_INTR_MASKING, shadow paging: #VMEXIT 0x4e with info2 = token, L1's thread sleeps."""

    def test_each_token_reaches_l1_as_an_exit_and_is_slept_on(self, tmp_path: Path) -> None:
        run = run_logged("row-17-l2-shadowed", tmp_path)
        tokens = tokens_injected(run)
        assert tokens == [number << 12 for number in range(8)]
        exits = [event for event in run.of(NestedVmexit) if event.reason == "apf"]
        assert [event.info2 for event in exits] == tokens
        assert {(event.level, event.exit_code) for event in exits} == {(1, EXCP_PF)}
        latched = [event for event in run.of(ReasonLatched) if event.apf_reason == 1]
        assert [event.token for event in latched] == tokens
        slept = run.of(TaskSlept)
        assert [(event.task, event.token) for event in slept] == [
            ("l2-vcpu-0", token) for token in tokens
        ]
        assert [event.token for event in run.of(TaskWoken)] == tokens

    def test_the_other_task_of_l1_runs_meanwhile(self, tmp_path: Path) -> None:
        run = run_logged("row-17-l2-shadowed", tmp_path)
        assert "blackout" not in run.result.cpu
        assert [event.task for event in run.of(TaskFinished)] == ["inner-0", "other-0"]

    def test_a_ready_that_l1_took_as_an_exit_is_on_its_way(self, tmp_path: Path) -> None:
        """Two L2 vcpus, so that READY for one arrives while the other runs."""
        sets = ("vm.0.l2.vcpus=2", "vm.0.task.1.count=2")
        run = run_logged("row-17-l2-shadowed", tmp_path, *sets)
        latched = next(event for event in run.of(ReasonLatched) if event.apf_reason == 2)
        injected = [e.at_ns for e in run.of(ExceptionInjected) if e.token == latched.token]
        woken = next(e.at_ns for e in run.of(TaskWoken) if e.token == latched.token)
        for end_ns in range(injected[-1] + 100, woken, 300):
            cut = run_logged("row-17-l2-shadowed", tmp_path, *sets, f"scenario.duration={end_ns}ns")
            assert latched.token not in {event.token for event in cut.of(TaskWoken)}
            assert cut.result.unresolved == 0, f"at {end_ns} ns"


class TestRow18L1WithNpt:
    """The same with NPT in L1: #PF with CR2 = token lands in L2 (G1)."""

    def test_the_token_kills_the_task_of_l2(self, tmp_path: Path) -> None:
        run = run_logged("row-18-l2-npt", tmp_path)
        injected = [event for event in run.of(ExceptionInjected) if event.kind == "not_present"]
        assert [event.level for event in injected] == [2]
        killed = run.of(TaskKilled)
        assert [(event.level, event.task, event.token) for event in killed] == [
            (2, "inner-0", injected[0].token)
        ]
        assert run.of(TaskSlept) == []

    def test_the_fix_of_2017_gives_l1_its_exit(self, tmp_path: Path) -> None:
        run = run_logged("row-18-l2-npt", tmp_path, "kernel.overrides.nested_fix=2017")
        assert run.of(TaskKilled) == []
        assert len(run.of(TaskSlept)) == 8
        assert "inner-0" in {event.task for event in run.of(TaskFinished)}

    def test_from_5_8_to_6_0_the_token_lands_in_l2_again(self, tmp_path: Path) -> None:
        for profile, killed in (("5.4", 0), ("5.10", 1), ("5.15", 1), ("6.1", 0)):
            run = run_logged("row-18-l2-npt", tmp_path, f"kernel.profile={profile}")
            assert len(run.of(TaskKilled)) == killed, profile
            assert run.result.unresolved == 0, profile

    def test_closing_the_gap_alone_does_the_same(self, tmp_path: Path) -> None:
        run = run_logged("row-18-l2-npt", tmp_path, "kernel.overrides.gap_g1=false")
        assert run.of(TaskKilled) == []
        assert len(run.of(TaskSlept)) == 8


class TestRow19L1WithAGuestHypervisor:
    """apf_reason = 1 with a guest hypervisor: DONE to L2 (G2), latch kept, bogus wait (G3)."""

    def test_the_exit_is_routed_to_l2_and_the_latch_stays(self, tmp_path: Path) -> None:
        run = run_logged("row-19-l1-with-hypervisor", tmp_path)
        (routed,) = [event for event in run.of(ExitRouted) if event.level == 1]
        assert (routed.exit_code, routed.route, routed.apf_reason) == (EXCP_PF, "done", 1)
        (exit_to_l2,) = [event for event in run.of(NestedVmexit) if event.level == 2]
        assert (exit_to_l2.reason, exit_to_l2.info2) == ("apf", routed.info2)
        assert [event.token for event in run.of(TaskKilled)] == [routed.info2]

    def test_the_next_nested_page_fault_sleeps_on_its_address(self, tmp_path: Path) -> None:
        run = run_logged("row-19-l1-with-hypervisor", tmp_path)
        (slept,) = run.of(TaskSlept)
        faults = [event for event in run.of(NestedVmexit) if event.exit_code == NPF]
        assert slept.token == faults[-1].info2 & 0xFFFFFFFF
        assert slept.token not in tokens_injected(run)
        assert run.result.unresolved_tasks == ["l1-0/l2-vcpu-0"]

    def test_the_fix_of_2020_in_l1_handles_it_there(self, tmp_path: Path) -> None:
        fixed = "kernel.overrides.l1.nested_fix=2020"
        run = run_logged("row-19-l1-with-hypervisor", tmp_path, fixed)
        assert run.of(TaskKilled) == []
        assert len(run.of(TaskSlept)) == len(run.of(TaskWoken)) == 8
        assert run.result.unresolved == 0

    def test_clearing_the_latch_alone_spares_the_bogus_wait(self, tmp_path: Path) -> None:
        run = run_logged("row-19-l1-with-hypervisor", tmp_path, "kernel.overrides.gap_g3=false")
        assert len(run.of(TaskKilled)) == 1
        assert run.of(TaskSlept) == []
        assert run.result.unresolved == 0
