"""What one CPU's kernel does with interrupts off, over the task below it, and how that ends.

An overlay takes a fixed time; then `vcpu.GuestCpu.step` does what its `what` stands for.  These are
data: a snapshot keeps them, and `unresolved.py` looks for tokens in them.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Token
from pagewake.simtime.state import Saved


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class What(Saved):
    """What an overlay was for; its kind says how it ends."""

    __slots__ = ()


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Trap(What):
    """#PF, taken at privilege level `cpl`; for an APF CR2 is the token."""

    __slots__ = ("cpl", "cr2")

    def __init__(self, cr2: int, cpl: int) -> None:
        self.cr2 = cr2
        self.cpl = cpl


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Interrupts(What):
    """Handlers of these interrupts (bit mask), one after the other."""

    __slots__ = ("irqs",)

    def __init__(self, irqs: int) -> None:
        self.irqs = irqs


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Spin(What):
    """A wake that found no memory for its dummy tries again."""

    __slots__ = ("spins", "token")

    def __init__(self, token: Token, spins: int) -> None:
        self.token = token
        self.spins = spins


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class NmiDone(What):
    """An NMI handler that interrupted a task, and whether it takes a page fault."""

    __slots__ = ("faults",)

    def __init__(self, faults: bool) -> None:
        self.faults = faults


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Switched(What):
    """A context switch."""

    __slots__ = ()


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Iret(What):
    """The return to what lies below."""

    __slots__ = ()


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class IrqExit(What):
    """The end of an interrupt handler: schedule if it is due, else return."""

    __slots__ = ()


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Boot(What):
    """The CPU starts."""

    __slots__ = ()


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Booted(What):
    """The CPU has enabled APF; interrupts come on."""

    __slots__ = ()


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Disabled(What):
    """The CPU goes down, and has switched APF off."""

    __slots__ = ()


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class InnerLatch(What):
    """L1's KVM right behind its VMRUN."""

    __slots__ = ()


SWITCHED: Final = Switched()
IRET: Final = Iret()
IRQ_EXIT: Final = IrqExit()
BOOT: Final = Boot()
BOOTED: Final = Booted()
DISABLED: Final = Disabled()
INNER_LATCH: Final = InnerLatch()


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Overlay(Saved):
    """Ends at `end_ns` while the vcpu runs, `left_ns` after its entry while it does not."""

    __slots__ = ("end_ns", "left_ns", "what")

    def __init__(self, what: What, end_ns: int, left_ns: int) -> None:
        self.what = what
        self.end_ns = end_ns
        self.left_ns = left_ns
