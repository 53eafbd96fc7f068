"""SVM in one hypervisor on one vcpu: the latched reason, guest mode, exits owed to its guest.

Rule: semantics 4.2 (latch), 4.4 (order of handle_exit), 4.7 (queueing an exception for a nested
guest).  "Its guest" is the hypervisor it runs, whose own guest is running while `guest_mode`.  One
object for L0 (whose reason is always 0, on bare metal) and one for every hypervisor above it.

Of the gaps of semantics 4.9, G1, G2, G3 and G5 live here and in `routing.py`, until switched off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from mypy_extensions import mypyc_attr

from pagewake.events.types import Route, VmexitReason
from pagewake.kvm.switches import Switches
from pagewake.nested_svm.exit_codes import ERR, EXCP_BASE, EXCP_PF, NPF
from pagewake.nested_svm.interception import Interception, pf_interception
from pagewake.nested_svm.routing import (
    Intercept,
    Intercepts,
    Special,
    activates_fpu,
    counts_as_apf,
    intercept,
    special,
)
from pagewake.simtime.state import Saved

Todo: TypeAlias = Literal["vmexit", "wait", "wake", "fault", "fail_entry", "other"]


class Exit(NamedTuple):
    """An exit as the VMCB has it."""

    code: int
    info1: int = 0
    info2: int = 0


class Disposition(NamedTuple):
    """What an exit comes to.

    `todo`: `vmexit` synthesizes `exit` into the guest hypervisor, because of `why`; `wait`, `wake`
    and `fault` are the page fault handler's `interception`; `other` is any other handler.  `route`
    is None for an exit that was not routed (no nested guest, or an exit already owed).
    """

    todo: Todo
    exit: Exit
    route: Route | None = None
    why: VmexitReason | None = None
    interception: Interception | None = None
    fpu_activate: bool = False


@mypyc_attr(allow_interpreted_subclasses=True)
class NestedSvm(Saved):
    """See the module.  `guest_mode`, `intercepts` and `npt` are the owner's to set."""

    __slots__ = (
        "apf_reason",
        "guest_mode",
        "intercepts",
        "npt",
        "owed",
        "owed_apf",
        "_g1_open",
        "_g1_reopened",
        "_g2_open",
        "_gap_g3",
        "_gap_g5",
        "_keeps_own",
    )

    def __init__(self, switches: Switches, npt: bool = True) -> None:
        self.npt = npt
        self.apf_reason = 0
        self.guest_mode = False
        self.intercepts = Intercepts()
        self.owed: Exit | None = None
        self.owed_apf = False
        self._g1_open = switches.g1_open
        self._g1_reopened = switches.g1_reopened
        self._g2_open = switches.g2_open
        self._gap_g3 = switches.gap_g3
        self._gap_g5 = switches.gap_g5
        self._keeps_own = switches.keeps_own_exceptions

    @property
    def exit_required(self) -> bool:
        """An exit is owed to the guest hypervisor: the next run returns at once, unlatched."""
        return self.owed is not None

    def latch(self, exit_code: int, read_reason: Callable[[], int]) -> bool:
        """After the guest left: read and keep this cpu's reason word, for a #PF only."""
        if exit_code != EXCP_PF:
            return False
        self.apf_reason = read_reason()
        return True

    # ------------------------------------------------------------------ exits

    def handle_exit(
        self,
        exit_code: int,
        info1: int = 0,
        info2: int = 0,
        rcx: int = 0,
        needs_reinjection: bool = False,
    ) -> Disposition:
        """Dispatch an exit: one that is owed goes first, then routing, then the handlers."""
        owed = self.owed
        if owed is not None:
            self.owed = None
            return Disposition("vmexit", owed, None, self._why(owed.code, self.owed_apf))
        left = Exit(exit_code, info1, info2)
        if not self.guest_mode:
            return self._handle(left, None, needs_reinjection)
        way = self.route(exit_code, info1, rcx)
        if way != "done":
            return self._handle(left, way, needs_reinjection)
        why = self._why(exit_code, counts_as_apf(self.apf_reason, self._gap_g5))
        if not self._gap_g3:
            self.apf_reason = 0
        return Disposition("vmexit", left, "done", why, None, activates_fpu(exit_code))

    def route(self, exit_code: int, info1: int = 0, rcx: int = 0) -> Route:
        """Both stages: `continue` is left to this hypervisor by the second one."""
        if self.special(exit_code) == "host":
            return "host"
        return "done" if self.intercept(exit_code, info1, rcx) == "done" else "continue"

    def special(self, exit_code: int) -> Special:
        """First stage."""
        is_apf = counts_as_apf(self.apf_reason, self._gap_g5)
        return special(exit_code, is_apf, self.npt, self._g2_open, self._keeps_own)

    def intercept(self, exit_code: int, info1: int = 0, rcx: int = 0) -> Intercept:
        """Second stage, taken alone."""
        forced = self._g1_open and counts_as_apf(self.apf_reason, self._gap_g5)
        return intercept(exit_code, self.intercepts, forced, info1, rcx)

    def _handle(self, left: Exit, way: Route | None, needs_reinjection: bool) -> Disposition:
        code = left.code
        fpu = way is not None and activates_fpu(code)
        if code not in (EXCP_PF, NPF):
            return Disposition("fail_entry" if code == ERR else "other", left, way, None, None, fpu)
        done = pf_interception(
            self.apf_reason, self.npt, needs_reinjection, left.info1, left.info2, self._gap_g5
        )
        self.apf_reason = done.apf_reason
        return Disposition(done.branch, left, way, None, done)

    @staticmethod
    def _why(exit_code: int, is_apf: bool) -> VmexitReason:
        if exit_code == ERR:
            return "error"
        return "apf" if is_apf and exit_code == EXCP_PF else "intercept"

    # ------------------------------------------------------------------ events for the nested guest

    def queue_exception(self, vector: int, error: int, cr2: int, nested_apf: bool = False) -> bool:
        """check_exception: True if the exception becomes an exit owed to the guest hypervisor.

        `nested_apf`: it is an APF for that hypervisor.  2.6.38 cannot tell, and asks its own latch
        instead (gap G1), which on bare metal is always 0; 5.8 can, and does not ask (G1 again).
        """
        if not self.guest_mode:
            return False
        code = EXCP_BASE + vector
        own = counts_as_apf(self.apf_reason, self._gap_g5)
        forced = own if self._g1_open else nested_apf and not self._g1_reopened
        if intercept(code, self.intercepts, forced) == "host":
            return False
        self.owed = Exit(code, error, cr2)
        self.owed_apf = nested_apf
        return True
