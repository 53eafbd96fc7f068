"""Where a vcpu thread may go, and that it goes nowhere else."""

from __future__ import annotations

from typing import get_args

import pytest

from pagewake.kvm.modes import CHANGES, GUEST, HOST, TRANSITIONS, Change, Mode
from pagewake.kvm.ports import Op
from tests.unit.kvm.scripted import Machine


def test_every_change_is_described_and_used() -> None:
    assert set(CHANGES) == set(get_args(Change))
    assert {change for ways in TRANSITIONS.values() for change in ways} == set(CHANGES)


def test_entry_and_exit_are_what_the_loop_writes_itself() -> None:
    assert TRANSITIONS[HOST]["entry"] is GUEST
    assert TRANSITIONS[GUEST]["exit"] is HOST


def test_every_mode_is_reached_and_left_and_a_vm_ends_from_each() -> None:
    assert {after for ways in TRANSITIONS.values() for after in ways.values()} == set(Mode)
    assert TRANSITIONS.keys() == set(Mode)
    assert all(len(ways) > 1 and "over" in ways for ways in TRANSITIONS.values())


def test_a_change_that_is_not_in_the_table_is_refused_by_name() -> None:
    vcpu = Machine().vcpu
    with pytest.raises(AssertionError, match="vm: vcpu 0, HOST, cannot page"):
        vcpu.become("page")
    with pytest.raises(AssertionError, match="vm: vcpu 0, HOST, cannot exit"):
        vcpu.leave(0)


@pytest.mark.parametrize("op", [Op.DELIVER, Op.WAIT])
def test_what_is_no_step_of_a_vcpu_is_refused(op: Op) -> None:
    with pytest.raises(AssertionError, match=f"{op.name} is no step of a vcpu"):
        Machine().vcpu.execute(op, 0, None)
