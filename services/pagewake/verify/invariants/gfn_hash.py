"""I2: a gfn is in a vcpu's hash exactly while an item for it is started and not presented.

So a double fault needs such an item, and no second item is started for the gfn (semantics 3.2, 3.5,
3.7, 3.8). Before 2.6.39 toggling CR0.PG clears the queue and leaves the hash: the stale gfns then
give phantom double faults until the MSR is disabled or the vcpu is reset (semantics 3.11).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from pagewake.events.types import (
    ApfCleared,
    ApfPresented,
    ApfStarted,
    DoubleFault,
    Event,
    KernelReplaced,
    MsrWritten,
    VcpuReset,
    VmMigrated,
    VmRestored,
)
from pagewake.verify.invariants.base import (
    BROADCAST_TOKEN,
    MSR_ASYNC_PF_EN,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules

LEFT_MAX = 256
"""Of a partial recording: so many gfns that were presented last are surely not held."""


class GfnHashMembership(Checker):
    """Double faults and starts against the derived content of each vcpu's gfn hash."""

    name = "I2"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._vcpus: dict[int, dict[int, int | None]] = {}
        self._left: dict[int, deque[int]] = {}

    def handlers(self) -> Mapping[type[Event], Handler]:
        return {
            ApfStarted: self._started,
            DoubleFault: self._double_fault,
            ApfPresented: self._presented,
            ApfCleared: self._cleared,
            MsrWritten: self._msr_written,
            VcpuReset: self._reset,
            VmMigrated: self._migrated,
            VmRestored: self._migrated,
            KernelReplaced: self._replaced,
        }

    def _hash(self, vcpu: int) -> dict[int, int | None]:
        """Gfns, and the token of each."""
        return self._vcpus.setdefault(vcpu, {})

    def _started(self, event: ApfStarted) -> None:
        held = event.gfn in self._hash(event.vcpu)
        if event.outcome in ("double_fault", "duplicate"):
            if not held:
                self._phantom(event, event.gfn)
            return
        if event.outcome == "limit" and self.rules.user_apf != "none":
            return  # looked at before the page is
        if held:
            self.fail(event, f"gfn {event.gfn:#x} is in the hash, yet this was no double fault")
        if event.outcome == "queued":
            self._hash(event.vcpu)[event.gfn] = event.token

    def _double_fault(self, event: DoubleFault) -> None:
        if event.gfn not in self._hash(event.vcpu):
            self._phantom(event, event.gfn)

    def _phantom(self, event: ApfStarted | DoubleFault, gfn: int) -> None:
        if self.rules.partial and gfn not in self._left.get(event.vcpu, ()):
            self._hash(event.vcpu)[gfn] = None  # its item was started before the recording was
            return
        self.fail(event, f"double fault on gfn {gfn:#x}, which no outstanding item holds")

    def _presented(self, event: ApfPresented) -> None:
        if event.gfn is None or event.token == BROADCAST_TOKEN:
            return
        held = self._hash(event.vcpu)
        if event.gfn not in held:
            if not self._before_recording(event):
                self.fail(event, f"presented gfn {event.gfn:#x} is not in the hash")
            return
        token = held.pop(event.gfn)
        if not self.rules.partial:
            return
        self._left.setdefault(event.vcpu, deque(maxlen=LEFT_MAX)).append(event.gfn)
        if token is not None and token != event.token:
            self.fail(
                event,
                f"presented gfn {event.gfn:#x} as {token_name(event.token)}, but it is "
                f"{token_name(token)}",
            )

    def _before_recording(self, event: ApfPresented) -> bool:
        """Whether a recording does not show the start: `I1` says whether that can be."""
        return self.rules.partial and event.token not in self._hash(event.vcpu).values()

    def _cleared(self, event: ApfCleared) -> None:
        if event.why != "cr0-pg" or self.rules.pg_resets_hash:
            self._hash(event.vcpu).clear()

    def _msr_written(self, event: MsrWritten) -> None:
        if event.msr == MSR_ASYNC_PF_EN and event.stored and not event.value & 1:
            self._hash(event.vcpu).clear()

    def _reset(self, event: VcpuReset) -> None:
        self._hash(event.vcpu).clear()

    def _replaced(self, event: KernelReplaced) -> None:
        kept = self._hash(0) if event.how != "hibernate" else {}
        self._vcpus = {0: kept}

    def _migrated(self, event: VmMigrated | VmRestored) -> None:
        self._vcpus.clear()
