"""A nested page fault at L0: try_async_pf, setup, inject or halt (semantics 3.1 to 3.5).

`handle` returns the CPU time of handle_exit beyond the exit itself, or None when the vcpu thread
must wait for the page itself.  What decides is the state of the gfn:

    MAPPED     another vcpu was faster                       re-enter
    PRESENT    in host memory                                 minor fault
    UNTOUCHED  frames from the stock, or a synchronous wait   never asynchronous
    ABSENT     in swap or at a source: asynchronous if gup, vcpu and medium allow it
    IN_FLIGHT  as ABSENT, but joined: its own token, no device request

From 4.13 to 6.5 a page that is read without neighbours is waited for in the submission (`poll`).

Where user space brings the pages of the VM, the last two are its to answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    ApfStarted,
    DoubleFault,
    FrameAwaited,
    PageNotPresent,
    PageRequested,
    ProtocolFault,
    UserFault,
)
from pagewake.kvm import injection
from pagewake.kvm.abi import REASON_NOT_PRESENT
from pagewake.kvm.async_pf import ASYNC_PF_PER_VCPU, Work
from pagewake.kvm.completion import guest_mode_allows
from pagewake.kvm.gfn_hash import SLOTS
from pagewake.kvm.page_table import ABSENT, IN_FLIGHT, MAPPED, PRESENT, UNTOUCHED
from pagewake.kvm.ports import OP_RESOLVED, OP_SUBMITTED, FaultContext
from pagewake.kvm.thread import Unfinished
from pagewake.kvm.userfault import Handler, Request

if TYPE_CHECKING:
    from pagewake.kvm.thread import VcpuThread
    from pagewake.kvm.vm import Ahead

Window: TypeAlias = Sequence[int]
"""Pages that are read with one fault, in their order."""


def handle(vcpu: VcpuThread, at_ns: int, context: FaultContext, polls: bool = False) -> int | None:
    """Serve the fault; CPU time in ns, or None for a blackout.

    `polls`: its page was read alone, and is waited for (`swap_poll`).
    """
    vm = vcpu.vm
    state = vm.pages.state[context.gfn]
    if state == MAPPED:
        return 0
    if vm.read_ahead is not None and vm.in_swap_cache(context.gfn):
        vm.read_ahead.found(context.gfn)
    if state == PRESENT:
        vm.map_page(context.gfn)
        return vm.costs.fault_ns
    if state == UNTOUCHED:
        if vm.huge_touch(at_ns, context.gfn):
            return vm.costs.huge_touch_ns
        if vm.first_touch(at_ns, context.gfn):
            return vm.costs.first_touch_ns
        return _wait(vcpu, at_ns, context, "stock", fresh=True)
    if state == ABSENT and (vm.synchronous or vm.areas is not None):
        load_ns = vm.load_ns(context.gfn)
        if load_ns:
            return _synchronous_medium(vcpu, at_ns, context, load_ns)
    return _try_async(vcpu, at_ns, context, state == IN_FLIGHT, polls)


def read_again(vcpu: VcpuThread, at_ns: int, work: Work) -> int | None:
    """The prefault of a page that is gone again: never asynchronous (semantics 3.6); as `handle`.

    By now the page may be back, or on its way for somebody else.
    """
    vm = vcpu.vm
    context = FaultContext(work.gfn, False, vcpu.guest.cpl, work.level, None)
    absent = vm.pages.state[work.gfn] == ABSENT
    if absent and (load_ns := vm.load_ns(work.gfn)):
        return _synchronous_medium(vcpu, at_ns, context, load_ns)
    window = vm.window(work.gfn) if absent else []
    return _wait(vcpu, at_ns, context, "prefault", vm.with_frame(window, work.gfn))


def _synchronous_medium(
    vcpu: VcpuThread, at_ns: int, context: FaultContext, load_ns: int
) -> int | None:
    """Complete in submission (zram, zswap): served here at its cost, out of the stock."""
    vm = vcpu.vm
    if not vm.stock:
        return _wait(vcpu, at_ns, context, "medium")
    area = 0 if vm.areas is None else vm.areas.of(context.gfn)
    no_copy = vm.areas is not None and vm.areas.leaves_dirty(area)
    _say(vcpu, at_ns, context, "synchronous", why="medium", served=True, area=area)
    vm.map_page(context.gfn)
    vm.pages.dirty[context.gfn] = 1 if vm.switches.sync_writes or no_copy else 0
    vm.use_stock(at_ns)
    return vm.costs.fault_ns + load_ns


def _try_async(
    vcpu: VcpuThread, at_ns: int, context: FaultContext, joined: bool, polls: bool
) -> int | None:
    vm = vcpu.vm
    apf = vcpu.apf
    if vm.handler is not None and context.gfn not in vm.in_flight:
        return _ask_user_space(vcpu, at_ns, context, vm.handler)
    if not joined and (vm.room <= 0 or vm.host_short) and _reclaims(vcpu, at_ns, context):
        return None
    window: Window = ()
    if vm.read_ahead is not None and not joined and (window := vm.window(context.gfn)):
        polls = polls or vm.polls_for_it()
        costs = vm.costs
        if costs.read_request_ns or costs.read_page_ns or len(window) > max(1, vm.room):
            return _read(vcpu, at_ns, Unfinished(vcpu.id, context, tuple(window), polls))
    why = _forbidden(vcpu, at_ns, context)
    if why is None and polls:
        why = "poll"
    if why is not None:
        return _wait(vcpu, at_ns, context, why, window)
    if apf.gfn_hash.find(context.gfn):
        _started(vcpu, at_ns, context.gfn, "double_fault", None)
        vcpu.note(DoubleFault, at_ns, context.gfn)
        apf.request_halt("double_fault")
        return vm.costs.fault_ns
    token = apf.next_token()
    work = apf.setup(token, context.gfn, context.level, vm.can_allocate, vcpu.guest.cr3)
    if isinstance(work, str):
        _started(vcpu, at_ns, context.gfn, work, token)
        return _wait(vcpu, at_ns, context, work, window)
    _started(vcpu, at_ns, context.gfn, "queued", token)
    if vm.cpus is not None:
        vcpu.looks[token] = None
    ahead = vm.wait_for(context.gfn, vcpu.id, token, fresh=False, window=window)
    if len(apf.gfn_hash) == SLOTS:
        _spins_for_ever(vcpu, at_ns, context, token, ahead)
        return None
    _not_present(vcpu, at_ns, context, work, ahead)
    return vm.costs.fault_ns


def _reclaims(vcpu: VcpuThread, at_ns: int, context: FaultContext) -> bool:
    """Whether the thread has to see to a frame first: for its VM's limit (5.8), or its host."""
    vm = vcpu.vm
    limit = vm.room <= 0 and vm.switches.reclaim == "fault"
    if not (limit or vm.host_short) or vm.pages.waits_for_user_space(context.gfn):
        return False
    if limit:
        _reclaim(vcpu, at_ns, Unfinished(vcpu.id, context))
        return True
    if vm.must_reclaim():
        _reclaim_for_host(vcpu, at_ns, Unfinished(vcpu.id, context))
        return True
    return False


def _reclaim_for_host(vcpu: VcpuThread, at_ns: int, waiting: Unfinished) -> None:
    """The host is below its min watermark, and the allocation reclaims (2.6.39).

    Once for a window: what one such reclaim frees lasts for it.
    """
    vm = vcpu.vm
    vm.reclaiming.append(waiting)
    vm.tell(FrameAwaited, at_ns, vcpu.id, waiting.gfn, host=True)


def _reclaim(vcpu: VcpuThread, at_ns: int, waiting: Unfinished) -> None:
    """The VM is at its limit: no frame to read into, and this thread sees to one (5.8)."""
    vm = vcpu.vm
    vcpu.works = True
    vm.short.append(waiting)
    vm.tell(FrameAwaited, at_ns, vcpu.id, waiting.gfn)


def _read(vcpu: VcpuThread, at_ns: int, waiting: Unfinished) -> int | None:
    """As many of the pages that are `late` as there are frames for are read, its own before all.

    All of that, and reclaim for the others, comes before the attempt looks whether its page is
    locked (swapin_readahead() in do_swap_page()): if it is in by then, the fault is over, and was
    synchronous.
    """
    vm = vcpu.vm
    assert vm.read_ahead is not None
    first = vm.with_frame(list(waiting.late), waiting.gfn)
    waiting.late = tuple([gfn for gfn in waiting.late if gfn not in first])
    for near in first:
        vm.read_unasked(Gfn(near))
    requests = vm.read_ahead.requests(first)
    pages_ns = len(first) * vm.costs.read_page_ns
    plugged_ns = pages_ns if vm.switches.swap_plug else 0
    vm.tell(
        PageRequested, at_ns, vcpu.id, waiting.gfn, vm.epoch, ahead=requests, plugged_ns=plugged_ns
    )
    cost_ns = len(requests) * vm.costs.read_request_ns + pages_ns
    if not cost_ns:
        return look(vcpu, at_ns, waiting)
    vcpu.works = True
    vm.push(at_ns + cost_ns, vcpu.id, vcpu.gen, OP_SUBMITTED, waiting)
    return None


def look(vcpu: VcpuThread, at_ns: int, waiting: Unfinished) -> int | None:
    """What there were frames for is submitted; for others it reclaims, else looks; as `handle`."""
    if waiting.late:
        _reclaim(vcpu, at_ns, waiting)
        return None
    return handle(vcpu, at_ns, waiting.context, waiting.polls)


def go_on(vcpu: VcpuThread, at_ns: int, waiting: Unfinished) -> int | None:
    """There may be a frame for what the thread waits with; as `handle`."""
    vm = vcpu.vm
    waiting.late = tuple([gfn for gfn in waiting.late if vm.pages.state[gfn] == ABSENT])
    if waiting.late and vm.room > 0:
        return _read(vcpu, at_ns, waiting)
    return look(vcpu, at_ns, waiting)


def _ask_user_space(
    vcpu: VcpuThread, at_ns: int, context: FaultContext, handler: Handler
) -> int | None:
    """A page that user space brings: told in the ring, in an exit, or waited for there (6.1)."""
    vm, apf, gfn = vcpu.vm, vcpu.apf, context.gfn
    why = _forbidden(vcpu, at_ns, context)
    if why is None and vm.switches.user_apf == "none":
        why = "user_space"
    if why is not None:
        return _wait_for_user_space(vcpu, at_ns, context, why, handler)
    token = apf.next_token()  # before it is known whether it will be used
    if apf.queued < ASYNC_PF_PER_VCPU and apf.has_asked(gfn):
        _started(vcpu, at_ns, gfn, "duplicate", token)
        vcpu.note(DoubleFault, at_ns, gfn)
        apf.request_halt("double_fault")
        return vm.costs.fault_ns
    ring = vm.switches.user_apf == "ring"
    work = apf.setup(token, gfn, context.level, lambda: ring or vm.can_allocate(), vcpu.guest.cr3)
    if isinstance(work, str):
        _started(vcpu, at_ns, gfn, work, token)
        return _wait_for_user_space(vcpu, at_ns, context, work, handler)
    work.user = True
    _started(vcpu, at_ns, gfn, "queued", token)
    if len(apf.gfn_hash) == SLOTS:
        _spins_for_ever(vcpu, at_ns, context, token, ())
        return None
    ring = ring and handler.has_room(vcpu.id)
    accepted = ring or not handler.resolves(gfn)
    signalled = ring and handler.signal()
    vcpu.note(UserFault, at_ns, gfn, token, ring, accepted, signalled)
    _not_present(vcpu, at_ns, context, work, (), user=True)
    request = Request(vcpu.id, gfn, token, vm.epoch, ring)
    if accepted:
        handler.hear(at_ns, request)
        cost_ns = handler.costs.signal_ns * signalled if ring else handler.costs.exit_ns
        return vm.costs.fault_ns + cost_ns
    handler.ask(at_ns, request, joined=False, served=True)
    handler.fetching[gfn] = []
    back_ns = at_ns + vm.costs.fault_ns + handler.costs.exit_ns + handler.costs.copy_ns
    vm.push(back_ns, vcpu.id, vcpu.gen, OP_RESOLVED, (gfn, token, vm.epoch))
    return None


def _wait_for_user_space(
    vcpu: VcpuThread, at_ns: int, context: FaultContext, why: ev.SyncWhy, handler: Handler
) -> int | None:
    """The vcpu thread leaves for user space and waits there: no instruction until it is back."""
    _say(vcpu, at_ns, context, "synchronous", why=why, user=True)
    handler.hear(at_ns, Request(vcpu.id, context.gfn, None, vcpu.vm.epoch, ring=False))
    vcpu.stall_ns += handler.costs.exit_ns
    return None


def _spins_for_ever(
    vcpu: VcpuThread, at_ns: int, context: FaultContext, token: Token, ahead: Ahead | None
) -> None:
    """64 stale gfns (CR0.PG, before 2.6.39): the insertion finds no free slot and never ends."""
    _say(vcpu, at_ns, context, "untold", token, why="gfn_hash_full", ahead=ahead)
    vcpu.note(ProtocolFault, at_ns, "gfn_hash_full", "the vcpu thread spins in add")


def _forbidden(vcpu: VcpuThread, at_ns: int, context: FaultContext) -> ev.SyncWhy | None:
    """Why this fault cannot be asynchronous: `gup` era, or can_do_async_pf()."""
    vm = vcpu.vm
    switches = vm.switches
    if vm.config.apf == "off":
        return "off"
    if switches.gup == "v2638_sync":
        return "gup"
    flight = vm.in_flight.get(context.gfn)
    if flight is not None and flight.fresh:
        return "first_touch"
    if not vm.config.irqchip:
        return "irqchip"
    if vcpu.exc is not None and switches.pending_blocks_apf:
        return "reinjection"
    if not vm.config.hlt_exits and switches.untold_halts and _must_halt(vcpu, at_ns, context):
        return "no_hlt_exits"
    guest = vcpu.guest
    if guest.guest_mode and not _may_start_in_guest_mode(vcpu):
        return "guest_mode"
    if not vcpu.interrupt_allowed():
        return "guest_mode" if guest.guest_mode else "interrupts_off"
    return None


def _may_start_in_guest_mode(vcpu: VcpuThread) -> bool:
    """4.12 forbade it, 4.13 lets L1 opt in; 5.3 starts it anyway and halts if L1 did not."""
    return guest_mode_allows(vcpu) or vcpu.vm.switches.untold_halts


def _not_present(
    vcpu: VcpuThread,
    at_ns: int,
    context: FaultContext,
    work: Work,
    ahead: Ahead | None,
    user: bool = False,
) -> None:
    """Tell the guest, or halt it, or neither (semantics 3.5)."""
    apf = vcpu.apf
    apf.gfn_hash.add(context.gfn)
    halt = _must_halt(vcpu, at_ns, context)
    if halt is not None:
        apf.request_halt(halt)
        _say(vcpu, at_ns, context, "halted", work.token, why=halt, ahead=ahead, user=user)
    elif injection.write_reason(vcpu, at_ns, REASON_NOT_PRESENT):
        work.told = True
        _say(vcpu, at_ns, context, "injected", work.token, ahead=ahead, user=user)
        injection.queue_exception(vcpu, at_ns, work.token, "not_present")
    else:
        if vcpu.vm.switches.untold_halts:
            apf.request_halt("write_failed")
        _say(vcpu, at_ns, context, "untold", work.token, ahead=ahead, user=user)


def _must_halt(vcpu: VcpuThread, at_ns: int, context: FaultContext) -> ev.HaltRule | None:
    switches = vcpu.vm.switches
    apf = vcpu.apf
    if not apf.enabled:
        return "apf_off"
    if vcpu.guest.guest_mode:
        if not guest_mode_allows(vcpu):
            return "nested"
    elif switches.paging_required and at_ns < vcpu.unpaged_until_ns:
        return "no_paging"
    # save-area CPL: L2's while L2 runs (gap G6); L1 executes VMRUN at CPL 0
    cpl = context.cpl if context.level == 1 or switches.gap_g6 else 0
    if not (apf.send_user_only or switches.host_kernel_rule == "halt"):
        return None
    if vcpu.vm.config.protected:
        return "protected"
    return "kernel_mode" if cpl == 0 else None


def _started(
    vcpu: VcpuThread, at_ns: int, gfn: Gfn, outcome: ev.ApfOutcome, token: Token | None
) -> None:
    vm = vcpu.vm
    vm.journal(ApfStarted(at_ns, vm.name, vm.n, vcpu.id, gfn, outcome, token))


def _wait(
    vcpu: VcpuThread,
    at_ns: int,
    context: FaultContext,
    why: ev.SyncWhy | Literal["stock"],
    window: Window = (),
    fresh: bool = False,
) -> int | None:
    """The vcpu thread itself waits: no instruction, no interrupt until the page is in."""
    ahead = vcpu.vm.wait_for(context.gfn, vcpu.id, None, fresh, window)
    _say(vcpu, at_ns, context, "synchronous", why=why, ahead=ahead, first_touch=fresh)
    return None


def _say(
    vcpu: VcpuThread,
    at_ns: int,
    context: FaultContext,
    delivery: ev.Delivery,
    token: Token | None = None,
    why: ev.NotPresentWhy | None = None,
    ahead: Ahead | None = (),
    served: bool = False,
    first_touch: bool = False,
    user: bool = False,
    area: int = 0,
) -> None:
    """`ahead` None: the page is in flight already."""
    vm = vcpu.vm
    vm.report(
        PageNotPresent(
            at_ns,
            vm.name,
            vm.n,
            vcpu.id,
            context.gfn,
            "write" if context.write else "read",
            context.cpl,
            context.level,
            vm.epoch,
            delivery,
            token,
            why,  # of more names than follow CPython would make a dict
            joined=ahead is None,
            served=served,
            first_touch=first_touch,
            task=context.task,
            user=user,
            ahead=ahead or (),
            area=area,
        )
    )
