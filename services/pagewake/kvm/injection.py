"""What L0 writes into a guest: the reason word, exception 14, and 5.8's page-ready interrupt.

While the vcpu is in guest mode (L2 runs) the APF #PF first passes check_exception of L0's nested
SVM (semantics 4.7): it may become an owed #VMEXIT to L1, or land in L2 (gap G1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagewake.events import types as ev
from pagewake.events.ids import Token
from pagewake.events.types import (
    ExceptionDropped,
    ExceptionQueued,
    InterruptQueued,
    ProtocolFault,
    ReasonWritten,
)
from pagewake.kvm.msr import LOWEST_VECTOR
from pagewake.kvm.ports import IRQ_APF, IRQ_DEVICE, AreaPort, PendingException

if TYPE_CHECKING:
    from pagewake.kvm.thread import VcpuThread


def _area(vcpu: VcpuThread) -> AreaPort:
    return vcpu.guest.area_at(vcpu.apf.gpa)


def _area_writable(vcpu: VcpuThread) -> bool:
    if not vcpu.apf.area_ok:
        return False
    if vcpu.area_failures == 0:
        return True
    if vcpu.area_failures > 0:
        vcpu.area_failures -= 1
    return False


def write_reason(vcpu: VcpuThread, at_ns: int, reason: int) -> bool:
    """put_user of 4 bytes at offset 0 of the shared area; False if it fails."""
    vm = vcpu.vm
    ok = _area_writable(vcpu)
    if ok:
        area = _area(vcpu)
        area.reason = reason
        if area.foreign:
            _foreign_write(vcpu, at_ns, f"reason {reason}")
    vm.journal(ReasonWritten(at_ns, vm.name, vm.n, vcpu.id, reason, ok))
    return ok


def reason_of(vcpu: VcpuThread) -> int:
    """get_user of the reason word; 0 where it cannot be read."""
    return _area(vcpu).reason if vcpu.apf.area_ok else 0


def _foreign_write(vcpu: VcpuThread, at_ns: int, what: str) -> None:
    vcpu.note(ProtocolFault, at_ns, "foreign_write", f"{what} at {vcpu.apf.gpa:#x}")


def queue_exception(vcpu: VcpuThread, at_ns: int, token: Token, kind: ev.ApfKind) -> None:
    """Queue #PF with CR2 = token for the next entry; over another one it is #DF.

    No handler of a guest's survives that, be it L1's or, while L2 runs, L2's: the VM is over.
    """
    if vcpu.exc is not None:
        vcpu.vm.panic(at_ns, vcpu.id, "double_fault")
        return
    guest = vcpu.guest
    level = 1
    if guest.guest_mode:
        assert vcpu.nested is not None
        level = 1 if vcpu.nested.queue_exception(token) else guest.depth
    vcpu.exc = PendingException(token, kind, level)
    vm = vcpu.vm
    vm.journal(
        ExceptionQueued(
            at_ns,
            vm.name,
            vm.n,
            vcpu.id,
            token=token,
            kind=kind,
            level=level,
            cpl=guest.cpl,
            if_flag=guest.if_flag,
            gif=True,
            shadow=guest.shadow,
        )
    )


def drop_exception(vcpu: VcpuThread, at_ns: int, why: ev.DropWhy) -> None:
    """The queued exception is cleared before it reached the guest."""
    exc, vcpu.exc = vcpu.exc, None
    if exc is None:
        return
    if vcpu.nested is not None:
        vcpu.nested.drop_exception()
    vcpu.note(ExceptionDropped, at_ns, exc.token, exc.kind, why)


def token_slot_free(vcpu: VcpuThread) -> bool:
    """5.8: apf_pageready_slot_free(): the slot reads 0; False where it cannot be read."""
    return vcpu.apf.area_ok and _area(vcpu).token == 0


def raise_ready(vcpu: VcpuThread, at_ns: int, token: Token, kind: ev.ReadyKind) -> bool:
    """5.8: write the token slot and raise the vector; False if the slot cannot be written.

    On a vector that the guest does not expect it is an interrupt like any other.  A LAPIC that is
    off does not accept it, and one that is on never delivers a vector of the lowest priority class:
    either way the guest does not free the slot.
    """
    if not _area_writable(vcpu):
        return False
    area = _area(vcpu)
    area.token = token
    if area.foreign:
        _foreign_write(vcpu, at_ns, f"token {token:#x}")
    apf = vcpu.apf
    apf.pageready_pending = True
    lost = not vcpu.lapic_on or apf.int_vector < LOWEST_VECTOR
    if not lost:
        vcpu.irqs |= IRQ_APF if apf.int_vector == vcpu.guest.apf_vector else IRQ_DEVICE
    vcpu.note(InterruptQueued, at_ns, token, kind, lost)
    return True
