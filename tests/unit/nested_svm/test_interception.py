"""The page fault handler: wait, wake or fault, and what stays latched."""

from __future__ import annotations

import pytest

from pagewake.nested_svm.interception import pf_interception

ADDRESS = 0x1_FEE0_0000


@pytest.mark.parametrize(("reason", "branch"), [(1, "wait"), (2, "wake")])
@pytest.mark.parametrize("npt", [False, True])
def test_a_latched_apf_is_consumed(reason: int, branch: str, npt: bool) -> None:
    done = pf_interception(reason, npt, True, 0x6, ADDRESS)
    assert (done.branch, done.address) == (branch, 0xFEE0_0000)
    assert (done.apf_reason, done.unprotect) == (0, False)


@pytest.mark.parametrize("reason", [0, 3, 0xFFFFFFFF])
def test_everything_else_is_a_fault_and_stays_latched(reason: int) -> None:
    done = pf_interception(reason, True, False, 0x1_0000_0006, ADDRESS)
    assert (done.branch, done.address, done.error_code) == ("fault", ADDRESS, 6)
    assert (done.apf_reason, done.unprotect) == (reason, False)


@pytest.mark.parametrize(
    ("npt", "pending", "unprotect"),
    [(False, True, True), (False, False, False), (True, True, False), (True, False, False)],
)
def test_a_shadowed_page_is_unprotected_while_an_event_waits_for_reinjection(
    npt: bool, pending: bool, unprotect: bool
) -> None:
    assert pf_interception(0, npt, pending, 0, ADDRESS).unprotect is unprotect


def test_with_g5_closed_the_address_is_not_cut() -> None:
    assert pf_interception(1, True, False, 0, ADDRESS, gap_g5=False).address == ADDRESS
