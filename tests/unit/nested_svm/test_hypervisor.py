"""One hypervisor on one vcpu: the latch, the order of handle_exit, exceptions for its guest."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from pagewake.guest_kernel.apf_area import ApfArea
from pagewake.kvm.profile import resolve
from pagewake.nested_svm.exit_codes import CPUID, ERR, EXCP_NM, EXCP_PF, HLT, INTR, NPF, PF_VECTOR
from pagewake.nested_svm.hypervisor import Exit, NestedSvm
from pagewake.nested_svm.routing import Intercepts

BIT14 = 1 << PF_VECTOR
TOKEN = 0x1002


def hypervisor(guest_mode: bool = False, **overrides: str | bool) -> NestedSvm:
    svm = NestedSvm(resolve("2.6.38", overrides))
    svm.guest_mode = guest_mode
    return svm


def area(reason: int, enabled: int = 1) -> ApfArea:
    made = ApfArea()
    made.reason, made.enabled = reason, enabled
    return made


# --------------------------------------------------------------------------- latch


@pytest.mark.parametrize("reason", [0, 1, 2, 3, 0xFFFFFFFF])
def test_an_exit_by_page_fault_latches_the_reason_as_it_is(reason: int) -> None:
    svm, shared = hypervisor(), area(reason)
    svm.apf_reason = 7
    assert svm.latch(EXCP_PF, shared.read_and_reset_reason)
    assert (svm.apf_reason, shared.reason) == (reason, 0)


@pytest.mark.parametrize("code", [NPF, INTR, EXCP_PF - 1, ERR])
def test_no_other_exit_touches_latch_or_word(code: int) -> None:
    svm, shared = hypervisor(), area(1)
    svm.apf_reason = 7
    assert not svm.latch(code, shared.read_and_reset_reason)
    assert (svm.apf_reason, shared.reason) == (7, 1)


def test_without_an_enabled_area_zero_is_latched() -> None:
    svm, shared = hypervisor(), area(1, enabled=0)
    svm.latch(EXCP_PF, shared.read_and_reset_reason)
    assert (svm.apf_reason, shared.reason) == (0, 1)


# --------------------------------------------------------------------------- rows 1 to 7


@pytest.mark.parametrize(
    ("row", "code", "reason", "todo", "address", "left"),
    [
        (1, CPUID, 0, "other", None, 0),
        (1, ERR, 0, "fail_entry", None, 0),
        (2, EXCP_PF, 1, "wait", TOKEN, 0),
        (3, EXCP_PF, 2, "wake", TOKEN, 0),
        (4, EXCP_PF, 0, "fault", TOKEN, 0),
        (4, EXCP_PF, 3, "fault", TOKEN, 3),
        (5, NPF, 0, "fault", TOKEN, 0),
        (6, NPF, 1, "wait", TOKEN, 0),
        (6, NPF, 2, "wake", TOKEN, 0),
    ],
)
def test_without_a_nested_guest_the_handlers_have_it(
    row: int, code: int, reason: int, todo: str, address: int | None, left: int
) -> None:
    svm = hypervisor()
    svm.apf_reason = reason
    done = svm.handle_exit(code, 0, TOKEN)
    assert (done.todo, done.route) == (todo, None)
    assert (done.interception and done.interception.address) == address
    assert svm.apf_reason == left


def test_row_7_an_exit_that_is_owed_goes_before_everything() -> None:
    svm = hypervisor(guest_mode=True)
    svm.owed = Exit(EXCP_PF, 0, TOKEN)
    done = svm.handle_exit(INTR)
    assert (done.todo, done.exit, done.route) == ("vmexit", Exit(EXCP_PF, 0, TOKEN), None)
    assert not svm.exit_required
    assert svm.handle_exit(INTR).todo == "other"


# --------------------------------------------------------------------------- gaps 2 and 3


def apf_while_nested(todo: str, **overrides: str | bool) -> NestedSvm:
    """A hypervisor whose own APF arrives while its guest's guest runs; exit handled."""
    svm = hypervisor(guest_mode=True, **overrides)
    svm.latch(EXCP_PF, area(1).read_and_reset_reason)
    assert svm.handle_exit(EXCP_PF, 0, TOKEN).todo == todo
    return svm


def test_g2_passes_its_own_apf_to_the_guest_hypervisor_and_g3_keeps_the_latch() -> None:
    svm = apf_while_nested("vmexit")
    assert svm.apf_reason == 1
    done = svm.handle_exit(NPF, 4, 0x1_FEE0_0000)
    assert done.todo == "wait"
    assert done.interception is not None
    assert done.interception.address == 0xFEE0_0000
    assert svm.handle_exit(NPF, 4, 0x1_FEE0_0000).todo == "fault"


def test_the_vmexit_says_that_it_is_for_an_apf() -> None:
    svm = hypervisor(guest_mode=True)
    svm.apf_reason = 1
    done = svm.handle_exit(EXCP_PF, 0, TOKEN)
    assert (done.why, done.exit.info2, done.route) == ("apf", TOKEN, "done")


def test_with_g3_closed_nothing_stays_latched() -> None:
    svm = apf_while_nested("vmexit", gap_g3=False)
    assert svm.apf_reason == 0
    assert svm.handle_exit(NPF, 4, 0x9000).todo == "fault"


@pytest.mark.parametrize("overrides", [{"gap_g2": False}, {"nested_fix": "2020"}])
def test_with_g2_closed_the_hypervisor_waits_itself(overrides: dict[str, Any]) -> None:
    svm = apf_while_nested("wait", **overrides)
    assert svm.apf_reason == 0


def test_an_intercepted_exit_and_an_error_are_told_apart() -> None:
    svm = hypervisor(guest_mode=True)
    svm.intercepts = Intercepts(misc=1 << (HLT - INTR))
    assert svm.handle_exit(HLT).why == "intercept"
    assert svm.handle_exit(ERR).why == "error"


def test_the_fpu_is_activated_on_the_way_wherever_nm_goes() -> None:
    svm = hypervisor(guest_mode=True)
    assert svm.handle_exit(EXCP_NM).fpu_activate
    svm.intercepts = Intercepts(exceptions=1 << 7)
    done = svm.handle_exit(EXCP_NM)
    assert (done.todo, done.fpu_activate) == ("vmexit", True)
    assert not hypervisor().handle_exit(EXCP_NM).fpu_activate


# --------------------------------------------------------------------------- injection


@pytest.mark.parametrize(
    ("l1_intercepts_pf", "latched", "overrides", "becomes_exit"),
    [
        (True, 0, {}, True),
        (False, 0, {}, False),
        (False, 1, {}, True),
        (False, 0, {"nested_fix": "2017"}, True),
        (False, 0, {"nested_fix": "2020"}, True),
        (False, 0, {"nested_fix": "2020-nsvm"}, False),
        (False, 1, {"nested_fix": "2020-nsvm"}, False),
        (True, 0, {"nested_fix": "2020-nsvm"}, True),
        (False, 0, {"nested_fix": "2020-nsvm", "gap_g1": False}, True),
        (False, 0, {"nested_fix": "2022"}, True),
        (False, 0, {"gap_g1": False}, True),
        (True, 0, {"nested_fix": "2017"}, True),
    ],
)
def test_routing_of_an_apf_for_the_guest_hypervisor(
    l1_intercepts_pf: bool, latched: int, overrides: dict[str, Any], becomes_exit: bool
) -> None:
    svm = hypervisor(guest_mode=True, **overrides)
    svm.intercepts = Intercepts(exceptions=BIT14 if l1_intercepts_pf else 0)
    svm.apf_reason = latched
    assert svm.queue_exception(PF_VECTOR, 0, TOKEN, nested_apf=True) is becomes_exit
    assert svm.exit_required is becomes_exit
    assert svm.apf_reason == latched
    if becomes_exit:
        done = svm.handle_exit(INTR)
        assert (done.exit, done.why) == (Exit(EXCP_PF, 0, TOKEN), "apf")


def test_with_g1_closed_an_ordinary_fault_is_not_forced_out() -> None:
    svm = hypervisor(guest_mode=True, nested_fix="2017")
    svm.apf_reason = 1
    assert not svm.queue_exception(PF_VECTOR, 2, 0x9000)


def test_without_a_nested_guest_an_exception_is_injected() -> None:
    svm = hypervisor()
    svm.intercepts = Intercepts(exceptions=0xFFFFFFFF)
    assert not svm.queue_exception(PF_VECTOR, 0, TOKEN, nested_apf=True)


def test_other_vectors_go_by_their_bit() -> None:
    svm = hypervisor(guest_mode=True)
    svm.apf_reason = 1
    assert not svm.queue_exception(13, 0, 0)
    svm.intercepts = Intercepts(exceptions=1 << 13)
    assert svm.queue_exception(13, 5, 0x9000)
    assert svm.handle_exit(INTR).exit == Exit(0x4D, 5, 0x9000)


def test_a_hypervisor_survives_a_snapshot() -> None:
    svm = hypervisor(guest_mode=True, nested_fix="2017")
    svm.queue_exception(PF_VECTOR, 0, TOKEN, nested_apf=True)
    copy: NestedSvm = pickle.loads(pickle.dumps(svm))
    assert copy.handle_exit(INTR) == svm.handle_exit(INTR)
