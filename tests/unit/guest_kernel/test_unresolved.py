"""Who sleeps when a run ends is lost only if nothing is on its way to wake it."""

from __future__ import annotations

import pytest

from pagewake.events.types import (
    ApfPresented,
    ExceptionInjected,
    ExceptionQueued,
    TaskWoken,
)
from pagewake.guest_kernel.unresolved import unresolved
from tests.support.small import event, run_small, script, work

TOUCHERS = """\
[[vm.task]]
name = "t"
count = 3
pattern = "script"
working_set = "4KiB"
private = true
populated = true
resident = "0B"
script = ["at 2ms touch 0", "finish"]
"""
WRONG_VECTOR = event("2100us", "msr-write", "vcpu = 0", 'msr = "apf-int"', "value = 80")
RIGHT_AGAIN = event("5ms", "msr-write", "vcpu = 0", 'msr = "apf-int"', "value = 243")
OTHER_AREA = event("2100us", "msr-write", "vcpu = 0", 'msr = "apf-en"', "value = 8201")


@pytest.mark.parametrize("profile", ["2.6.39", "4.13", "5.10", "6.x"])
def test_a_ready_on_its_way_is_as_good_as_a_page_in(profile: str) -> None:
    program = script("t", "at 2ms touch 3", "finish"), work()
    presented = run_small(*program, profile=profile).of(ApfPresented)[-1]
    (woken,) = run_small(*program, profile=profile).of(TaskWoken)
    for end_ns in range(presented.at_ns - 500, woken.at_ns + 500, 250):
        cut = run_small(*program, profile=profile, duration=f"{end_ns}ns")
        assert unresolved(cut.kernel) == [], f"at {end_ns} ns"
        assert bool(cut.of(TaskWoken)) == (end_ns > woken.at_ns)


def test_not_for_a_vcpu_that_sleeps_in_hlt_with_it_pending() -> None:
    """Semantics 3.7, before 2012: no tick and no other event takes it out."""
    run = run_small(
        script("t", "at 2ms touch 3", "finish"),
        script("runner", "at 2050us run 600us", "finish"),
        kernel=["hz = 0", "idle_hz = 0"],
    )
    assert [queued.kind for queued in run.of(ExceptionQueued)][-1] == "ready"
    assert [taken.kind for taken in run.of(ExceptionInjected)][-1] == "not_present"
    assert unresolved(run.kernel) == ["t-0"]


@pytest.mark.parametrize("later", [[], [RIGHT_AGAIN]])
def test_not_on_a_vector_that_the_guest_does_not_know(later: list[str]) -> None:
    """The slot is never acknowledged, so neither are the READYs behind it."""
    run = run_small(TOUCHERS, work(), WRONG_VECTOR, *later, profile="6.x")
    assert run.of(TaskWoken) == []
    assert unresolved(run.kernel) == ["t-0", "t-1", "t-2"]


def test_not_in_the_area_of_another_cpu() -> None:
    run = run_small(
        script("t", "at 2ms touch 3", "finish", vcpu=0),
        work("w", 2),
        OTHER_AREA,
        vcpus=2,
        profile="6.x",
    )
    assert run.of(TaskWoken) == []
    assert unresolved(run.kernel) == ["t-0"]
