"""Who handles an exit of a nested guest: this hypervisor (host), or its guest, by #VMEXIT (done).

Rule: semantics 4.5 (special), 4.6 (intercept), 4.8 (truth table), of 2.6.38, defects included:

- an asynchronous page fault of this hypervisor is passed on to its guest (gap G2), and so is any
  reason word that is not 0 (gap G5); the fix of 2020 handles it here, and 5.8 every exception that
  this hypervisor intercepts;
- an exit code without an intercept bit is tested against bit (code - 96) modulo 64, as x86 shifts;
- the I/O map decides by the whole byte of the port, and an unreadable one permits.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from mypy_extensions import mypyc_attr

from pagewake.kvm.abi import U32
from pagewake.nested_svm.exit_codes import (
    ERR,
    EXCP_AC,
    EXCP_BASE,
    EXCP_DB,
    EXCP_LAST,
    EXCP_MC,
    EXCP_NM,
    EXCP_PF,
    EXCP_UD,
    INTR,
    IOIO,
    MISC_BASE,
    MSR,
    NMI,
    NPF,
    READ_DR0,
    WRITE_CR8,
    WRITE_DR7,
)
from pagewake.simtime.state import Saved

Special: TypeAlias = Literal["host", "continue"]
Intercept: TypeAlias = Literal["host", "done"]

_MSR_PROT = 1 << (MSR - MISC_BASE)
_IOIO_PROT = 1 << (IOIO - MISC_BASE)
_MSR_RANGES = (0x0000_0000, 0xC000_0000, 0xC001_0000)
_MSRS_PER_RANGE: Final = 0x2000
_BYTES_PER_RANGE: Final = 0x800


@mypyc_attr(allow_interpreted_subclasses=True)
class PermissionMap(Saved):
    """A permission map in the guest hypervisor's memory: `fill`, but for some `changed` bytes."""

    __slots__ = ("changed", "fill", "unreadable")

    def __init__(
        self, fill: int = 0, changed: dict[int, int] | None = None, unreadable: bool = False
    ) -> None:
        self.fill = fill
        self.changed = changed or {}
        self.unreadable = unreadable

    def read(self, offset: int) -> int | None:
        """One byte; None if reading it fails."""
        return None if self.unreadable else self.changed.get(offset, self.fill)

    def read_word(self, offset: int) -> int | None:
        """Four bytes, little endian; None if reading them fails."""
        if self.unreadable:
            return None
        changed, fill = self.changed, self.fill
        return sum(changed.get(offset + n, fill) << 8 * n for n in range(4))


@mypyc_attr(allow_interpreted_subclasses=True)
class Intercepts(Saved):
    """What the guest hypervisor intercepts of its own guest: words of 32, 32, 32, 64 bits, maps."""

    __slots__ = ("cr", "dr", "exceptions", "io_map", "misc", "msr_map")

    def __init__(
        self,
        cr: int = 0,
        dr: int = 0,
        exceptions: int = 0,
        misc: int = 0,
        msr_map: PermissionMap | None = None,
        io_map: PermissionMap | None = None,
    ) -> None:
        self.cr = cr
        self.dr = dr
        self.exceptions = exceptions
        self.misc = misc
        self.msr_map = msr_map or PermissionMap()
        self.io_map = io_map or PermissionMap()


OWN_EXCEPTIONS: Final = frozenset({EXCP_DB, EXCP_UD, EXCP_AC, EXCP_MC})
"""What a KVM of 5.8 intercepts of its guest beside #PF, which it does without NPT (init_vmcb)."""


def counts_as_apf(apf_reason: int, gap_g5: bool = True) -> bool:
    """Whether routing takes the latched reason for an APF: any but 0 (gap G5), else 1 and 2."""
    return apf_reason != 0 if gap_g5 else apf_reason in (1, 2)


def activates_fpu(exit_code: int) -> bool:
    """The side effect of `special` on #NM: the hypervisor's own FPU activation."""
    return exit_code == EXCP_NM


def special(
    exit_code: int, is_apf: bool, npt: bool, g2_open: bool = True, keeps_own: bool = False
) -> Special:
    """First stage: what this hypervisor keeps whatever its guest intercepts.

    `keeps_own`: from 5.8, also every exception that it intercepts itself.
    """
    if exit_code == EXCP_PF:
        ours = not npt and not is_apf if g2_open else not npt or is_apf
    elif exit_code == NPF:
        ours = npt
    else:
        ours = exit_code in (INTR, NMI, EXCP_MC) or (keeps_own and exit_code in OWN_EXCEPTIONS)
    return "host" if ours else "continue"


def intercept(
    exit_code: int, intercepts: Intercepts, forced: bool, info1: int = 0, rcx: int = 0
) -> Intercept:
    """Second stage: what its guest intercepts; `forced`: a #PF leaves in any case."""
    if exit_code <= WRITE_CR8:
        hit = intercepts.cr >> exit_code & 1
    elif READ_DR0 <= exit_code <= WRITE_DR7:
        hit = intercepts.dr >> (exit_code - READ_DR0) & 1
    elif EXCP_BASE <= exit_code <= EXCP_LAST:
        hit = intercepts.exceptions >> (exit_code - EXCP_BASE) & 1
        hit = hit or (forced and exit_code == EXCP_PF)
    elif exit_code == MSR:
        hit = _msr(intercepts, info1, rcx)
    elif exit_code == IOIO:
        hit = _io(intercepts, info1)
    else:
        hit = exit_code == ERR or intercepts.misc >> (exit_code - MISC_BASE & 63) & 1
    return "done" if hit else "host"


def msr_word_offset(msr: int) -> int | None:
    """Byte offset of the map's 32-bit word for this MSR; None outside the three ranges."""
    for index, base in enumerate(_MSR_RANGES):
        if base <= msr < base + _MSRS_PER_RANGE:
            return (index * _BYTES_PER_RANGE + (msr - base) // 4) & ~3
    return None


def _msr(intercepts: Intercepts, info1: int, rcx: int) -> bool:
    if not intercepts.misc & _MSR_PROT:
        return False
    msr = rcx & U32
    offset = msr_word_offset(msr)
    word = None if offset is None else intercepts.msr_map.read_word(offset)
    return word is None or bool(word >> (2 * (msr & 15) + (info1 & 1)) & 1)


def _io(intercepts: Intercepts, info1: int) -> bool:
    if not intercepts.misc & _IOIO_PROT:
        return False
    port = info1 >> 16 & U32
    return bool(intercepts.io_map.read(port // 8))
