"""The order of actions that `pf-interception` rows expect, in the words of the vector format.

Rule: semantics 4.3.  A simulation executes the handler in one instant, with interrupts off, so it
never changes the interrupt flag between two actions.  What is done is decided by the code that
simulations run; only where the flag changes, and what the handler returns, is spelled out here.
"""

from __future__ import annotations

from pagewake.nested_svm.interception import Interception

RETURNS_TO_GUEST = 1
"""Of the handler after a wait or a wake: enter the guest again."""


def order_of(done: Interception) -> list[str]:
    """What the handler does about a page fault, unless its wait blocks."""
    if done.branch == "fault":
        return [*(["unprotect"] if done.unprotect else []), "mmu_page_fault"]
    return ["irq_disable", done.branch, "irq_enable"]


def returned(done: Interception, mmu_ret: int) -> int:
    """The handler's value; `mmu_ret` is that of the MMU's fault handler."""
    return mmu_ret if done.branch == "fault" else RETURNS_TO_GUEST


def scheduled_again(asleep: bool) -> list[str]:
    """A task that waited has the cpu: it gives it up with interrupts on while it is `asleep`."""
    return ["irq_disable", "irq_enable", *(["schedule"] if asleep else [])]
