"""Asynchronous page faults of one vcpu, as L0's KVM keeps them.

A work item lives in `queue` from setup until present(); when its worker finishes it also joins
`done`, at the tail, so `done` is in completion order.  `queued` is bounded by 64; a broadcast item
comes on top.  The gfn hash knows the pages of started items (semantics 1.5, 3.4 to 3.8, 3.10 and
3.11).

The tables here decide; the run loop (`loop.py`) does what they say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Gfn, Token
from pagewake.events.types import HaltWhy
from pagewake.kvm.abi import U32
from pagewake.kvm.gfn_hash import NEW_MULTIPLIER, OLD_MULTIPLIER, GfnHash
from pagewake.kvm.msr import (
    ASYNC_PF_DELIVERY_AS_INT,
    ASYNC_PF_ENABLED,
    area_gpa,
    decode_enable,
)
from pagewake.kvm.profile import Switches
from pagewake.simtime.state import Saved

PAGE_SHIFT: Final = 12
ASYNC_PF_PER_VCPU: Final = 64


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Work(Saved):
    """One page-in for one vcpu; `page`: it keeps the page, `told`: the guest was injected.

    `user`: user space brings the page, no worker; `lost`: who was to bring it has crashed, and
    nobody else knows of it.
    """

    __slots__ = ("cr3", "done", "gfn", "level", "lost", "page", "told", "token", "user")

    def __init__(self, token: Token, gfn: Gfn, level: int, cr3: str) -> None:
        self.token = token
        self.gfn = gfn
        self.level = level
        self.cr3 = cr3
        self.page = False
        self.done = False
        self.told = False
        self.user = False
        self.lost = False


@mypyc_attr(allow_interpreted_subclasses=True)
class AsyncPf(Saved):
    """`vcpu.async_pf` and `vcpu.arch.apf` of one vcpu.

    What begins again when, beside the work, which `completion.clear` withdraws in all three cases:

                                 reset, INIT    migration       MSR written without bit 0
        gfn_hash                 emptied        emptied         emptied
        msr_val                  0              rewritten       as written
        id                       goes on        0               goes on
        halt_requested           stays to 3.9   withdrawn       stays
        pageready_pending        stays          false           stays
        send_user_only,          stay           off, until      stay
        as_vmexit                               rewritten

    forget_msrs() of a restored one leaves out what no snapshot held.

    A reset keeps the vcpu's structures, in which tokens go on and a pending request stays; the
    flags are written with the MSR before anything reads them.  A migrated vcpu has new structures,
    and only MSRs are carried over.  `halted` is ended by the thread, which says why.

    `gpa` is where the host writes: wherever the MSR says, whether or not a kernel looks there.
    """

    __slots__ = (
        "area_ok",
        "as_vmexit",
        "done",
        "enabling_bits",
        "gfn_hash",
        "gpa",
        "halt_requested",
        "halt_why",
        "halted",
        "id",
        "int_vector",
        "msr_val",
        "pageready_pending",
        "queue",
        "queued",
        "send_user_only",
        "token_nonzero",
        "vcpu",
    )

    def __init__(self, vcpu: int, switches: Switches) -> None:
        multiplier = OLD_MULTIPLIER if switches.hash_multiplier == "old" else NEW_MULTIPLIER
        self.vcpu = vcpu
        self.msr_val = 0
        self.gpa = 0
        self.int_vector = 0
        self.id = 0
        self.send_user_only = False
        self.halted = False
        self.halt_requested = False
        self.halt_why: HaltWhy | None = None
        self.pageready_pending = False
        self.area_ok = True
        self.as_vmexit = False
        by_interrupt = switches.ready_by_interrupt
        self.token_nonzero = switches.token_nonzero
        self.enabling_bits = ASYNC_PF_ENABLED | by_interrupt * ASYNC_PF_DELIVERY_AS_INT
        self.queued = 0
        self.queue: dict[Token, Work] = {}
        self.done: list[Work | None] = []
        self.gfn_hash = GfnHash(multiplier, switches.probe_fixed)

    @property
    def enabled(self) -> bool:
        """MSR bit 0; from 5.8 together with bit 3."""
        return self.msr_val & self.enabling_bits == self.enabling_bits

    # ------------------------------------------------------------------ what begins again

    def reset(self) -> None:
        """The vcpu is reset, or brought up by INIT; see the table."""
        self.gfn_hash.reset()
        self._store(0)

    def restore(self) -> None:
        """The vcpu goes on in new structures, after migration; see the table."""
        self.gfn_hash.reset()
        self.id = 0
        self.halt_requested = False
        self.pageready_pending = False
        self.send_user_only = self.as_vmexit = False

    def forget_msrs(self) -> None:
        """The MSRs of a vcpu that is made anew."""
        self._store(0)
        self.int_vector = 0

    def write_enable(self, value: int, pages: int) -> bool:
        """Store the enable MSR, then look at its address; False if that is not memory."""
        self._store(value)
        if not self.enabled:
            self.gfn_hash.reset()
            return True
        self.area_ok = (value >> PAGE_SHIFT) < pages
        if self.area_ok:
            decoded = decode_enable(value)
            self.send_user_only = not decoded.send_always
            self.as_vmexit = decoded.as_vmexit
        return self.area_ok

    def _store(self, value: int) -> None:
        self.msr_val = value
        self.gpa = area_gpa(value)

    def write_vector(self, value: int) -> bool:
        """5.8: the vector of the page-ready interrupt; False if there is no such vector."""
        if value > 0xFF:
            return False
        self.int_vector = value
        return True

    # ------------------------------------------------------------------ halting

    def request_halt(self, why: HaltWhy) -> None:
        """KVM_REQ_APF_HALT: honoured at the top of the run loop."""
        self.halt_requested = True
        self.halt_why = why

    def halt(self) -> HaltWhy:
        """Honour the request; `stale` if what it was made for is gone."""
        self.halt_requested = False
        self.halted = True
        return self.halt_why or "stale" if self.queued else "stale"

    def unhalt(self) -> None:
        """The thread goes on; whoever calls says why, if it was halted."""
        self.halted = False

    # ------------------------------------------------------------------ tokens and work

    def next_token(self) -> Token:
        """Consume an id: token = (id << 12 | vcpu) mod 2^32 (semantics 1.3).

        From 5.17 (`token_nonzero`) an id whose 20 low bits are 0 is skipped on every vcpu: on vcpu
        0 it makes a token of 0, which in the slot of 5.8 means that the slot is free.
        """
        if self.token_nonzero and (self.id << 12) & U32 == 0:
            self.id = 1
        token = ((self.id << 12) | self.vcpu) & U32
        self.id = (self.id + 1) & U32
        return Token(token)

    def setup(
        self, token: Token, gfn: Gfn, level: int, can_allocate: Callable[[], bool], cr3: str = ""
    ) -> Work | Literal["limit", "no_memory"]:
        """A new work item, or why not (semantics 3.4)."""
        if self.queued >= ASYNC_PF_PER_VCPU:
            return "limit"
        if not can_allocate():
            return "no_memory"
        work = Work(token, gfn, level, cr3)
        self.queue[token] = work
        self.queued += 1
        return work

    def has_asked(self, gfn: Gfn) -> bool:
        """Whether user space has been asked for this page, and has not said that it is there."""
        return any(work.gfn == gfn for work in self.queue.values())

    def awaits(self, token: Token, gfn: Gfn) -> bool:
        """Whether the work of this token is still wanted; it may have been cancelled."""
        work = self.queue.get(token)
        return work is not None and not work.done and work.gfn == gfn

    def running(self) -> list[Token]:
        """Tokens whose workers have not ended, in order of start; user space's have none."""
        return [work.token for work in self.queue.values() if not (work.done or work.user)]

    def complete(self, token: Token, page: bool) -> None:
        """The worker of this token is done: its item joins the done list, perhaps with its page."""
        work = self.queue[token]
        work.page = page
        work.done = True
        self.done.append(work)

    def queue_broadcast(self) -> bool:
        """wakeup_all(): nothing is queued while completions wait (semantics 3.10)."""
        if self.done:
            return False
        self.done.append(None)
        self.queued += 1
        return True

    def take(self) -> Work | None:
        """Pop the head of `done`; None stands for the broadcast item."""
        work = self.done.pop(0)
        self.queued -= 1
        if work is not None:
            del self.queue[work.token]
        return work

    def clear(self) -> list[Work | None]:
        """clear_queue(): every item withdrawn, in order of start, then broadcasts."""
        items: list[Work | None] = list(self.queue.values())
        items += [None] * self.done.count(None)
        self.queue.clear()
        self.done.clear()
        self.queued = 0
        return items
