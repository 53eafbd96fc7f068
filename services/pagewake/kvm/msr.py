"""KVM's MSRs for asynchronous page faults, and what the bits of the enable MSR mean.

Rule: semantics 1.1 (numbers, reserved bits, address) and 6 (bit 2 in 4.13, bit 3 and two
more MSRs in 5.8).  Which bits are reserved is the profile's `msr_reserved`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MSR_KVM_ASYNC_PF_EN: Final = 0x4B564D02
MSR_KVM_ASYNC_PF_INT: Final = 0x4B564D06
MSR_KVM_ASYNC_PF_ACK: Final = 0x4B564D07

ASYNC_PF_ENABLED = 1 << 0
ASYNC_PF_SEND_ALWAYS = 1 << 1
ASYNC_PF_DELIVERY_AS_PF_VMEXIT = 1 << 2
ASYNC_PF_DELIVERY_AS_INT = 1 << 3

LOWEST_VECTOR: Final = 16
"""A LAPIC delivers what has a priority class (bits 7 to 4 of the vector) above that of the CPU."""

AREA_ALIGN: Final = 64
_AREA_BITS = 0xFFFFFFFFFFFFFFFF & -AREA_ALIGN


class EnableValue(NamedTuple):
    """A value of MSR_KVM_ASYNC_PF_EN, taken apart; `gpa` is 64-byte aligned."""

    enabled: bool
    send_always: bool
    as_vmexit: bool
    as_interrupt: bool
    gpa: int


def decode_enable(value: int) -> EnableValue:
    """Take a 64-bit value apart; whether it may be written is `reserved_bits`' business."""
    return EnableValue(
        bool(value & ASYNC_PF_ENABLED),
        bool(value & ASYNC_PF_SEND_ALWAYS),
        bool(value & ASYNC_PF_DELIVERY_AS_PF_VMEXIT),
        bool(value & ASYNC_PF_DELIVERY_AS_INT),
        area_gpa(value),
    )


def area_gpa(value: int) -> int:
    """Where the enable MSR says that the shared area is; the low bits are flags."""
    return value & _AREA_BITS


def encode_enable(value: EnableValue) -> int:
    """The reverse of `decode_enable`."""
    assert value.gpa % AREA_ALIGN == 0, "the shared area is 64-byte aligned"
    return (
        value.gpa
        | value.enabled * ASYNC_PF_ENABLED
        | value.send_always * ASYNC_PF_SEND_ALWAYS
        | value.as_vmexit * ASYNC_PF_DELIVERY_AS_PF_VMEXIT
        | value.as_interrupt * ASYNC_PF_DELIVERY_AS_INT
    )


def reserved_bits(value: int, mask: int) -> int:
    """The reserved bits that are set: any of them makes the write a #GP that changes nothing."""
    return value & mask
