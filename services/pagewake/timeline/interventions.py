"""What was done to a VM, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pagewake.events import types as ev

_STALLED = {"handle-exit": "at its next exit", "latch": "between latch and handle_exit of L1"}


def _times(count: int, one: str, several: str) -> str:
    """Of the next `count`; -1 means all."""
    if count < 0:
        return f"all {several} fail from now on"
    return f"the next {one} fails" if count == 1 else f"the next {count:,} {several} fail"


def _for(ns: int) -> str:
    return f"{ns / 1e6:g} ms"


# The values take the type they are filed under; mypy cannot say so of a dict.
_WORDS: Mapping[type[ev.Control], Callable[[Any], str]] = {
    ev.VcpuOffline: lambda e: f"vcpu {e.vcpu} taken down",
    ev.VcpuOnline: lambda e: f"vcpu {e.vcpu} brought up",
    ev.VmMigrated: lambda e: f"migrated, stopped for {_for(e.pause_ns)}",
    ev.VmRestored: lambda e: (
        f"restored with {', '.join(e.saves) or 'nothing'}, stopped for {_for(e.pause_ns)}"
    ),
    ev.KernelReplaced: lambda e: f"another kernel takes over ({e.how})",
    ev.AllocationFails: lambda e: _times(
        e.count, f"atomic allocation of the {e.where}", f"atomic allocations of the {e.where}"
    ),
    ev.MediumChanged: lambda e: f"swap device is {e.medium} from now on",
    ev.MsrWriteRequested: lambda e: f"guest writes MSR {e.msr:#x} on vcpu {e.vcpu}",
    ev.AreaWriteFails: lambda e: _times(
        e.count,
        f"host write to the shared area of vcpu {e.vcpu}",
        f"host writes to the shared area of vcpu {e.vcpu}",
    ),
    ev.WorkerGupFails: lambda e: _times(e.count, "page-in worker", "page-in workers"),
    ev.VcpuReset: lambda e: f"vcpu {e.vcpu} reset",
    ev.Cr0PgToggled: lambda e: f"paging of vcpu {e.vcpu} off for {_for(e.for_ns)}",
    ev.NmiArrived: lambda e: (
        f"NMI for vcpu {e.vcpu}{', whose handler takes a page fault' if e.faults else ''}"
    ),
    ev.IrqArrived: lambda e: f"interrupt for vcpu {e.vcpu}",
    ev.VcpuStalled: lambda e: (
        f"host takes vcpu {e.vcpu} off its CPU for {_for(e.for_ns)}, {_STALLED[e.where]}"
    ),
    ev.HandlerCrashed: lambda e: (
        f"who brings its pages dies, the next one starts after {_for(e.for_ns)}"
        f"{' and knows what was taken' if e.keeps else ''}"
    ),
    ev.RegistersSet: lambda e: f"userspace sets the registers of vcpu {e.vcpu}",
    ev.LeftForUserspace: lambda e: f"vcpu {e.vcpu} in userspace for {_for(e.for_ns)}",
    ev.SmiArrived: lambda e: f"SMI for vcpu {e.vcpu}, {_for(e.for_ns)} in SMM",
    ev.LapicSwitched: lambda e: f"LAPIC of vcpu {e.vcpu} {'on' if e.on else 'off'}",
}


def in_words(event: ev.Control) -> str:
    """An intervention as a person would say it."""
    return _WORDS[type(event)](event)
