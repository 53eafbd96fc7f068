"""One VM of a recording, and the page faults that are open in it."""

from __future__ import annotations

from typing import Generic, TypeVar

from pagewake.recorded.order import VmOrder

Vcpu = TypeVar("Vcpu")

VECTOR = 0xF3
"""Page-ready of Linux guests (HYPERVISOR_CALLBACK_VECTOR); MSR_KVM_ASYNC_PF_INT says it exactly."""


class Vm(Generic[Vcpu]):
    """What its vcpus have in common."""

    __slots__ = ("by_interrupt", "name", "order", "vcpus", "vector")

    def __init__(self, name: str) -> None:
        self.name = name
        self.order = VmOrder(name)
        self.vcpus: dict[int, Vcpu] = {}
        self.vector = VECTOR
        self.by_interrupt: bool | None = None
