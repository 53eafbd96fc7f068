"""I4: nothing is queued for a guest that may not be interrupted.

Not with IF = 0, GIF = 0, in an interrupt shadow, or while anything is being re-injected (semantics
3.2, 3.7). A not-present at cpl 0 also needs SEND_ALWAYS in the vcpu's MSR (semantics 3.5), and a
guest without the MSR enabled is told nothing at all.  A recording may begin after the MSR was
written: then it is taken to be enabled, and SEND_ALWAYS to be off in guests that have READY by
interrupt, for those would panic.
"""

from __future__ import annotations

from collections.abc import Mapping

from pagewake.events.types import (
    Event,
    ExceptionQueued,
    InterruptQueued,
    KernelReplaced,
    MsrWritten,
    VcpuReset,
    VmRestored,
)
from pagewake.verify.invariants.base import (
    MSR_ASYNC_PF_EN,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules

ENABLED, SEND_ALWAYS = 1, 2


class InjectionAllowed(Checker):
    """Every injection was legal at its instant."""

    name = "I4"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self._enabled: dict[int, bool] = {}
        self._send_always: dict[int, bool] = {}
        self._unknown = rules.partial and not rules.ready_by_interrupt

    def handlers(self) -> Mapping[type[Event], Handler]:
        return {
            ExceptionQueued: self._queued,
            InterruptQueued: self._interrupt,
            MsrWritten: self._msr_written,
            VcpuReset: self._reset,
            VmRestored: self._restored,
            KernelReplaced: self._replaced,
        }

    def _queued(self, event: ExceptionQueued) -> None:
        against = [
            text
            for wrong, text in (
                (event.if_flag is False, "with IF=0"),
                (event.gif is False, "with GIF=0"),
                (event.shadow, "in an interrupt shadow"),
                (event.reinjecting, "during a re-injection"),
            )
            if wrong
        ]
        if against:
            what = f"{event.kind} {token_name(event.token)}"
            self.fail(event, f"{what} queued {' and '.join(against)}")
        self._needs_msr(event)
        if event.kind == "not_present" and event.cpl == 0 and not self._kernel_may(event.vcpu):
            self.fail(event, f"{token_name(event.token)} queued at cpl 0 without SEND_ALWAYS")

    def _kernel_may(self, vcpu: int) -> bool:
        return self.rules.kernel_mode_sends and self._send_always.get(vcpu, self._unknown)

    def _interrupt(self, event: InterruptQueued) -> None:
        self._needs_msr(event)

    def _needs_msr(self, event: ExceptionQueued | InterruptQueued) -> None:
        if not self._enabled.get(event.vcpu, self.rules.partial):
            self.fail(event, f"{event.kind} {token_name(event.token)} queued with the MSR off")

    def _msr_written(self, event: MsrWritten) -> None:
        if event.msr != MSR_ASYNC_PF_EN or not event.stored:
            return
        self._enabled[event.vcpu] = bool(event.value & ENABLED)
        if event.ok and event.value & ENABLED:
            self._send_always[event.vcpu] = bool(event.value & SEND_ALWAYS)

    def _reset(self, event: VcpuReset) -> None:
        self._enabled[event.vcpu] = False

    def _replaced(self, event: KernelReplaced) -> None:
        """All vcpus but the first are reset; out of hibernation it is a new one, too."""
        kept = event.how != "hibernate" and self._enabled.get(0, False)
        self._enabled = {0: kept}

    def _restored(self, _: VmRestored) -> None:
        """MSRs are 0 until they are written."""
        self._enabled.clear()
        self._send_always.clear()
