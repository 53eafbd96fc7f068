"""Who handles an exit of L2 on Intel: this hypervisor (host), or its guest L1, by a VM exit (done).

Rule: semantics 4.9 (gap G9), of the kernels since 4.13.  Nothing runs these: no simulation has a
VMX hypervisor.  They are here so that what differs from SVM can be looked up and checked
(`pagewake conformance`):

- an asynchronous page fault of this hypervisor is kept, whatever L1 intercepts: the filter that
  SVM had the wrong way round (gap G2) was right here from the start;
- one for L1 always leaves L2, with the token as exit qualification: there never was a gap G1;
- with EPT every other #PF of L2 that leaves it is L1's: only what L1 asked for by its error code
  leaves at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Route: TypeAlias = Literal["host", "done"]

EXCEPTION_NMI: Final = 0
EXTERNAL_INTERRUPT: Final = 1
CPUID: Final = 10
HLT: Final = 12
EPT_VIOLATION: Final = 48
EPT_MISCONFIG: Final = 49

NMI_VECTOR: Final = 2
PF_VECTOR: Final = 14
U16: Final = 0xFFFF


@dataclass(frozen=True)
class Controls:
    """What L1 asks for in its vmcs12: exceptions (a bit each), HLT, and #PF by its error code."""

    exceptions: int = 0
    pf_mask: int = 0
    pf_match: int = 0
    hlt_exiting: bool = False


def route(reason: int, vector: int, apf_reason: int, ept: bool, controls: Controls) -> Route:
    """Where an exit of L2 goes; `apf_reason` is what this hypervisor read as it was told of it."""
    if _kept(reason, vector, apf_reason, ept) or not _wanted(reason, vector, controls):
        return "host"
    return "done"


def _kept(reason: int, vector: int, apf_reason: int, ept: bool) -> bool:
    """This hypervisor handles it whatever L1 wants."""
    if reason == EXCEPTION_NMI:
        return vector == NMI_VECTOR or (vector == PF_VECTOR and (apf_reason != 0 or not ept))
    return reason in (EXTERNAL_INTERRUPT, EPT_VIOLATION, EPT_MISCONFIG)


def _wanted(reason: int, vector: int, controls: Controls) -> bool:
    """L1 intercepts it; a #PF that comes here was let through to it by its error code."""
    if reason == EXCEPTION_NMI:
        return vector == PF_VECTOR or bool(controls.exceptions >> vector & 1)
    return controls.hlt_exiting if reason == HLT else True


def leaves(vector: int, error_code: int, nested_apf: bool, controls: Controls) -> bool:
    """Whether an exception that is queued while L2 runs becomes an exit to L1.

    `nested_apf`: it tells L1 of an absent page.
    """
    intercepted = bool(controls.exceptions >> vector & 1)
    if vector != PF_VECTOR:
        return intercepted
    differs = error_code & U16 & controls.pf_mask != controls.pf_match
    return nested_apf or differs != intercepted


def qualification(vector: int, nested_apf: bool, token: int, cr2: int) -> int:
    """What L1 reads as the qualification of that exit."""
    if vector != PF_VECTOR:
        return 0
    return token if nested_apf else cr2
