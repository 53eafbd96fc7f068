"""The interface between KVM and its guests, written down apart from the code under test."""

from __future__ import annotations

MSR_EN = 0x4B564D02
MSR_INT = 0x4B564D06
MSR_ACK = 0x4B564D07
BROADCAST = 0xFFFFFFFF
"""The token of a page-ready that wakes every sleeper of its vcpu."""
