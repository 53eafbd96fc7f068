"""The guest's page fault trap: the reason word decides which of three handlers it is for.

Rule: semantics 2.2, from "KVM: Handle async PF in a guest."  0 and every unknown reason mean an
ordinary page fault; CR2 carries the token, of which 32 bits count.
"""

from __future__ import annotations

from pagewake.events.types import TrapHandler
from pagewake.guest_kernel.apf_area import ApfArea
from pagewake.kvm.abi import REASON_NOT_PRESENT, REASON_READY, U32

_HANDLERS: dict[int, TrapHandler] = {REASON_NOT_PRESENT: "wait", REASON_READY: "wake"}


def dispatch(area: ApfArea, cr2: int, error_code: int) -> tuple[TrapHandler, int]:
    """Read and reset the reason: (`wait` or `wake`, token) or (`page_fault`, error code)."""
    handler = _HANDLERS.get(area.read_and_reset_reason())
    if handler is None:
        return "page_fault", error_code
    return handler, cr2 & U32
