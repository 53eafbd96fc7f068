"""Every form prints what it reads, and is what a kernel of its time prints."""

from __future__ import annotations

import pytest

from pagewake.recorded import names
from pagewake.recorded.tracepoints import FORMS, NAMES, Form, form_of, reason_of

V239 = (2, 6, 39)
V61 = (6, 1)
ALL = [(kind, form) for kind, forms in FORMS.items() for form in forms]
UNREAD = ("token %#llx gva %#llx not present", "token %#llx gva %#llx ready", "pfn %#llx")
"""Forms that only the posted series had; the importer calls them unreadable."""
RELEASED = [(kind, form) for kind, form in ALL if form.template not in UNREAD]

LINES_OF_6_1 = {
    "try_async": "gva = 0x3b3e800, gfn = 0x3b3e",
    "not_present": "token 0x9d001 gva 0x3b3e800",
    "completed": "gva 0x3b3e800 address 0x7f784193e000",
    "ready": "token 0xffffffff gva 0x0",
    "repeated_fault": "gva = 0x1e69d80, gfn = 0x1e69",
    "page_fault": "vcpu 1 rip 0x401853 address 0x0000000003b3e800 error_code 0x100000006",
    "msr": "msr_write 4b564d07 = 0x1",
    "entry": "vcpu 1, rip 0x401853",
    "exit": "vcpu 1 reason npf rip 0x401853 info1 0x0000000100000007 info2 0x0000000002854100"
    " intr_info 0x00000000 error_code 0x00000000",
    "inj_exception": "#PF (0x0) [reinjected]",
    "accept_irq": "apicid 1 vec 243 (Fixed|edge)",
}
"""As recorded on a 6.1 kernel."""

LINES_OF_2_6_39 = {
    "exit": "reason npf rip 0x4005d0 info 100000004 3f1a7000",
    "page_fault": "address 3f1a7000 error_code 4",
    "completed": "gva 0x3f1a7000 address 0x7f3c3f1a7000 pfn 0x1a2b3",
    "entry": "vcpu 0",
    "accept_irq": "apicid 0 vec 239 (Fixed|edge) (coalesced)",
}


@pytest.mark.parametrize(
    ("release", "lines"), [(V61, LINES_OF_6_1), (V239, LINES_OF_2_6_39)], ids=["6.1", "2.6.39"]
)
def test_what_a_kernel_printed_is_read_and_printed_again(
    release: tuple[int, ...], lines: dict[str, str]
) -> None:
    for kind, text in lines.items():
        form = form_of(kind, release)
        assert form is not None
        values = form.read(text)
        assert values is not None, text
        assert form.text(**values) == text


@pytest.mark.parametrize(("kind", "form"), ALL, ids=[f"{k}-{f.since}" for k, f in ALL])
def test_a_form_reads_what_it_prints(kind: str, form: Form) -> None:
    words = {"exception": "#PF"}
    given = {
        field: words.get(field, "") if code == "s" else number
        for number, (field, code) in enumerate(zip(form.fields, form.codes, strict=True), start=9)
    }
    assert form.read(form.text(**given)) == given


@pytest.mark.parametrize(
    ("kind", "form"), RELEASED, ids=[f"{kind}-{form.since}" for kind, form in RELEASED]
)
def test_the_importer_takes_no_form_of_a_release_for_torn(kind: str, form: Form) -> None:
    patterns = [names.FORMS[form.name]] if form.name in names.FORMS else []
    words = {"exception": "#PF", "reason": "npf", "access": "write"}
    given = {
        field: words.get(field, "") if code == "s" else number
        for number, (field, code) in enumerate(zip(form.fields, form.codes, strict=True), start=9)
    }
    text = form.text(**given)
    assert all(pattern.fullmatch(text) for pattern in patterns), text


def test_a_value_is_cut_as_c_cuts_it() -> None:
    old, new = form_of("page_fault", V239), form_of("page_fault", V61)
    assert old is not None
    assert new is not None
    values = {"vcpu": 0, "rip": 1, "address": 0x3000, "error_code": 0x100000006}
    assert old.text(**values) == "address 3000 error_code 6"
    assert new.text(**values).endswith("error_code 0x100000006")


def test_zero_is_read_as_user_space_prints_it() -> None:
    form = form_of("ready", V61)
    assert form is not None
    assert form.text(token=0, gva=0) == "token 0x0 gva 0x0"
    assert form.read("token 0 gva 0") == {"token": 0, "gva": 0}


def test_another_form_is_not_read() -> None:
    old, new = form_of("completed", V239), form_of("completed", V61)
    assert old is not None
    assert new is not None
    assert new.read("gva 0x3f1a7000 address 0x7f3c3f1a7000 pfn 0x1a2b3") is None
    assert old.read("gva 0x3b3e800 address 0x7f784193e000") is None


def test_a_form_is_in_force_until_the_next_one() -> None:
    for kind, forms in FORMS.items():
        assert [form.since for form in forms] == sorted({form.since for form in forms}), kind
    assert form_of("wakeup", (3, 16)) is None
    doubled = [form_of("repeated_fault", release) for release in ((5, 19), (6, 0))]
    assert [form and form.name for form in doubled] == [
        "kvm_async_pf_doublefault",
        "kvm_async_pf_repeated_fault",
    ]


def test_a_name_is_of_one_kind() -> None:
    assert NAMES["kvm_async_pf_doublefault"] == NAMES["kvm_async_pf_repeated_fault"]
    assert len(NAMES) == len({form.name for forms in FORMS.values() for form in forms})
    assert len({(kind, form.name) for kind, form in ALL}) == len(NAMES)


def test_an_exit_without_a_name_is_its_number() -> None:
    assert reason_of(0x400) == "npf"
    assert reason_of(0x8E) == "0x8e"
