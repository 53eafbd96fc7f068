"""The two routing stages, and the truth table of semantics 4.8 with the later fixes beside it."""

from __future__ import annotations

from typing import Any

import pytest

from pagewake.kvm.profile import resolve
from pagewake.nested_svm.exit_codes import (
    ERR,
    EXCP_AC,
    EXCP_DB,
    EXCP_MC,
    EXCP_NM,
    EXCP_PF,
    EXCP_UD,
    HLT,
    INTR,
    IOIO,
    MISC_BASE,
    MSR,
    NMI,
    NPF,
    VMRUN,
)
from pagewake.nested_svm.hypervisor import NestedSvm
from pagewake.nested_svm.routing import (
    Intercepts,
    PermissionMap,
    activates_fpu,
    intercept,
    msr_word_offset,
    special,
)

BIT14 = 1 << 14
ALL = (1 << 64) - 1


def svm_with(
    npt: bool, apf_reason: int, exceptions: int = 0, misc: int = 0, **overrides: object
) -> NestedSvm:
    svm = NestedSvm(resolve("2.6.38", overrides), npt)
    svm.guest_mode = True
    svm.apf_reason = apf_reason
    svm.intercepts = Intercepts(exceptions=exceptions, misc=misc)
    return svm


@pytest.mark.parametrize("npt", [False, True])
@pytest.mark.parametrize("reason", [0, 1, 2, 3])
@pytest.mark.parametrize("code", [INTR, NMI, EXCP_MC])
def test_row_8_interrupts_and_machine_checks_stay(npt: bool, reason: int, code: int) -> None:
    svm = svm_with(npt, reason, 0xFFFFFFFF, ALL)
    assert svm.special(code) == "host"
    assert svm.route(code) == "host"


@pytest.mark.parametrize("reason", [0, 1, 2, 3])
def test_row_9_a_nested_page_fault_stays_with_npt(reason: int) -> None:
    assert svm_with(True, reason, misc=ALL).route(NPF) == "host"


@pytest.mark.parametrize("reason", [0, 1, 2, 3])
def test_row_10_without_npt_it_is_tested_against_the_bit_of_vmrun(reason: int) -> None:
    vmrun_bit = 1 << (VMRUN - MISC_BASE)
    assert svm_with(False, reason, misc=vmrun_bit).route(NPF) == "done"
    assert svm_with(False, reason, misc=ALL & ~vmrun_bit).route(NPF) == "continue"


@pytest.mark.parametrize(
    ("row", "npt", "reason", "exceptions", "first", "way"),
    [
        (11, False, 0, 0, "host", "host"),
        (11, False, 0, BIT14, "host", "host"),
        (12, True, 0, BIT14, "continue", "done"),
        (13, True, 0, 0, "continue", "continue"),
        (14, False, 1, BIT14, "continue", "done"),
        (14, True, 1, BIT14, "continue", "done"),
        (14, True, 2, BIT14, "continue", "done"),
        (15, False, 1, 0, "continue", "done"),
        (15, True, 2, 0, "continue", "done"),
        (15, True, 3, 0, "continue", "done"),
        (15, False, 0xFFFFFFFF, 0, "continue", "done"),
    ],
)
def test_rows_11_to_15_page_faults(
    row: int, npt: bool, reason: int, exceptions: int, first: str, way: str
) -> None:
    svm = svm_with(npt, reason, exceptions)
    assert svm.special(EXCP_PF) == first
    assert svm.route(EXCP_PF) == way


@pytest.mark.parametrize("npt", [False, True])
def test_row_17_an_error_is_passed_on(npt: bool) -> None:
    assert svm_with(npt, 0).route(ERR) == "done"


@pytest.mark.parametrize("npt", [False, True])
@pytest.mark.parametrize("exceptions", [0, BIT14])
@pytest.mark.parametrize("reason", [1, 2])
@pytest.mark.parametrize("overrides", [{"nested_fix": "2020"}, {"gap_g2": False}])
def test_the_fix_of_2020_keeps_an_apf_here(
    npt: bool, exceptions: int, reason: int, overrides: dict[str, Any]
) -> None:
    assert svm_with(npt, reason, exceptions, **overrides).route(EXCP_PF) == "host"


@pytest.mark.parametrize(
    ("npt", "exceptions", "way"),
    [(True, BIT14, "done"), (True, 0, "continue"), (False, BIT14, "host"), (False, 0, "host")],
)
def test_the_fix_of_2020_leaves_ordinary_faults_alone(npt: bool, exceptions: int, way: str) -> None:
    assert svm_with(npt, 0, exceptions, nested_fix="2020").route(EXCP_PF) == way


@pytest.mark.parametrize(
    ("nested_fix", "way"),
    [("2017", "done"), ("2020", "done"), ("2020-nsvm", "host"), ("2022", "host")],
)
@pytest.mark.parametrize("code", [EXCP_DB, EXCP_UD, EXCP_AC])
def test_since_5_8_a_hypervisor_keeps_what_it_intercepts_itself(
    code: int, nested_fix: str, way: str
) -> None:
    assert svm_with(True, 0, 0xFFFFFFFF, nested_fix=nested_fix).route(code) == way
    assert svm_with(True, 0, 0xFFFFFFFF, nested_fix=nested_fix).route(EXCP_PF) == "done"


@pytest.mark.parametrize(("exceptions", "way"), [(BIT14, "done"), (0, "continue")])
def test_the_fix_of_2017_still_passes_an_apf_on_where_it_is_intercepted(
    exceptions: int, way: str
) -> None:
    assert svm_with(True, 1, exceptions, nested_fix="2017").route(EXCP_PF) == way


@pytest.mark.parametrize(("npt", "way"), [(True, "continue"), (False, "host")])
def test_with_g5_closed_an_unknown_reason_is_routed_as_an_ordinary_fault(
    npt: bool, way: str
) -> None:
    assert svm_with(npt, 3, gap_g5=False).route(EXCP_PF) == way


# --------------------------------------------------------------------------- intercepts


@pytest.mark.parametrize("code", [0x00, 0x03, 0x09, 0x0F, 0x10, 0x18])
def test_a_cr_access_has_its_own_bit(code: int) -> None:
    assert intercept(code, Intercepts(cr=1 << code), False) == "done"
    assert intercept(code, Intercepts(0xFFFFFFFF ^ 1 << code, misc=ALL), False) == "host"


@pytest.mark.parametrize("code", [0x20, 0x2F, 0x30, 0x37])
def test_a_dr_access_has_its_own_bit(code: int) -> None:
    bit = 1 << (code - 0x20)
    assert intercept(code, Intercepts(dr=bit), False) == "done"
    assert intercept(code, Intercepts(0xFFFFFFFF, 0xFFFFFFFF ^ bit, misc=ALL), False) == "host"


@pytest.mark.parametrize("code", [0x40, 0x4E, 0x5F])
def test_an_exception_has_the_bit_of_its_vector(code: int) -> None:
    bit = 1 << (code - 0x40)
    assert intercept(code, Intercepts(exceptions=bit), False) == "done"
    assert intercept(code, Intercepts(exceptions=0xFFFFFFFF ^ bit, misc=ALL), False) == "host"


def test_only_a_page_fault_is_forced() -> None:
    none = Intercepts()
    assert [intercept(code, none, True) for code in (EXCP_PF, EXCP_PF - 1)] == ["done", "host"]


@pytest.mark.parametrize(
    ("code", "bit"),
    [(HLT, 24), (0x9F, 63), (0xA0, 0), (0x3FF, 31), (0x401, 33), (0x19, 57), (0x38, 24),
     (0xFFFFFFFE, 30)],
)  # fmt: skip
def test_other_codes_are_tested_modulo_64(code: int, bit: int) -> None:
    assert intercept(code, Intercepts(misc=1 << bit), False) == "done"
    everything_else = Intercepts(0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, ALL ^ 1 << bit)
    assert intercept(code, everything_else, False) == "host"


def test_special_activates_the_fpu_for_nm_only() -> None:
    assert [activates_fpu(code) for code in (EXCP_NM, EXCP_PF, INTR)] == [True, False, False]
    assert special(EXCP_NM, False, True) == "continue"


# --------------------------------------------------------------------------- permission maps

MSR_PROT = 1 << (MSR - MISC_BASE)
IOIO_PROT = 1 << (IOIO - MISC_BASE)


def msr_route(rcx: int, write: int, msr_map: PermissionMap, misc: int = MSR_PROT) -> str:
    return intercept(MSR, Intercepts(misc=misc, msr_map=msr_map), False, write, rcx)


@pytest.mark.parametrize(
    ("msr", "offset"),
    [
        (0, 0),
        (0xF, 0),
        (0x10, 4),
        (0x1FFF, 0x7FC),
        (0x2000, None),
        (0xBFFFFFFF, None),
        (0xC0000000, 0x800),
        (0xC0001FFF, 0xFFC),
        (0xC0002000, None),
        (0xC0010000, 0x1000),
        (0xC0011FFF, 0x17FC),
        (0xC0012000, None),
    ],
)
def test_the_word_of_an_msr(msr: int, offset: int | None) -> None:
    assert msr_word_offset(msr) == offset


@pytest.mark.parametrize(
    ("rcx", "write", "byte", "bit"),
    [(0x10, 0, 4, 0), (0x10, 1, 4, 1), (0x1FFF, 1, 0x7FF, 7), (0xC0000001, 0, 0x800, 2)],
)
def test_an_msr_access_is_decided_by_its_own_bit(rcx: int, write: int, byte: int, bit: int) -> None:
    assert msr_route(rcx, write, PermissionMap(0, {byte: 1 << bit})) == "done"
    assert msr_route(rcx, write, PermissionMap(255, {byte: 255 ^ 1 << bit})) == "host"


def test_the_upper_half_of_rcx_does_not_count() -> None:
    assert msr_route(0x1_0000_0010, 0, PermissionMap(0, {4: 1})) == "done"


def test_an_msr_without_a_place_in_the_map_and_an_unreadable_map_are_passed_on() -> None:
    assert msr_route(0x2000, 0, PermissionMap(0)) == "done"
    assert msr_route(0x10, 0, PermissionMap(0, unreadable=True)) == "done"


def test_msrs_that_are_not_intercepted_stay_whatever_the_map_says() -> None:
    assert msr_route(0x10, 0, PermissionMap(255), ALL ^ MSR_PROT) == "host"


def io_route(port: int, io_map: PermissionMap, misc: int = IOIO_PROT) -> str:
    return intercept(IOIO, Intercepts(misc=misc, io_map=io_map), False, port << 16 | 0x11)


def test_a_port_is_decided_by_the_whole_byte() -> None:
    assert io_route(0x70, PermissionMap(0, {0xE: 1})) == "done"
    assert io_route(0x77, PermissionMap(0, {0xE: 1})) == "done"
    assert io_route(0x78, PermissionMap(0, {0xE: 1})) == "host"


def test_an_unreadable_io_map_permits() -> None:
    assert io_route(0x70, PermissionMap(255, unreadable=True)) == "host"


def test_ports_that_are_not_intercepted_stay() -> None:
    assert io_route(0x70, PermissionMap(255), ALL ^ IOIO_PROT) == "host"
