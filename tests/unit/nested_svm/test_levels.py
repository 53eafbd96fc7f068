"""What the kernels of L1 and L2 do to a guest of the third level, told by small runs."""

from __future__ import annotations

import pytest

from pagewake.events.types import ExitRouted, NestedVmexit
from pagewake.nested_svm.exit_codes import MSR
from tests.support.small import SmallRun, run_small, work

NESTED = 'nested = 2\nl2 = { memory = "8MiB" }\nl3 = { memory = "4MiB" }'
TWO_LEVELS = (NESTED, work("inner", more="level = 2"), work("deep", more="level = 3"))


def cpu_ms(run: SmallRun) -> dict[str, int]:
    """CPU time of the tasks inside, in milliseconds."""
    return {
        task.name: task.cpu_ns // 1_000_000 for task in run.kernel.all_tasks() if not task.inner
    }


def run_levels(
    *kernel: str, masking: str = "true", profile: str = "2.6.39", overrides: str = ""
) -> SmallRun:
    """A task of L2 and one of L3 on one vcpu, for 100 ms."""
    nested = f"[nested]\nl2_vintr_masking = {masking}"
    return run_small(
        *TWO_LEVELS,
        profile=profile,
        overrides=overrides,
        kernel=kernel,
        scheduler=['latency = "6ms"', 'min_granularity = "1ms"', nested],
        duration="100ms",
    )


class TestTicksOfL2:
    """Semantics 4.7: whose interrupt it is when L1 interrupts L2 while an L3 runs."""

    def test_under_v_intr_masking_l2_shares_its_vcpu_out(self) -> None:
        shares = cpu_ms(run_levels())
        assert abs(shares["inner-0"] - shares["deep-0"]) < 6

    def test_without_it_l3_takes_the_tick_and_keeps_the_vcpu(self) -> None:
        shares = cpu_ms(run_levels(masking="false"))
        assert shares["inner-0"] < 10
        assert shares["deep-0"] > 80

    def test_an_l1_without_the_gap_gives_l2_its_exit(self) -> None:
        run = run_levels(overrides="l1 = { gap_g0 = false }", masking="false")
        assert cpu_ms(run) == cpu_ms(run_levels())


class TestKernelOfL2:
    """Semantics 2.1: what an L2 kernel of a generation writes to enable APF, each an exit to L1."""

    @staticmethod
    def writes(run: SmallRun) -> list[tuple[int, int, str]]:
        return [
            (event.level, event.exit_code, event.route)
            for event in run.of(ExitRouted)
            if event.exit_code == MSR
        ]

    def test_l2_without_a_kernel_of_its_own_enables_nothing(self) -> None:
        assert self.writes(run_levels()) == []

    @pytest.mark.parametrize(
        ("profile", "l2", "count"),
        [("2.6.39", "2.6.39", 1), ("5.10", "2.6.39", 1), ("5.10", "6.x", 3), ("2.6.39", "5.10", 0)],
    )
    def test_the_writes_are_those_of_its_generation(
        self, profile: str, l2: str, count: int
    ) -> None:
        run = run_levels(f'l2 = "{l2}"', profile=profile)
        assert self.writes(run) == [(0, MSR, "done")] * count
        assert [event.level for event in run.of(NestedVmexit)][:count] == [1] * count

    def test_they_come_before_its_tasks_run(self) -> None:
        late, plain = run_levels('l2 = "2.6.39"'), run_levels()
        assert 0 < sum(cpu_ms(late).values()) <= sum(cpu_ms(plain).values())
        first = late.of(ExitRouted)[0]
        assert first.exit_code == MSR

    def test_a_guest_without_apf_writes_nothing(self) -> None:
        assert self.writes(run_levels('l2 = "2.6.39"', 'apf = "nonpv"')) == []
