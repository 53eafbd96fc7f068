"""Names of exit codes and the words of the trace point."""

from __future__ import annotations

import pytest

from pagewake.nested_svm.exit_codes import name_of, trace_reason


@pytest.mark.parametrize(
    ("code", "name", "reason"),
    [
        (0x000, "READ_CR0", "read_cr0"),
        (0x002, "READ_CR2", ""),
        (0x013, "WRITE_CR3", "write_cr3"),
        (0x037, "WRITE_DR7", "write_dr7"),
        (0x041, "EXCP_DB", "DB excp"),
        (0x04E, "EXCP_PF", "PF excp"),
        (0x04D, "EXCP_GP", ""),
        (0x060, "INTR", "interrupt"),
        (0x061, "NMI", "nmi"),
        (0x06E, "RDTSC", ""),
        (0x072, "CPUID", "cpuid"),
        (0x074, "IRET", ""),
        (0x077, "PAUSE", ""),
        (0x078, "HLT", "hlt"),
        (0x07B, "IOIO", "io"),
        (0x07C, "MSR", "msr"),
        (0x07F, "SHUTDOWN", "shutdown"),
        (0x080, "VMRUN", "vmrun"),
        (0x081, "VMMCALL", "hypercall"),
        (0x08D, "XSETBV", "xsetbv"),
        (0x08E, "UNDEFINED_8E", ""),
        (0x400, "NPF", "npf"),
        (0xFFFFFFFF, "ERR", ""),
    ],
)
def test_name_and_reason(code: int, name: str, reason: str) -> None:
    assert name_of(code) == name
    assert trace_reason(code) == reason
