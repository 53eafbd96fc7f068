"""Do asynchronous page faults pay where user space brings the pages?  The built-in answers."""

from __future__ import annotations

import pytest

from pagewake.engine.run import run_scenario
from pagewake.scenario.loading import load

SHORT = "scenario.duration=100ms"
AT_HAND = "vm.0.userfault.local=0.9"


def mean_ns(*settings: str) -> float:
    result = run_scenario(load("snapshot-restore", [SHORT, *settings]))
    assert result.unresolved == 0
    mean = result.latency["microvm/web"].mean_ns
    assert mean is not None
    return mean


@pytest.fixture(scope="module")
def waiting_ns() -> float:
    """As without: the vcpu thread waits in user space."""
    return mean_ns("kernel.overrides.user_apf=none")


@pytest.mark.parametrize("told", ["ring", "exit"])
def test_they_do_where_pages_come_from_afar(told: str, waiting_ns: float) -> None:
    assert mean_ns(f"kernel.overrides.user_apf={told}") < waiting_ns / 2


def test_where_most_are_at_hand_an_exit_is_better_than_a_ring() -> None:
    ring, exits = (
        mean_ns(AT_HAND, f"kernel.overrides.user_apf={told}") for told in ("ring", "exit")
    )
    assert exits < ring


def test_a_guest_without_pv_gains_nothing_from_being_told() -> None:
    """Its vcpus are halted for what the host learns in vain."""
    assert mean_ns("kernel.apf=nonpv") > 2 * mean_ns()


def test_what_a_handler_had_taken_as_it_died_is_missed_by_its_tasks() -> None:
    crash = 'event=[{at="5ms",do="handler-crash",vm="microvm-0",for="1ms"}]'
    lost = run_scenario(load("snapshot-restore", [SHORT, crash]))
    kept = run_scenario(
        load("snapshot-restore", [SHORT, crash.replace('"1ms"', '"1ms",keeps=true')])
    )
    assert (lost.unresolved > 0, kept.unresolved) == (True, 0)
