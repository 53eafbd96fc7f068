"""SVM exit codes: numbers and names (semantics 1.6, with the intercept bits)."""

from __future__ import annotations

from typing import Final

WRITE_CR8: Final = 0x018
READ_DR0: Final = 0x020
WRITE_DR7: Final = 0x037
EXCP_BASE: Final = 0x040
EXCP_LAST: Final = 0x05F
EXCP_DB: Final = 0x041
EXCP_UD: Final = 0x046
EXCP_NM: Final = 0x047
EXCP_PF: Final = 0x04E
EXCP_AC: Final = 0x051
EXCP_MC: Final = 0x052
INTR: Final = 0x060
NMI: Final = 0x061
CPUID: Final = 0x072
HLT: Final = 0x078
IOIO: Final = 0x07B
MSR: Final = 0x07C
VMRUN: Final = 0x080
NPF: Final = 0x400
ERR: Final = 0xFFFFFFFF

PF_VECTOR: Final = 14
MISC_BASE = INTR
"""Exit codes from here on have the intercept bit (code - MISC_BASE) of a 64-bit word."""

# fmt: off
_VECTORS = (
    "DE", "DB", "NMI", "BP", "OF", "BR", "UD", "NM", "DF", "9", "TS", "NP", "SS", "GP", "PF", "15",
    "MF", "AC", "MC", "XF", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
)
_FROM_INTR = (
    "INTR", "NMI", "SMI", "INIT", "VINTR", "CR0_SEL_WRITE", "IDTR_READ", "GDTR_READ", "LDTR_READ",
    "TR_READ", "IDTR_WRITE", "GDTR_WRITE", "LDTR_WRITE", "TR_WRITE", "RDTSC", "RDPMC", "PUSHF",
    "POPF", "CPUID", "RSM", "IRET", "SWINT", "INVD", "PAUSE", "HLT", "INVLPG", "INVLPGA", "IOIO",
    "MSR", "TASK_SWITCH", "FERR_FREEZE", "SHUTDOWN", "VMRUN", "VMMCALL", "VMLOAD", "VMSAVE", "STGI",
    "CLGI", "SKINIT", "RDTSCP", "ICEBP", "WBINVD", "MONITOR", "MWAIT", "MWAIT_COND", "XSETBV",
)
# fmt: on

NAMES: dict[int, str] = {
    **{code: f"READ_CR{code}" for code in range(16)},
    **{0x10 + n: f"WRITE_CR{n}" for n in range(16)},
    **{0x20 + n: f"READ_DR{n}" for n in range(16)},
    **{0x30 + n: f"WRITE_DR{n}" for n in range(16)},
    **{EXCP_BASE + vector: f"EXCP_{name}" for vector, name in enumerate(_VECTORS)},
    **{INTR + offset: name for offset, name in enumerate(_FROM_INTR)},
    NPF: "NPF",
    ERR: "ERR",
}


def name_of(code: int) -> str:
    """`NPF`, `EXCP_PF`, ...; `UNDEFINED_8E` for a code that has no name."""
    return NAMES.get(code) or f"UNDEFINED_{code:X}"
