"""Names of exit codes."""

from __future__ import annotations

import pytest

from pagewake.nested_svm.exit_codes import name_of


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x000, "READ_CR0"),
        (0x002, "READ_CR2"),
        (0x013, "WRITE_CR3"),
        (0x037, "WRITE_DR7"),
        (0x041, "EXCP_DB"),
        (0x04E, "EXCP_PF"),
        (0x04D, "EXCP_GP"),
        (0x060, "INTR"),
        (0x061, "NMI"),
        (0x06E, "RDTSC"),
        (0x072, "CPUID"),
        (0x074, "IRET"),
        (0x077, "PAUSE"),
        (0x078, "HLT"),
        (0x07B, "IOIO"),
        (0x07C, "MSR"),
        (0x07F, "SHUTDOWN"),
        (0x080, "VMRUN"),
        (0x081, "VMMCALL"),
        (0x08D, "XSETBV"),
        (0x08E, "UNDEFINED_8E"),
        (0x400, "NPF"),
        (0xFFFFFFFF, "ERR"),
    ],
)
def test_name(code: int, name: str) -> None:
    assert name_of(code) == name
