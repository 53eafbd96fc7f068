"""Which thread is which vcpu of which VM.

The name of a thread says its vcpu for QEMU with debug-threads, Firecracker, cloud-hypervisor and
crosvm; else what it logs does.  A VM is a thread group where lines name it, or a group of `--vm`;
else all is one VM.  A number that comes again by another thread begins another VM, as when a guest
is started anew; two threads of one number that both go on are VMs that nothing tells apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pagewake.errors import DataError

COMM = re.compile(r"(?:CPU |fc_vcpu |vcpu|crosvm_vcpu)(\d+)(?:/KVM|/TCG)?$")
VCPUS_MAX = 4096
"""What the 12 bits of a token tell apart."""


class VcpuName(NamedTuple):
    """A vcpu: the number of its VM in this recording, and its own."""

    vm: int
    vcpu: int


class Threads:
    """Learns threads as their lines come."""

    def __init__(self, groups: Sequence[Sequence[int]] = ()) -> None:
        self._group_of = {pid: index for index, pids in enumerate(groups) for pid in pids}
        self._grouped = bool(groups)
        self._names: dict[int, VcpuName] = {}
        self._pids: list[dict[int, int]] = []
        self._latest: dict[int, int] = {}
        self._retired: dict[int, int] = {}
        self.left_out: set[int] = set()

    @property
    def pids(self) -> list[dict[int, int]]:
        """Per VM, the thread of each vcpu."""
        return self._pids

    def known(self, pid: int) -> VcpuName | None:
        return self._names.get(pid)

    def learn(self, pid: int, tgid: int | None, comm: str, said: int | None) -> VcpuName | None:
        """A thread's first line that tells; `said` is the vcpu that the line itself names."""
        group = self._group(pid, tgid)
        if group is None:
            self.left_out.add(pid)
            return None
        found = COMM.match(comm)
        number = int(found[1]) if found else said
        if number is None or number >= VCPUS_MAX:
            return None
        vm = self._latest.get(group)
        if vm is None or number in self._pids[vm]:
            if vm is not None:
                self._retired[self._pids[vm][number]] = pid
            vm = self._latest[group] = len(self._pids)
            self._pids.append({})
        self._pids[vm][number] = pid
        name = self._names[pid] = VcpuName(vm, number)
        return name

    def check(self, pid: int, where: str) -> None:
        """DataError if a thread goes on whose place another one has taken."""
        other = self._retired.get(pid)
        if other is not None:
            vcpu = self._names[pid].vcpu
            raise DataError(
                f"{where}: threads {pid} and {other} both are vcpu {vcpu}, so there are several "
                "VMs, and no line says which is whose: name the vcpu threads of each, as in "
                f"--vm {pid},.. --vm {other},.. (--vm {pid},.. alone reads one VM), or record "
                "the thread group with the lines (trace option record-tgid)"
            )

    @property
    def any_retired(self) -> bool:
        return bool(self._retired)

    def _group(self, pid: int, tgid: int | None) -> int | None:
        if not self._grouped:
            return -1 if tgid is None else tgid
        if pid in self._group_of:
            return self._group_of[pid]
        return None if tgid is None else self._group_of.get(tgid)
