"""Another kernel takes over while the host still has the areas of the one that is gone."""

from __future__ import annotations

import pytest

from pagewake.errors import ConfigError
from pagewake.events.types import (
    DummyInserted,
    InterruptQueued,
    MsrWritten,
    ProtocolFault,
    TaskFinished,
    TaskSlept,
    TaskWoken,
)
from tests.support.abi import MSR_EN
from tests.support.small import SmallRun, event, run_small, script, work

PAGE = 4096
OTHER_PLACE = 64 * PAGE
"""Where the areas of another kernel are, from those of the first."""
AT_NS = 2_100_000


def taken_over(how: str, profile: str = "5.10", *more: str, for_: str = "20us") -> SmallRun:
    """Two tasks on each of two CPUs sleep as it happens; they touch pages later, and one more."""
    tasks = [
        script(f"t{vcpu}", "at 2ms touch 3", "at 4ms touch 4", "finish",
               vcpu=vcpu, count=2, more="private = true")
        for vcpu in (0, 1)
    ]  # fmt: skip
    return run_small(
        *tasks,
        script("late", "at 4ms touch 3", "finish", vcpu=0),
        work(count=2),
        event("2100us", "new-kernel", f'how = "{how}"', f'for = "{for_}"'),
        *more,
        vcpus=2,
        profile=profile,
        overrides="token_nonzero = true",
    )


def enabled(run: SmallRun) -> list[tuple[int, int]]:
    """(vcpu, value) of what was written to the enable MSR from then on."""
    written = [e for e in run.of(MsrWritten) if e.msr == MSR_EN and e.at_ns >= AT_NS]
    return [(e.vcpu, e.value) for e in written]


def foreign(run: SmallRun) -> list[ProtocolFault]:
    return [fault for fault in run.of(ProtocolFault) if fault.what == "foreign_write"]


def finished(run: SmallRun) -> list[str]:
    return sorted(done.task for done in run.of(TaskFinished))


ALL = ["late-0", "t0-0", "t0-1", "t1-0", "t1-1"]


class TestHibernation:
    def test_before_5_13_the_boot_cpu_keeps_the_area_of_the_boot_kernel(self) -> None:
        run = taken_over("hibernate")
        assert enabled(run) == [(0, (PAGE + OTHER_PLACE) | 9), (1, 2 * PAGE | 9)]

    def test_the_host_then_writes_into_memory_of_the_image(self) -> None:
        run = taken_over("hibernate")
        assert {fault.vcpu for fault in foreign(run)} == {0}
        assert foreign(run)[0].detail.endswith(f"at {PAGE + OTHER_PLACE:#x}")
        assert [fault.detail.split()[0] for fault in foreign(run)] == ["reason", "token"]

    def test_what_slept_on_the_boot_cpu_sleeps_on(self) -> None:
        run = taken_over("hibernate")
        assert {e.vcpu for e in run.of(TaskWoken) if e.how == "offline"} == {1}
        assert run.kernel.sleepers.asleep == ["t0-0", "t0-1"]

    def test_since_5_13_it_is_torn_down_and_registered_again(self) -> None:
        run = taken_over("hibernate", "5.14")
        assert enabled(run) == [(0, PAGE | 9), (1, 2 * PAGE | 9)]
        assert foreign(run) == []
        assert finished(run) == ALL

    def test_the_machine_is_off_for_so_long(self) -> None:
        run = taken_over("hibernate", "5.14", for_="500us")
        assert min(e.at_ns for e in run.of(MsrWritten) if e.at_ns > AT_NS) >= AT_NS + 500_000

    def test_tokens_start_again(self) -> None:
        slept = [e.token for e in taken_over("hibernate", "5.14").of(TaskSlept) if e.vcpu == 1]
        assert slept[:2] == slept[2:4]


class TestKexec:
    @pytest.mark.parametrize(("profile", "flags"), [("5.4", 1), ("5.10", 9)])
    def test_tears_down_every_cpu_and_registers_other_areas(self, profile: str, flags: int) -> None:
        run = taken_over("kexec", profile)
        assert sorted(enabled(run)[:2]) == [(0, 0), (1, 0)]
        assert sorted(enabled(run)[2:]) == [
            (vcpu, (vcpu + 1) * PAGE + OTHER_PLACE | flags) for vcpu in (0, 1)
        ]
        assert foreign(run) == []

    def test_the_new_kernel_knows_none_of_the_old_ones_sleepers(self) -> None:
        run = taken_over("kexec")
        woken = [e for e in run.of(TaskWoken) if e.at_ns == AT_NS]
        assert len(woken) == 4
        assert finished(run) == ALL

    def test_a_second_one_has_its_areas_where_the_first_had(self) -> None:
        run = taken_over("kexec", "5.10", event("3ms", "new-kernel", 'how = "kexec"'))
        assert sorted(enabled(run)[-2:]) == [(0, PAGE | 9), (1, 2 * PAGE | 9)]
        assert finished(run) == ALL


class TestCrash:
    def test_before_5_13_ready_goes_into_what_was_the_old_area(self) -> None:
        run = taken_over("crash", for_="400us")
        assert {fault.vcpu for fault in foreign(run)} == {0}, "the others are reset by INIT"
        assert foreign(run)[0].detail.endswith(f"at {PAGE:#x}")
        assert foreign(run)[-1].at_ns < AT_NS + 401_000, "as long as the new kernel starts"

    def test_a_ready_of_the_old_kernel_is_a_dummy_in_the_new_one(self) -> None:
        run = taken_over("crash", for_="5us")
        assert foreign(run) == []
        assert {dummy.vcpu for dummy in run.of(DummyInserted)} == {0}

    def test_since_5_13_nothing_of_the_old_kernel_comes(self) -> None:
        run = taken_over("crash", "5.14", for_="400us")
        assert foreign(run) == []
        assert run.of(DummyInserted) == []
        at_ns = AT_NS + 400_000
        assert [e for e in run.of(InterruptQueued) if AT_NS < e.at_ns < at_ns] == []
        assert finished(run) == ALL


def test_a_hypervisor_cannot_be_replaced() -> None:
    with pytest.raises(ConfigError, match="has guests, which end with its kernel"):
        run_small(
            work(),
            event("1ms", "new-kernel", 'how = "kexec"'),
            vm='nested = 1\nl2 = { memory = "8MiB" }',
        )
