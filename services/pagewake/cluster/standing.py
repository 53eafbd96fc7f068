"""How the VMs of a service's shards stand: who sleeps for a page, and which vcpus stand still.

Read from the shards' state between two windows, so it costs a run nothing until somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest
from typing import NamedTuple

from pagewake.cluster.messages import VmProgress
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.kvm.modes import BLACKOUT
from pagewake.participants.participant import Participant

# About what a screen has room for; a progress message stays small with a thousand VMs.
VMS_TOLD_MAX = 16


class Standing(NamedTuple):
    """Sums over all VMs, and those that have most of both."""

    owned: int
    sleepers: int
    halted: int
    most: list[VmProgress]


def standing(participants: Iterable[Participant]) -> Standing:
    """Of all shards among the participants."""
    vms = [_vm(kernel) for participant in participants for kernel in participant.kernels]
    return Standing(
        len(vms),
        sum(vm.sleepers for vm in vms),
        sum(vm.halted for vm in vms),
        nlargest(VMS_TOLD_MAX, vms, key=lambda vm: (vm.sleepers + vm.halted, vm.sleepers)),
    )


def _vm(kernel: GuestKernel) -> VmProgress:
    return VmProgress(kernel.vm.name, len(kernel.slept_at), stands_still(kernel))


def stands_still(kernel: GuestKernel) -> int:
    """Vcpus of a VM that the host halted for a page, or whose own thread waits for one."""
    threads = kernel.vm.vcpus
    return sum(thread.apf.halted or thread.mode is BLACKOUT for thread in threads)
