"""The tracepoints of KVM and what their text says, by the names they had over time.

    kvm_try_async_get_page        to 2.6.37-rc: pfn; then gva = , gfn =
    kvm_async_pf_doublefault      until 5.18; in 6.1 kvm_async_pf_repeated_fault
    kvm_async_pf_completed        with pfn until 3.12
    kvm_page_fault                address, error_code; later vcpu and rip before them
    kvm_entry                     vcpu N; later with rip
    kvm_exit                      reason and rip; later vcpu before, and infos behind them

The generic printer of trace-cmd and perf writes 0 for 0x0, so a number may lack its prefix;
`apicid` and the number of an MSR never have one.

`apf_wait`, `apf_wait_ret` and `apf_wake` are probes that a guest sets on itself, by the names that
docs/how-to/record-a-host.md gives them; `kernel/trace/trace_kprobe.c` prints them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from re import Pattern

TRY_ASYNC = "kvm_try_async_get_page"
NOT_PRESENT = "kvm_async_pf_not_present"
READY = "kvm_async_pf_ready"
COMPLETED = "kvm_async_pf_completed"
REPEATED_FAULT = "kvm_async_pf_repeated_fault"
DOUBLEFAULT = "kvm_async_pf_doublefault"
PAGE_FAULT = "kvm_page_fault"
ENTRY = "kvm_entry"
EXIT = "kvm_exit"
INJECTED = "kvm_inj_exception"
ACCEPT_IRQ = "kvm_apic_accept_irq"
MSR = "kvm_msr"
NESTED_RUN = "kvm_nested_vmrun"
NESTED_ENTER = "kvm_nested_vmenter"
NESTED_EXIT_INJECTED = "kvm_nested_vmexit_inject"
SWITCH = "sched_switch"
APF_WAIT = "apf_wait"
APF_WAIT_RETURN = "apf_wait_ret"
APF_WAKE = "apf_wake"
RECLAIM_BEGIN = ("mm_vmscan_memcg_reclaim_begin", "mm_vmscan_direct_reclaim_begin")
RECLAIM_END = ("mm_vmscan_memcg_reclaim_end", "mm_vmscan_direct_reclaim_end")

HEX = r"(?:0x)?([0-9a-f]+)"


def _fields(text: str) -> Pattern[str]:
    return re.compile(text.replace("HEX", HEX))


GVA_GFN = _fields(r"gva = HEX, gfn = HEX")
TOKEN_GVA = _fields(r"token HEX gva HEX")
GVA_ADDRESS = _fields(r"gva HEX address HEX")
FAULT = _fields(r"(?:vcpu (\d+) rip HEX )?address HEX error_code HEX")
VCPU = _fields(r"vcpu (\d+)")
EXIT_REASON = _fields(r"(?:vcpu (\d+) )?reason (.+?) rip HEX")
EXCEPTION = _fields(r"#PF \((?:0x)?([0-9a-f]+)\)( \[reinjected\])?")
IRQ = _fields(r"apicid ([0-9a-f]+) vec (\d+)")
WAITS_IN = re.compile(r"kvm_async_pf_task_wait\w*")
PROBED_TOKEN = re.compile(r"\btoken=(0x[0-9a-f]+|\d+)")
MSR_WRITE = _fields(r"msr_write ([0-9a-f]+) = HEX( \(#GP\))?")

FORMS: dict[str, Pattern[str]] = {
    ENTRY: _fields(r"vcpu \d+(?:,? rip HEX.*)?"),
    EXIT: _fields(r"(?:vcpu \d+ )?reason .+? rip HEX(?: .*)?"),
    PAGE_FAULT: FAULT,
    TRY_ASYNC: GVA_GFN,
    REPEATED_FAULT: GVA_GFN,
    DOUBLEFAULT: GVA_GFN,
    NOT_PRESENT: TOKEN_GVA,
    READY: TOKEN_GVA,
    COMPLETED: _fields(r"gva HEX address HEX(?: pfn HEX)?"),
    INJECTED: _fields(r"(?:#\w+|HEX)(?: \(HEX\))?(?: ?\[reinjected\])?"),
    ACCEPT_IRQ: _fields(r"apicid [0-9a-f]+ vec \d+(?: \(.*)?"),
    MSR: _fields(r"msr_(?:read|write) [0-9a-f]+ = HEX(?: \(#GP\))?"),
    **dict.fromkeys((APF_WAIT, APF_WAKE), _fields(r"(?:\(.*\) )?token=(?:0x[0-9a-f]+|\d+)")),
}
"""The whole text of an event, in the forms that it had over time; another one is torn."""


def only_a_guest(lines: Mapping[str, int]) -> bool:
    """Whether all that is known is what a guest recorded of itself."""
    seen = {name for name in FORMS if lines.get(name)}
    return bool(seen) and seen <= {APF_WAIT, APF_WAKE}


NESTED_REASON = _fields(r"reason:? (.+?) (?:ext_inf1:|info1) ?HEX ext_inf2: HEX")

MSR_EXITS = frozenset(("msr", "MSR_WRITE", "write_msr"))
HLT_EXITS = frozenset(("hlt", "HLT"))

KERNEL_HALF = 1 << 63
"""From here on a linear address is the guest kernel's."""


def said_vcpu(event: str, text: str) -> int | None:
    """The vcpu that a line itself names."""
    if found := VCPU.search(text):
        return int(found[1])
    if event in {READY, NOT_PRESENT} and (found := TOKEN_GVA.search(text)):
        token = int(found[1], 16)
        return None if token == 0xFFFFFFFF else token & 0xFFF
    return None
