"""Keys that people know from cgroup v2 and pagewake has not: what there is instead.

Each is a name, without the controller's where cgroup v2 writes `memory.max`.
"""

from __future__ import annotations

from collections.abc import Mapping

_PROTECT = "to favour a VM over others give it min or low"
_NO_IO = (
    f"all VMs share the swap device in order of submission, there is no I/O control; {_PROTECT}"
)
_NO_CPU = "every vcpu has a CPU of its own; what tasks have among themselves is weight of a task"

WHY_ABSENT: Mapping[str, str] = {
    "max": "memory.max is limit here",
    "high": f"memory.high, which slows a VM down, is not modelled; memory.max is limit; {_PROTECT}",
    "swappiness": f"there is no page cache to weigh against anonymous memory; {_PROTECT}",
    "swap_max": "swap is ample; what starts in it is said by resident of a task",
    "weight": f"memory has no weight; {_PROTECT}; weight of a task is for its scheduler",
    "priority": f"memory has no priorities; {_PROTECT}; a task has a weight",
    "io_weight": _NO_IO,
    "io_max": _NO_IO,
    "io_latency": _NO_IO,
    "cpu_weight": _NO_CPU,
    "cpu_max": _NO_CPU,
    "cpu_shares": _NO_CPU,
    "overcommit": "a factor is for --set overcommit=1.5 or --axis; a file has host.memory",
}


def why_absent(name: str) -> str:
    """What there is instead of a key of cgroup v2; empty if it is none."""
    plain = name.lower().replace(".", "_").replace("-", "_")
    return WHY_ABSENT.get(plain) or WHY_ABSENT.get(plain.removeprefix("memory_"), "")
