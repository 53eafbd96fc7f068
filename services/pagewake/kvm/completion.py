"""Completions at L0: the worker's end, check_completion, present, the MSR, clearing.

Semantics 3.6 (worker), 3.7 (completion), 3.10 (enabling, broadcast, disabling), 3.11 (clearing);
semantics 6 for 5.8's page-ready by interrupt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    BroadcastLost,
    BroadcastQueued,
    MsrWritten,
    VcpuResumed,
    WorkerCompleted,
)
from pagewake.kvm import injection
from pagewake.kvm.abi import BROADCAST_TOKEN, REASON_NOT_PRESENT, REASON_READY
from pagewake.kvm.async_pf import Work
from pagewake.kvm.msr import (
    MSR_KVM_ASYNC_PF_ACK,
    MSR_KVM_ASYNC_PF_EN,
    MSR_KVM_ASYNC_PF_INT,
    reserved_bits,
)
from pagewake.kvm.page_table import PRESENT
from pagewake.kvm.thread import Clearing

if TYPE_CHECKING:
    from pagewake.kvm.thread import VcpuThread


def worker_done(vcpu: VcpuThread, at_ns: int, gfn: Gfn, token: Token) -> None:
    """The work item joins `done`; a blocked vcpu wakes.

    A running one is kicked from 5.8 on (`completion_kicks`), unless other completions wait already
    or a READY is not acknowledged: then the acknowledgement looks for completions.
    """
    vm = vcpu.vm
    if vm.switches.worker_writes and vm.gup_failures == 0:
        vm.pages.dirty[gfn] = 1
    if not vcpu.apf.awaits(token, gfn):
        vm.pages.release(gfn)
        return
    page = vm.gup_failures == 0
    if vm.gup_failures > 0:
        vm.gup_failures -= 1
    first = not vcpu.apf.done
    kept = page and vm.switches.worker_pins
    vcpu.apf.complete(token, kept)
    if not kept:
        vm.pages.release(gfn)
    vm.journal(WorkerCompleted(at_ns, vm.name, vm.n, vcpu.id, gfn=gfn, token=token, page=page))
    if vm.switches.completion_kicks and first and not vcpu.apf.pageready_pending:
        vcpu.kick(at_ns)
    else:
        vcpu.poke(at_ns)


def check(vcpu: VcpuThread, at_ns: int) -> int:
    """check_completion(): present what may be presented now, up to one that is `lost`; in ns."""
    apf = vcpu.apf
    switches = vcpu.vm.switches
    cost_ns = 0
    while apf.done and _can_inject_present(vcpu):
        if not switches.worker_pins and _is_lost(vcpu, apf.done[0]):
            break
        cost_ns += _present(vcpu, at_ns, apf.take())
        if not switches.present_all:
            break
    return cost_ns


def lost(vcpu: VcpuThread) -> Work | None:
    """The completion that is due, if the prefault will not find its page in memory.

    Only where workers pin none (3.13).
    """
    work = vcpu.apf.done[0] if presentable(vcpu) else None
    return work if _is_lost(vcpu, work) else None


def _is_lost(vcpu: VcpuThread, work: Work | None) -> bool:
    """A page that user space brings is not waited for ahead."""
    vm = vcpu.vm
    if work is None or vm.is_present(work.gfn) or vm.handler is not None:
        return False
    return _same_mmu(vcpu, work)


def presentable(vcpu: VcpuThread) -> bool:
    """Whether check() would take something."""
    return bool(vcpu.apf.done) and _can_inject_present(vcpu)


def ends_hlt(vcpu: VcpuThread) -> bool:
    """Whether a completion that waits makes a vcpu runnable that its guest has halted."""
    return bool(vcpu.apf.done) and (vcpu.vm.switches.held_back_wakes or _can_inject_present(vcpu))


def guest_mode_allows(vcpu: VcpuThread) -> bool:
    """4.12 forbids APF while a nested guest runs, 4.13 lets L1 opt in."""
    return vcpu.vm.switches.apf_in_guest_mode or vcpu.apf.as_vmexit


def _can_inject_present(vcpu: VcpuThread) -> bool:
    if not vcpu.apf.enabled:
        return True
    switches = vcpu.vm.switches
    if switches.ready_by_interrupt:
        heard = vcpu.lapic_on or not switches.ready_needs_lapic
        return heard and injection.token_slot_free(vcpu)
    if vcpu.guest.guest_mode and not guest_mode_allows(vcpu):
        return False
    blocked = vcpu.exc is not None and vcpu.vm.switches.pending_blocks_apf
    return not blocked and vcpu.interrupt_allowed()


def _present(vcpu: VcpuThread, at_ns: int, work: Work | None) -> int:
    """ready() and present() for one item."""
    prefaulted = False
    token: Token = BROADCAST_TOKEN
    gfn: Gfn | None = None
    if work is not None:
        token, gfn = work.token, work.gfn
        prefaulted = _prefault(vcpu, work)
        vcpu.apf.gfn_hash.delete(gfn)
    written = _notify(vcpu, at_ns, work, token, gfn, prefaulted)
    switches = vcpu.vm.switches
    was_halted = vcpu.apf.halted
    if switches.present_unhalts:
        vcpu.apf.unhalt()
    if switches.present_makes_runnable and vcpu.mp_halted:
        vcpu.mp_halted = False
        was_halted = True
    if was_halted and not (vcpu.apf.halted or vcpu.mp_halted):
        vcpu.note(VcpuResumed, at_ns, "completion")
    return vcpu.vm.costs.fault_ns if prefaulted or written else 0


def _prefault(vcpu: VcpuThread, work: Work) -> bool:
    """ready(): retry the fault before entry, if the MMU is the same.

    While workers pin pages, only if this one got its page; what is `lost` is back by now.
    """
    vm = vcpu.vm
    if work.page:
        vm.pages.release(work.gfn)
    elif vm.switches.worker_pins:
        return False
    if not _same_mmu(vcpu, work):
        return False
    if vm.pages.state[work.gfn] == PRESENT:
        vm.map_page(work.gfn)
        return True
    return False


def _notify(
    vcpu: VcpuThread,
    at_ns: int,
    work: Work | None,
    token: Token,
    gfn: Gfn | None,
    prefaulted: bool,
) -> bool:
    """Write the reason and queue READY, if the MSR is on and the profile says that it is due."""
    vm = vcpu.vm
    kind: ev.ReadyKind = "broadcast" if work is None else "ready"
    due = work is None or work.told or not vm.switches.ready_needs_not_present
    why: ev.SilentWhy | None = None if vcpu.apf.enabled and due else "msr_off" if due else "not_due"
    written = False
    if why is None:
        if _cancels(vcpu, at_ns, work):
            why = "cancelled"
        else:
            written = _deliver(vcpu, at_ns, token, kind)
            why = None if written else "write_failed"
    delivery: ev.ReadyDelivery = (
        "silent" if not written else "broadcast" if work is None else "token"
    )
    vm.journal(
        ApfPresented(
            at_ns,
            vm.name,
            vm.n,
            vcpu.id,
            delivery=delivery,
            token=token,
            gfn=gfn,
            prefaulted=prefaulted,
            reason_written=written,
            why=why,
        )
    )
    if why is not None and (work is None or work.told):
        vm.never_ready(why)
    if written and not vm.switches.ready_by_interrupt:
        injection.queue_exception(vcpu, at_ns, token, kind)
    return written


def _cancels(vcpu: VcpuThread, at_ns: int, work: Work | None) -> bool:
    """4.14: READY finds a NOT_PRESENT that waits for entry; both are gone, whatever its token.

    It is part of queueing READY as an exception, so a READY by interrupt cancels nothing.
    """
    exc = vcpu.exc
    switches = vcpu.vm.switches
    if exc is None or switches.ready_by_interrupt or not switches.ready_cancels_not_present:
        return False
    if injection.reason_of(vcpu) != REASON_NOT_PRESENT:
        return False
    if not injection.write_reason(vcpu, at_ns, 0):
        return False
    injection.drop_exception(vcpu, at_ns, "ready")
    of_exc = vcpu.apf.queue.get(exc.token, work)
    if of_exc is not None and of_exc.token == exc.token:
        of_exc.told = False
    return True


def _same_mmu(vcpu: VcpuThread, work: Work) -> bool:
    """direct_map and, where the table shadows one of a guest, cr3 are what they were at setup."""
    if vcpu.nested is not None and not vcpu.nested.same_mmu(work.level):
        return False
    config = vcpu.vm.config.nested
    direct_map = config is None or (config.npt and (work.level == 1 or not config.l1_npt))
    if direct_map:
        return True
    return vcpu.vm.switches.prefault == "same_mmu" and work.cr3 == vcpu.guest.cr3


def _deliver(vcpu: VcpuThread, at_ns: int, token: Token, kind: ev.ReadyKind) -> bool:
    if vcpu.vm.switches.ready_by_interrupt:
        return injection.raise_ready(vcpu, at_ns, token, kind)
    return injection.write_reason(vcpu, at_ns, REASON_READY)


# ---------------------------------------------------------------------- MSR and clearing


def write_msr(vcpu: VcpuThread, at_ns: int, msr: int, value: int, by: ev.Side) -> bool:
    """Write one of KVM's APF MSRs; False is #GP."""
    if msr == MSR_KVM_ASYNC_PF_EN:
        ok, stored = _write_enable(vcpu, value)
        off = stored and not vcpu.apf.enabled
        if off and not withdraw(vcpu, at_ns, Clearing("msr-disable", value, by)):
            return ok  # it is written down when the write is over
    elif msr == MSR_KVM_ASYNC_PF_INT and vcpu.vm.switches.ready_by_interrupt:
        ok = stored = vcpu.vm.config.irqchip and vcpu.apf.write_vector(value)
    elif msr == MSR_KVM_ASYNC_PF_ACK and vcpu.vm.switches.ready_by_interrupt:
        ok, stored = True, False
        if value & 1:
            vcpu.apf.pageready_pending = False
    else:
        ok = stored = False
    vcpu.note(MsrWritten, at_ns, msr, value, ok, stored, by)
    if ok and msr == MSR_KVM_ASYNC_PF_EN and vcpu.apf.enabled:
        _wakeup_all(vcpu, at_ns)
    return ok


def _wakeup_all(vcpu: VcpuThread, at_ns: int) -> None:
    """Queue a broadcast, unless completions wait; -ENOMEM for its item is ignored by the caller."""
    vm = vcpu.vm
    if vcpu.apf.done:
        return
    if vm.switches.broadcast_needs_memory and not vm.can_allocate():
        vcpu.note(BroadcastLost, at_ns)
    elif vcpu.apf.queue_broadcast():
        vcpu.note(BroadcastQueued, at_ns)


def _write_enable(vcpu: VcpuThread, value: int) -> tuple[bool, bool]:
    """(accepted, msr_val changed): the value is stored before its address is looked at."""
    apf = vcpu.apf
    vm = vcpu.vm
    if reserved_bits(value, vm.switches.msr_reserved):
        return False, False
    needs_lapic = vm.switches.enable_needs_lapic
    if not vm.config.irqchip and (needs_lapic == "always" or (value and needs_lapic == "nonzero")):
        return False, False
    return apf.write_enable(value, vm.config.pages), True


def lapic_switched(vcpu: VcpuThread, at_ns: int, on: bool) -> None:
    """A write to the LAPIC is an exit; one that is on again looks for READYs (5.13)."""
    vcpu.lapic_on = on
    if not on:
        vcpu.disarm_timer()
    vcpu.kick(at_ns)


def withdraw(vcpu: VcpuThread, at_ns: int, clearing: Clearing) -> bool:
    """clear_queue() and what goes with it, now or once the workers that run have ended.

    False: later; then `Vcpu.cleared` is where the thread goes on.
    """
    if vcpu.clearings or vcpu.clear_waits():
        vcpu.await_workers(at_ns, clearing)
        return False
    end_clear(vcpu, at_ns, clearing)
    return True


def end_clear(vcpu: VcpuThread, at_ns: int, clearing: Clearing) -> None:
    """The queue is emptied; what a reset and CR0.PG do besides."""
    clear(vcpu, at_ns, clearing.why)
    if clearing.why == "reset":
        vcpu.apf.reset()
        if vcpu.vm.switches.init_behind_halt:
            vcpu.apf.halt_requested = False
    elif clearing.why == "cr0-pg" and vcpu.vm.switches.pg_resets_hash:
        vcpu.apf.gfn_hash.reset()


def clear(vcpu: VcpuThread, at_ns: int, why: ev.ClearWhy) -> None:
    """Outstanding items withdrawn; of those whose workers run, the I/O goes on."""
    vm = vcpu.vm
    items = vcpu.apf.clear()
    if not items:
        return
    tokens: list[int] = []
    for work in items:
        tokens.append(BROADCAST_TOKEN if work is None else work.token)
        if work is None or work.told:
            vm.never_ready(why)
        if work is None:
            continue
        if work.done:
            if work.page:
                vm.pages.release(work.gfn)
            continue
        flight = vm.in_flight.get(work.gfn)
        if flight is not None:
            flight.withdraw((vcpu.id, work.token))
    vm.tell(ApfCleared, at_ns, vcpu.id, vm.epoch, tokens, why)


def paging_toggled(vcpu: VcpuThread, at_ns: int, on: bool, smm_until_ns: int = 0) -> bool:
    """CR0.PG changed (semantics 3.11): before 2.6.39 the gfn hash keeps its stale entries.

    From 6.19 (`pg_clears_queue` is false) nothing is withdrawn, and a vcpu whose paging comes back
    looks for READYs once more.  False: the queue is not empty yet, see `withdraw`.
    """
    if not vcpu.vm.switches.pg_clears_queue:
        if on and vcpu.apf.enabled and vcpu.apf.done:
            vcpu.kick(at_ns)
        return True
    return withdraw(vcpu, at_ns, Clearing("cr0-pg", until_ns=smm_until_ns))
