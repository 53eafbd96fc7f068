"""What the run loop needs of the guest on a vcpu and of L0's nested SVM, without knowing either.

`guest_kernel` implements `GuestCpuPort` and `GuestPort`, `nested_svm` implements `NestedPort`; what
they may do to a vcpu thread is `VcpuPort`, which `loop.Vcpu` implements.  A step is `(at_ns, op)`:
the next thing this vcpu does of its own accord; `WAIT` means that it waits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Concatenate, Final, ParamSpec

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Gfn, Token
from pagewake.events.types import ApfKind, Control, Journal
from pagewake.kvm.modes import Mode
from pagewake.simtime.state import Saved

Rest = ParamSpec("Rest")


class Op(IntEnum):
    """What a planned step of a VM does; `loop.Vcpu.execute` has what is behind each."""

    DELIVER = 0
    """Not a vcpu's step: something from the host, or a control event."""
    CHECK = 1
    LOOP = 2
    ENTER = 3
    UNBLOCK = 4
    SYNC_DONE = 5
    TIMER = 6
    HOST_EXIT = 7
    GUEST = 8
    GUEST_LATER = 9
    PAGING_ON = 10
    JOINED = 11
    HANDLER = 12
    RESOLVED = 13
    CLEARED = 14
    FRAME = 15
    SCHED_IN = 16
    WORKED = 17
    POLLED = 18
    SUBMITTED = 19
    LOOKED = 20
    HOST_WORK = 21
    """Not a vcpu's step: another thread of the host has done what it got a CPU for."""
    WAIT = 22
    """Nothing: the vcpu waits for somebody else."""


# An attribute of an Enum class costs a call in Python 3.11, a name of a module does not.
OP_DELIVER: Final = Op.DELIVER
OP_CHECK: Final = Op.CHECK
OP_LOOP: Final = Op.LOOP
OP_ENTER: Final = Op.ENTER
OP_UNBLOCK: Final = Op.UNBLOCK
OP_SYNC_DONE: Final = Op.SYNC_DONE
OP_TIMER: Final = Op.TIMER
OP_HOST_EXIT: Final = Op.HOST_EXIT
OP_GUEST: Final = Op.GUEST
OP_GUEST_LATER: Final = Op.GUEST_LATER
OP_PAGING_ON: Final = Op.PAGING_ON
OP_JOINED: Final = Op.JOINED
OP_HANDLER: Final = Op.HANDLER
OP_RESOLVED: Final = Op.RESOLVED
OP_CLEARED: Final = Op.CLEARED
OP_FRAME: Final = Op.FRAME
OP_SCHED_IN: Final = Op.SCHED_IN
OP_WORKED: Final = Op.WORKED
OP_POLLED: Final = Op.POLLED
OP_SUBMITTED: Final = Op.SUBMITTED
OP_LOOKED: Final = Op.LOOKED
OP_HOST_WORK: Final = Op.HOST_WORK
OP_WAIT: Final = Op.WAIT

Step = tuple[int, Op]
WAIT: Final[Step] = (0, OP_WAIT)
"""The step of a vcpu that does nothing until somebody interferes."""

IRQ_TIMER: Final = 1
IRQ_RESCHED: Final = 2
IRQ_DEVICE: Final = 4
IRQ_APF: Final = 8
IRQ_CALL: Final = 16


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class PendingException(Saved):
    """Exception 14 queued for the next entry: CR2 = token, for the guest at `level`."""

    __slots__ = ("kind", "level", "token")

    def __init__(self, token: Token, kind: ApfKind, level: int) -> None:
        self.token = token
        self.kind = kind
        self.level = level


@mypyc_attr(acyclic=True)
class FaultContext:
    """The touch that made the vcpu leave the guest: gfn in L1's memory; `task`: in whose name."""

    __slots__ = ("cpl", "gfn", "level", "task", "write")

    def __init__(self, gfn: Gfn, write: bool, cpl: int, level: int, task: str | None) -> None:
        self.gfn = gfn
        self.write = write
        self.cpl = cpl
        self.level = level
        self.task = task


@mypyc_attr(allow_interpreted_subclasses=True)
class AreaPort(Saved):
    """A shared area as the host sees it: it writes, and reads only whether the slot is free.

    `foreign`: the kernel that registered it is gone, and its memory is another's.
    """

    __slots__ = ("foreign", "reason", "token")

    foreign: bool
    reason: int
    token: Token


@mypyc_attr(allow_interpreted_subclasses=True)
class GuestCpuPort(Saved, ABC):
    """A guest CPU as its vcpu thread sees it; `depth` is the level of the guest that runs.

    `cr3` names the root of the page table that it has loaded, `apf_vector` the interrupt vector
    that has its page-ready handler.
    """

    __slots__ = ("apf_vector", "cpl", "depth", "guest_mode", "if_flag", "shadow")

    if_flag: bool
    cpl: int
    shadow: bool
    guest_mode: bool
    depth: int
    apf_vector: int

    @property
    @abstractmethod
    def cr3(self) -> str:
        """Equal for two instants at which the same page table was loaded."""

    @abstractmethod
    def area_at(self, gpa: int) -> AreaPort:
        """The 64 bytes at this address: a CPU's shared area, or memory that no handler reads."""

    @abstractmethod
    def stop(self, at_ns: int) -> None:
        """The vcpu left the guest: account for what ran since it entered."""

    @abstractmethod
    def sync(self, at_ns: int) -> None:
        """Make accessed and dirty bits current without leaving the guest."""

    @abstractmethod
    def resume(self, at_ns: int) -> Step:
        """The vcpu entered the guest with nothing injected."""

    @abstractmethod
    def take_exception(self, at_ns: int, token: Token, kind: ApfKind, level: int) -> Step:
        """Entered with exception 14 and CR2 = token, for the guest at `level`."""

    @abstractmethod
    def take_interrupts(self, at_ns: int, irqs: int) -> Step:
        """Entered with these interrupts (bit mask)."""

    @abstractmethod
    def take_nmi(self, at_ns: int, faults: bool) -> Step:
        """Entered with an NMI; its handler takes a page fault of its own if `faults`."""

    @abstractmethod
    def step(self, at_ns: int) -> Step:
        """The step that the guest planned is due."""

    @abstractmethod
    def runs_memory_task(self) -> bool:
        """Whether what runs now can reach a missing page by itself."""

    @abstractmethod
    def boot(self, at_ns: int) -> Step:
        """First entry of this CPU."""


@mypyc_attr(allow_interpreted_subclasses=True)
class VcpuPort(Saved, ABC):
    """What a guest, and a hypervisor in it, may do to the vcpu thread that runs it.

    A method that returns a step is an exit: the guest has left when it returns.
    """

    __slots__ = ("id", "irqs", "mode", "nmi", "timer_at")

    id: int
    mode: Mode
    """Where the thread is."""
    irqs: int
    """Interrupts that are pending (bit mask)."""
    nmi: bool | None
    """A pending NMI: whether its handler takes a fault; None: none is pending."""
    timer_at: int
    """When the guest timer fires; 0: it is not armed."""

    @abstractmethod
    def note(
        self,
        event: Callable[Concatenate[int, str, int, int, Rest], Journal],
        at_ns: int,
        *args: Rest.args,
        **kwargs: Rest.kwargs,
    ) -> None:
        """Write down what happened on this vcpu."""

    @abstractmethod
    def account(self, at_ns: int, kind: str) -> None:
        """From now on this vcpu's time counts as `kind`."""

    @abstractmethod
    def leave(self, at_ns: int) -> None:
        """An exit at this instant; what becomes of it is the caller's to say."""

    @abstractmethod
    def after_exit(self, at_ns: int, cost_ns: int) -> Step:
        """The exit is handled, at this cost."""

    @abstractmethod
    def exit_plain(self, at_ns: int) -> Step:
        """An exit that only costs time."""

    @abstractmethod
    def exit_hlt(self, at_ns: int) -> Step:
        """HLT."""

    @abstractmethod
    def exit_wrmsr(self, at_ns: int, msr: int, value: int) -> Step:
        """WRMSR."""

    @abstractmethod
    def exit_fault(self, at_ns: int, context: FaultContext) -> Step:
        """A touch of a page that L0 has not mapped."""

    @abstractmethod
    def write_msr(self, at_ns: int, msr: int, value: int) -> None:
        """WRMSR whose exit counts as part of the kernel path that it is on."""

    @abstractmethod
    def clear_waits(self) -> bool:
        """Whether APF off is an exit in which the host waits, and so none for `write_msr`."""

    @abstractmethod
    def arm_timer(self, at_ns: int, period: int) -> None:
        """Have the guest timer fire at the next instant of its grid."""

    @abstractmethod
    def disarm_timer(self) -> None:
        """The guest timer does not fire."""

    @abstractmethod
    def pend(self, irqs: int) -> None:
        """Interrupts that stay pending until the next entry that may inject them."""

    @abstractmethod
    def pend_nmi(self, faults: bool) -> None:
        """An NMI stays pending until the next entry."""

    @abstractmethod
    def interrupt(self, at_ns: int, irq: int) -> None:
        """An IPI, or a device's interrupt."""

    @abstractmethod
    def power_on(self) -> None:
        """The vcpu enters its guest for the first time."""

    @abstractmethod
    def park(self, at_ns: int) -> None:
        """The CPU is gone until `init_sipi`."""

    @abstractmethod
    def init_sipi(self, at_ns: int, irqs: int) -> None:
        """The CPU is brought up, with these interrupts pending."""


@mypyc_attr(allow_interpreted_subclasses=True)
class GuestPort(Saved, ABC):
    """The guest's kernel as the VM sees it."""

    __slots__ = ()

    @abstractmethod
    def mapped(self, gfn: Gfn) -> None:
        """L0 mapped this page."""

    @abstractmethod
    def unmapped(self, gfns: Sequence[int]) -> None:
        """L0 took these pages out of its page table."""

    @abstractmethod
    def later(self, vcpu: int, at_ns: int, arg: int) -> None:
        """A guest timer that does not depend on what the vcpu does."""

    @abstractmethod
    def control(self, event: Control) -> bool:
        """A control event; False if it is not the guest's business."""


@mypyc_attr(allow_interpreted_subclasses=True)
class NestedPort(Saved, ABC):
    """L0's nested SVM for one vcpu."""

    __slots__ = ()

    @abstractmethod
    def masks_interrupts(self) -> bool:
        """L1 runs its guest with V_INTR_MASKING: L0 sees interrupts as not allowed (gap G0)."""

    @abstractmethod
    def queue_exception(self, token: Token) -> bool:
        """check_exception for the APF #PF: True if it becomes a #VMEXIT to L1."""

    @abstractmethod
    def drop_exception(self) -> None:
        """The queued exception is gone, and the #VMEXIT owed for it."""

    @abstractmethod
    def external_exit(self, at_ns: int) -> None:
        """A physical interrupt made the vcpu leave guest mode."""

    @abstractmethod
    def same_mmu(self, level: int) -> bool:
        """The MMU mode in force is the one in which a fault of `level` was taken."""
