"""Which kernel's rules a recording follows, by what its lines show, and why it is taken to be so.

A recording does not name its kernel.  How READY is told, the names of tracepoints and their fields
came one after another; what shows the latest one decides, and the profile is the oldest that has
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pagewake.recorded import names
from pagewake.recorded.sight import Sight


class Era(NamedTuple):
    """A profile of `kvm.profile`, and the reason."""

    profile: str
    why: str


class _Sign(NamedTuple):
    """Something that a kernel of `profile` is the first to show."""

    sign: str
    profile: str
    why: str


_SIGNS = (
    _Sign(names.REPEATED_FAULT, "6.1", "kvm_async_pf_repeated_fault has its name of 6.1"),
    _Sign("reinjected", "6.1", "kvm_inj_exception says [reinjected], as of 6.1"),
    _Sign("msr ack", "5.8", "the guest writes MSR_KVM_ASYNC_PF_ACK: READY by interrupt, from 5.8"),
    _Sign("msr int", "5.8", "the guest writes MSR_KVM_ASYNC_PF_INT: READY by interrupt, from 5.8"),
    _Sign("interrupt", "5.8", "READY is followed by its interrupt, from 5.8"),
    _Sign("as_vmexit", "4.13", "MSR_KVM_ASYNC_PF_EN has DELIVERY_AS_PF_VMEXIT, from 4.13"),
    _Sign(names.WAKEUP, "4.4", "kvm_vcpu_wakeup is there, which 3.10 has not"),
    _Sign("no pfn", "4.4", "kvm_async_pf_completed has no pfn, from 3.13"),
    _Sign("pfn", "2.6.39", "kvm_async_pf_completed has a pfn, until 3.12"),
)
"""Latest first."""
_NOTHING = Era("6.1", "nothing in it tells kernels apart; 6.1 is taken")


def era_of(sight: Sight, others: Mapping[str, int]) -> Era:
    """The kernel of a recording, as far as it is known by now; `others`: lines nobody reads."""
    for sign, profile, why in _SIGNS:
        if sign in sight.signs or sight.lines[sign] or sign in others:
            return Era(profile, why)
    return _NOTHING
