"""Texts as trace-cmd 3.1.6 and perf 6.1 print them, read as the kernel prints them."""

from __future__ import annotations

import pytest

from pagewake.recorded.texts import as_printed

RIP = "rip 0xffffffff81000000"


@pytest.mark.parametrize(
    ("event", "given", "printed"),
    [
        ("kvm_exit", f"reason EXIT_MSR {RIP} info 1f 3", f"reason msr {RIP} info 1f 3"),
        ("kvm_exit", f"reason MSR_WRITE {RIP} info 1f 3", f"reason MSR_WRITE {RIP} info 1f 3"),
        (
            "kvm_exit",
            "exit_reason=124 guest_rip=0xffffffff81000000 isa=2 info1=0x1f vcpu_id=1 requests=0x0",
            f"vcpu 1 reason msr {RIP}",
        ),
        (
            "kvm_exit",
            "[FAILED TO PARSE] exit_reason=12 guest_rip=0xffffffff81000000 isa=1",
            f"reason HLT {RIP}",
        ),
        ("kvm_exit", "exit_reason=7 guest_rip=0x1 isa=1", "reason 7 rip 0x1"),
        (
            "kvm_inj_exception",
            "[FAILED TO PARSE] exception=14 has_error=1 error_code=18 reinjected=1",
            "#PF (0x12) [reinjected]",
        ),
        ("kvm_inj_exception", "exception=14 has_error=1 error_code=0", "#PF (0x0)"),
        ("kvm_inj_exception", "exception=6 has_error=0 error_code=0 reinjected=0", "#UD"),
        ("kvm_inj_exception", "exception=18 has_error=0", "#18"),
        ("kvm_inj_exception", "exception=many", "exception=many"),
        ("kvm_entry", "vcpu_id=1 rip=0x40196f immediate_exit=0", "vcpu 1, rip 0x40196f"),
        ("kvm_entry", "vcpu 1 rip 0x40196f", "vcpu 1 rip 0x40196f"),
        (
            "kvm_page_fault",
            "vcpu_id=1 guest_rip=0x4 fault_address=0x285b2c0 error_code=0x7",
            "vcpu 1 rip 0x4 address 0x285b2c0 error_code 0x7",
        ),
        ("kvm_page_fault", "fault_address=0x28 error_code=0x7", "address 0x28 error_code 0x7"),
        ("kvm_msr", "write=1 ecx=4b564d07 data=0x1 exception=0", "msr_write 4b564d07 = 0x1"),
        ("kvm_msr", "write=0 ecx=10 data=0x1 exception=1", "msr_read 10 = 0x1 (#GP)"),
        ("kvm_apic_accept_irq", "apicid=17 dm=0 tm=0 vec=243", "apicid 11 vec 243"),
        ("kvm_async_pf_ready", "token=0 gva=0", "token 0 gva 0"),
        ("kvm_async_pf_completed", "address=0x7f gva=0x285b2c0", "gva 0x285b2c0 address 0x7f"),
        ("kvm_try_async_get_page", "gva=0x285b2c0 gfn=0x285b", "gva = 0x285b2c0, gfn = 0x285b"),
        ("kvm_try_async_get_page", "gva = 0x28, gfn = 0", "gva = 0x28, gfn = 0"),
        (
            "sched_switch",
            "a b:15 [120] W ==> CPU 1/KVM:122 [110]",
            (
                "prev_comm=a b prev_pid=15 prev_prio=120 prev_state=W"
                " ==> next_comm=CPU 1/KVM next_pid=122 next_prio=110"
            ),
        ),
    ],
)
def test_a_text_is_read_as_the_kernel_prints_it(event: str, given: str, printed: str) -> None:
    assert as_printed(event, given) == printed
