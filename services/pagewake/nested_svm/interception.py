"""The handler for an intercepted #PF, and for a nested page fault, which is the same function.

Rule: semantics 4.3, from "KVM: Handle async PF in a guest.": a latched reason of 1 or 2 makes it a
wait or a wake on the 32-bit token in exit_info_2 and is consumed; everything else is an ordinary
fault for the MMU and leaves the latch alone.  With gap G5 closed the token is not cut.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from pagewake.kvm.abi import REASON_NOT_PRESENT, REASON_READY, U32

Action: TypeAlias = Literal[
    "irq_disable", "irq_enable", "wait", "wake", "schedule", "unprotect", "mmu_page_fault"
]
Actions: TypeAlias = tuple[Action, ...]


_WAIT: Final[Actions] = ("irq_disable", "wait", "irq_enable")
_WAKE: Final[Actions] = ("irq_disable", "wake", "irq_enable")
_FAULT: Final[Actions] = ("mmu_page_fault",)
_UNPROTECT_AND_FAULT: Final[Actions] = ("unprotect", "mmu_page_fault")


class Interception(NamedTuple):
    """What the handler wants done, in order, and the latch afterwards.

    `address` is the token of a wait or wake, else the fault address.  `returns` is the handler's
    value; None: what the MMU's fault handler returns.
    """

    branch: Literal["fault", "wait", "wake"]
    address: int
    error_code: int
    actions: Actions
    apf_reason: int
    returns: int | None

    @property
    def unprotect(self) -> bool:
        """Whether the page of the fault address is to be unprotected first."""
        return "unprotect" in self.actions


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
        if apf_reason == REASON_NOT_PRESENT:
            return Interception("wait", token, 0, _WAIT, 0, 1)
        return Interception("wake", token, 0, _WAKE, 0, 1)
    actions = _UNPROTECT_AND_FAULT if needs_reinjection and not npt else _FAULT
    return Interception("fault", info2, info1 & U32, actions, apf_reason, None)


def wait_entered(slept: bool) -> Actions:
    """The wait of the handler up to where it blocks, or to its end if it returned at once."""
    return ("irq_disable", "wait", "irq_enable", "schedule") if slept else _WAIT


def wait_scheduled(linked: bool) -> Actions:
    """The sleeper has the cpu again: back to sleep while its entry is linked, else to the end."""
    return ("irq_disable", "irq_enable", "schedule") if linked else ("irq_disable", "irq_enable")
