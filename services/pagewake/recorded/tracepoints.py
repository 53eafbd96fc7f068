"""KVM's trace points by kernel: names and text, one table that is read in both directions.

A trace point is known here by a kind that does not change (`repeated_fault`); what a kernel calls
it and how it prints it does.  A form is the kernel's own format string, with a name for each
value: `Form.text` prints values as tracefs does, `Form.read` takes them out of such a text.
trace-cmd and perf print the same formats in user space, where `%#llx` of zero is `0` and not `0x0`;
both are read.

Sources: `arch/x86/kvm/trace.h` and `include/trace/events/kvm.h` of 2.6.39, 3.6, 4.18, 5.10 and 6.18
and the commits that stand with the forms; semantics 7 has the oldest ones in words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Final, TypeAlias

from pagewake.errors import ConfigError
from pagewake.kvm.profile import PROFILES, nearest_profile
from pagewake.nested_svm import exit_codes

Release: TypeAlias = tuple[int, ...]
"""A release of Linux, as numbers that compare."""
Value: TypeAlias = int | str

_DIRECTIVE = re.compile(r"(0x)?%(#?)(0?)(\d*)(l{0,2})([uxds])")
_WORDS: Mapping[str, str] = {
    "exception": r"#[A-Z]{2}",
    "reinjected": r"(?: \[reinjected\])?",
    "refused": r"(?: \(#GP\))?",
    "coalesced": r"(?: \(coalesced\))?",
    "immediate": r"(?:\[immediate exit\])?",
}
"""What a `%s` may be, where it is not any text: closed sets, most of them optional."""


class Form:
    """How kernels from `since` on print a trace point, until the next form of its kind.

    `fields` name the values in order; `source` is where that is known from.
    """

    def __init__(
        self, since: Release, name: str, template: str, fields: str = "", source: str = ""
    ) -> None:
        self.since = since
        self.name = name
        self.template = template
        self.fields = tuple(fields.split())
        self.source = source
        directives = list(_DIRECTIVE.finditer(template))
        self.codes = [match.group(6) for match in directives]
        self._bits = [None if match.group(6) == "s" else _bits(match) for match in directives]
        assert len(self.codes) == len(self.fields), f"{name}: {template} has other values"
        self._print = _DIRECTIVE.sub(_printed, template)

    def text(self, **values: Value) -> str:
        """The text of these values, without the name; as C does, cut to the size of their type."""
        given = (values[field] for field in self.fields)
        return self._print % tuple(
            value if isinstance(value, str) or mask is None else value & mask
            for value, mask in zip(given, self._bits, strict=True)
        )

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the whole text; a group for each field, digits without their `0x`."""
        parts, at = [], 0
        for match, field in zip(_DIRECTIVE.finditer(self.template), self.fields, strict=True):
            parts.append(re.escape(self.template[at : match.start()]))
            parts.append(_group(match, field))
            at = match.end()
        return re.compile("".join((*parts, re.escape(self.template[at:]))) + r"\s*\Z")

    def read(self, text: str) -> dict[str, Value] | None:
        """The values in a text, by name; None if it is no text of this form."""
        found = self.pattern.match(text)
        if found is None:
            return None
        return {
            field: group if code == "s" else int(group, 16 if code == "x" else 10)
            for field, code, group in zip(self.fields, self.codes, found.groups(), strict=True)
        }


def _bits(match: re.Match[str]) -> int:
    return (1 << (64 if match.group(5) else 32)) - 1


def _printed(match: re.Match[str]) -> str:
    """The directive in Python's notation, which knows no lengths and no unsigned."""
    prefix, alternate, zero, width, _, code = match.groups(default="")
    prefix = "0x" if alternate else prefix
    return f"{prefix}%{zero}{width}{'d' if code == 'u' else code}"


def _group(match: re.Match[str], field: str) -> str:
    code = match.group(6)
    if code == "s":
        return f"({_WORDS.get(field, '.*?')})"
    if code == "x":
        return r"(?:0x)?([0-9a-f]+)"
    return r"(-?\d+)" if code == "d" else r"(\d+)"


POSTED: Final[Release] = (2, 6, 37)
"""The series as posted, on a kernel of October 2010."""
_V38: Final[Release] = (2, 6, 38)
_RIP_SERIES = "mailed as v2 on 23 September 2020, merged for 5.10; source of 5.10.13"
_SVM_EXIT = "vcpu %u reason %s rip 0x%lx info1 0x%016llx info2 0x%016llx "
_SVM_EXIT += "intr_info 0x%08x error_code 0x%08x"
_SVM_FIELDS = "vcpu reason rip info1 info2 intr_info error_code"
_NESTED = "ext_inf1: 0x%016llx ext_inf2: 0x%016llx ext_int: 0x%08x ext_int_err: 0x%08x"

FORMS: Mapping[str, tuple[Form, ...]] = {
    "entry": (
        Form(POSTED, "kvm_entry", "vcpu %u", "vcpu"),
        Form((5, 10), "kvm_entry", "vcpu %u, rip 0x%lx", "vcpu rip", _RIP_SERIES),
        Form(
            (6, 9),
            "kvm_entry",
            "vcpu %u, rip 0x%lx%s",
            "vcpu rip immediate",
            "9c9025ea003a (6.9), also in stable 6.1",
        ),
    ),
    "exit": (
        Form(POSTED, "kvm_exit", "reason %s rip 0x%lx", "reason rip"),
        Form(_V38, "kvm_exit", "reason %s rip 0x%lx info %llx %llx", "reason rip info1 info2"),
        Form(
            (5, 5),
            "kvm_exit",
            "vcpu %u reason %s rip 0x%lx info %llx %llx",
            "vcpu reason rip info1 info2",
            "mailed as v4 on 6 September 2019; 4.18 has it not, 5.10 has it",
        ),
        Form((5, 10), "kvm_exit", _SVM_EXIT, _SVM_FIELDS, "235ba74f008d (5.10)"),
    ),
    "page_fault": (
        Form(POSTED, "kvm_page_fault", "address %lx error_code %x", "address error_code"),
        Form(
            (6, 1),
            "kvm_page_fault",
            "vcpu %u rip 0x%lx address 0x%016llx error_code 0x%llx",
            "vcpu rip address error_code",
            "bff0adc40c00 and faa03b39722a (6.1)",
        ),
    ),
    "try_async": (
        Form(POSTED, "kvm_try_async_get_page", "pfn %#llx", "pfn"),
        Form(_V38, "kvm_try_async_get_page", "gva = %#llx, gfn = %#llx", "gva gfn", "c9b263d2be9"),
    ),
    "repeated_fault": (
        Form(POSTED, "kvm_async_pf_doublefault", "gva = %#llx, gfn = %#llx", "gva gfn"),
        Form(
            (6, 0),
            "kvm_async_pf_repeated_fault",
            "gva = %#llx, gfn = %#llx",
            "gva gfn",
            "1685c0f32554 (6.0)",
        ),
    ),
    "not_present": (
        Form(POSTED, "kvm_async_pf_not_present", "token %#llx gva %#llx not present", "token gva"),
        Form(_V38, "kvm_async_pf_not_present", "token %#llx gva %#llx", "token gva"),
    ),
    "ready": (
        Form(POSTED, "kvm_async_pf_ready", "token %#llx gva %#llx ready", "token gva"),
        Form(_V38, "kvm_async_pf_ready", "token %#llx gva %#llx", "token gva"),
    ),
    "completed": (
        Form(
            POSTED,
            "kvm_async_pf_completed",
            "gva %#llx address %#lx pfn %#llx",
            "gva address pfn",
        ),
        Form(
            (3, 13),
            "kvm_async_pf_completed",
            "gva %#llx address %#lx",
            "gva address",
            "f2e106692d51 (3.13)",
        ),
    ),
    "inj_exception": (
        Form(POSTED, "kvm_inj_exception", "%s (0x%x)", "exception error_code"),
        Form(
            (6, 0),
            "kvm_inj_exception",
            "%s (0x%x)%s",
            "exception error_code reinjected",
            "a61d7c5432ac (6.0), also in stable 5.15; one without an error code is not read",
        ),
    ),
    "accept_irq": (
        Form(
            POSTED,
            "kvm_apic_accept_irq",
            "apicid %x vec %u (%s|%s)%s",
            "apicid vec mode trigger coalesced",
        ),
        Form(
            (3, 18),
            "kvm_apic_accept_irq",
            "apicid %x vec %u (%s|%s)",
            "apicid vec mode trigger",
            "3.6 has it not, 4.18 has it",
        ),
    ),
    "msr": (Form(POSTED, "kvm_msr", "msr_%s %x = 0x%llx%s", "access msr value refused"),),
    "wakeup": (
        Form(
            (4, 0),
            "kvm_vcpu_wakeup",
            "%s time %lld ns",
            "how ns",
            "4.0, from memory",
        ),
        Form(
            (4, 7),
            "kvm_vcpu_wakeup",
            "%s time %lld ns, polling %s",
            "how ns polling",
            "4.7, from memory; source of 5.10.13",
        ),
    ),
    "nested_run": (
        Form(
            POSTED,
            "kvm_nested_vmrun",
            "rip: 0x%016llx vmcb: 0x%016llx nrip: 0x%016llx int_ctl: 0x%08x event_inj: 0x%08x"
            " npt: %s",
            "rip vmcb nested_rip int_ctl event_inj npt",
        ),
        Form(
            (6, 1),
            "kvm_nested_vmenter",
            "rip: 0x%016llx vmcb: 0x%016llx nested_rip: 0x%016llx int_ctl: 0x%08x"
            " event_inj: 0x%08x nested_npt=%s %s: 0x%016llx",
            "rip vmcb nested_rip int_ctl event_inj npt root_of root",
            "89e54ec59232 and 02dfc44f2057 (6.1)",
        ),
    ),
    "nested_vmexit": (
        Form(
            POSTED,
            "kvm_nested_vmexit",
            f"rip: 0x%016llx reason: %s {_NESTED}",
            "rip reason info1 info2 intr_info error_code",
        ),
        Form((5, 10), "kvm_nested_vmexit", _SVM_EXIT, _SVM_FIELDS, _RIP_SERIES),
    ),
    "nested_inject": (
        Form(
            POSTED,
            "kvm_nested_vmexit_inject",
            f"reason: %s {_NESTED}",
            "reason info1 info2 intr_info error_code",
        ),
    ),
}
"""Each kind's forms, oldest first; a kernel before the first one has no such trace point."""

NAMES: Mapping[str, str] = {form.name: kind for kind, forms in FORMS.items() for form in forms}
"""The kind of a trace point, by any name that a kernel has for it."""

READY_TOKEN_OF_BROADCAST: Mapping[Release, int] = {POSTED: 0, (4, 14): 0xFFFFFFFF}
"""What `ready` prints for a broadcast: from 4.14 on (9a6e7c39810e) after its token was set."""


def release_of(profile: str) -> Release:
    """The release whose lines a kernel profile has; ConfigError for a name that is none."""
    known = PROFILES.get(profile)
    if known is None:
        raise ConfigError(f'unknown kernel profile "{profile}": {nearest_profile(profile)}')
    name = known.alias_of or known.name
    return POSTED if name == "posted-v7" else tuple(int(part) for part in name.split("."))


def form_of(kind: str, release: Release) -> Form | None:
    """The form that a kernel prints; None where it has no such trace point."""
    return next((form for form in reversed(FORMS[kind]) if form.since <= release), None)


SVM_REASONS: Mapping[int, str] = {
    exit_codes.EXCP_DB: "DB excp",
    exit_codes.EXCP_UD: "UD excp",
    exit_codes.EXCP_NM: "NM excp",
    exit_codes.EXCP_PF: "PF excp",
    exit_codes.EXCP_AC: "AC excp",
    exit_codes.EXCP_MC: "MC excp",
    exit_codes.INTR: "interrupt",
    exit_codes.NMI: "nmi",
    exit_codes.CPUID: "cpuid",
    exit_codes.HLT: "hlt",
    exit_codes.IOIO: "io",
    exit_codes.MSR: "msr",
    exit_codes.VMRUN: "vmrun",
    exit_codes.NPF: "npf",
}
"""What `kvm_exit` and the nested trace points call an exit of SVM."""


def reason_of(code: int) -> str:
    """As `__print_symbolic` has it: the number in hexadecimal where there is no name."""
    return SVM_REASONS.get(code, f"{code:#x}")
