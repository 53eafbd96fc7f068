"""The handler for an intercepted #PF, and for a nested page fault, which is the same function.

Rule: semantics 4.3, from "KVM: Handle async PF in a guest.": a latched reason of 1 or 2 makes it a
wait or a wake on the 32-bit token in exit_info_2 and is consumed; everything else is an ordinary
fault for the MMU and leaves the latch alone.  With gap G5 closed the token is not cut.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pagewake.kvm.abi import REASON_NOT_PRESENT, REASON_READY, U32


class Interception(NamedTuple):
    """What the handler wants done, and the latch afterwards.

    `address` is the token of a wait or wake, else the fault address; `unprotect`: its page is to be
    unprotected before the MMU sees the fault.
    """

    branch: Literal["fault", "wait", "wake"]
    address: int
    error_code: int
    unprotect: bool
    apf_reason: int


def pf_interception(
    apf_reason: int,
    npt: bool,
    needs_reinjection: bool,
    info1: int,
    info2: int,
    gap_g5: bool = True,
) -> Interception:
    """Decide by the latched reason; `needs_reinjection`: an event waits to be injected again."""
    if apf_reason in (REASON_NOT_PRESENT, REASON_READY):
        token = info2 & U32 if gap_g5 else info2
        branch: Literal["wait", "wake"] = "wait" if apf_reason == REASON_NOT_PRESENT else "wake"
        return Interception(branch, token, 0, False, 0)
    return Interception("fault", info2, info1 & U32, needs_reinjection and not npt, apf_reason)
