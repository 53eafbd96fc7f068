"""Texts of events as the kernel prints them, from what trace-cmd and perf print instead.

Both print by the format that the kernel describes, with three exceptions.  Where they cannot parse
it they print fields by their names (`[FAILED TO PARSE] exception=14 ..`; kvm_inj_exception of all
kernels is so with libtraceevent 1.7), and so does `trace-cmd report -R`.  Plugins have texts of
their own: kvm's writes `reason EXIT_MSR` for AMD's `reason msr`, and sched_switch's
`a:15 [120] W ==> b:122 [120]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

Fields: TypeAlias = Mapping[str, str]

_FAILED: Final = "[FAILED TO PARSE] "
_FIELD = re.compile(r"(\w+)=(\S*)")
_SWITCH_PLUGIN = re.compile(
    r"(?P<prev>.*):(?P<prev_pid>[0-9]+) \[(?P<prev_prio>[0-9]+)\] (?P<state>\S+)"
    r" ==> (?P<next>.*):(?P<next_pid>[0-9]+) \[(?P<next_prio>[0-9]+)\]"
)
_SWITCH = (
    "prev_comm={prev} prev_pid={prev_pid} prev_prio={prev_prio} prev_state={state}"
    " ==> next_comm={next} next_pid={next_pid} next_prio={next_prio}"
)
_EXCEPTIONS = {6: "#UD", 7: "#NM", 8: "#DF", 13: "#GP", 14: "#PF"}
_EXITS = {
    "1": {1: "EXTERNAL_INTERRUPT", 12: "HLT", 31: "MSR_READ", 32: "MSR_WRITE", 48: "EPT_VIOLATION"},
    "2": {0x60: "interrupt", 0x64: "vintr", 0x78: "hlt", 0x7C: "msr", 0x400: "npf"},
}
"""By the instruction set, VMX or SVM: exits that mean something here; others keep their number."""


def _exception(fields: Fields) -> str:
    number = int(fields["exception"])
    error = f" ({int(fields['error_code']):#x})" if fields["has_error"] == "1" else ""
    again = " [reinjected]" if fields.get("reinjected") == "1" else ""
    return f"{_EXCEPTIONS.get(number, f'#{number}')}{error}{again}"


def _exit(fields: Fields) -> str:
    number = int(fields["exit_reason"])
    reason = _EXITS.get(fields.get("isa", ""), {}).get(number & 0xFFFF, number)
    vcpu = f"vcpu {fields['vcpu_id']} " if "vcpu_id" in fields else ""
    return f"{vcpu}reason {reason} rip {fields['guest_rip']}"


def _page_fault(fields: Fields) -> str:
    vcpu = f"vcpu {fields['vcpu_id']} rip {fields['guest_rip']} " if "vcpu_id" in fields else ""
    return f"{vcpu}address {fields['fault_address']} error_code {fields['error_code']}"


def _msr(fields: Fields) -> str:
    how = "write" if fields["write"] == "1" else "read"
    refused = " (#GP)" if fields.get("exception") == "1" else ""
    return f"msr_{how} {fields['ecx']} = {fields['data']}{refused}"


_PRINTED: dict[str, Callable[[Fields], str]] = {
    "kvm_inj_exception": _exception,
    "kvm_exit": _exit,
    "kvm_page_fault": _page_fault,
    "kvm_msr": _msr,
    "kvm_entry": lambda fields: f"vcpu {fields['vcpu_id']}, rip {fields.get('rip', '0x0')}",
    "kvm_apic_accept_irq": lambda fields: f"apicid {int(fields['apicid']):x} vec {fields['vec']}",
    "kvm_async_pf_completed": "gva {0[gva]} address {0[address]}".format,
    **dict.fromkeys(
        ("kvm_async_pf_not_present", "kvm_async_pf_ready"), "token {0[token]} gva {0[gva]}".format
    ),
    **dict.fromkeys(
        ("kvm_try_async_get_page", "kvm_async_pf_doublefault", "kvm_async_pf_repeated_fault"),
        "gva = {0[gva]}, gfn = {0[gfn]}".format,
    ),
}
"""By event: how the kernel prints its fields."""


def as_printed(event: str, text: str) -> str:
    """A text as the kernel prints it; the same text if it is one, or if its event is no matter."""
    if event == "sched_switch":
        found = _SWITCH_PLUGIN.fullmatch(text)
        return _SWITCH.format(**found.groupdict()) if found else text
    text = text.removeprefix(_FAILED)
    if event in _PRINTED and _FIELD.match(text):
        try:
            return _PRINTED[event](dict(_FIELD.findall(text)))
        except (KeyError, ValueError):
            return text
    if event == "kvm_exit" and "reason EXIT_" in text:
        head, _, rest = text.partition("reason EXIT_")
        reason, _, rest = rest.partition(" ")
        return f"{head}reason {reason.lower()} {rest}"
    return text
