"""What one CPU's kernel does with interrupts off, over the task below it, and how that ends.

An overlay takes a fixed time; then `vcpu.GuestCpu.step` does what its `what` stands for.  These are
data: a snapshot keeps them, and `unresolved.py` looks for tokens in them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from pagewake.events.ids import Token


class Trap(msgspec.Struct, frozen=True, gc=False):
    """#PF, taken at privilege level `cpl`; for an APF CR2 is the token."""

    cr2: int
    cpl: int


class Interrupts(msgspec.Struct, frozen=True, gc=False):
    """Handlers of these interrupts (bit mask), one after the other."""

    irqs: int


class Spin(msgspec.Struct, frozen=True, gc=False):
    """A wake that found no memory for its dummy tries again."""

    token: Token
    spins: int


class NmiDone(msgspec.Struct, frozen=True, gc=False):
    """An NMI handler that interrupted a task, and whether it takes a page fault."""

    faults: bool


class Switched(msgspec.Struct, frozen=True, gc=False):
    """A context switch."""


class Iret(msgspec.Struct, frozen=True, gc=False):
    """The return to what lies below."""


class IrqExit(msgspec.Struct, frozen=True, gc=False):
    """The end of an interrupt handler: schedule if it is due, else return."""


class Boot(msgspec.Struct, frozen=True, gc=False):
    """The CPU starts."""


class Booted(msgspec.Struct, frozen=True, gc=False):
    """The CPU has enabled APF; interrupts come on."""


class InnerLatch(msgspec.Struct, frozen=True, gc=False):
    """L1's KVM right behind its VMRUN."""


What: TypeAlias = (
    Trap | Interrupts | Switched | Spin | NmiDone | Iret | IrqExit | Boot | Booted | InnerLatch
)

SWITCHED: Final = Switched()
IRET: Final = Iret()
IRQ_EXIT: Final = IrqExit()
BOOT: Final = Boot()
BOOTED: Final = Booted()
INNER_LATCH: Final = InnerLatch()


class Overlay(msgspec.Struct, gc=False):
    """Ends at `end_ns` while the vcpu runs, `left_ns` after its entry while it does not."""

    what: What
    end_ns: int
    left_ns: int
