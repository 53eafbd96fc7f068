"""Makes `vectors/nested-vmx.jsonl`: nested VMX written down once more, as truth tables.

It shares nothing with `pagewake.nested_vmx`: every row is an outcome that semantics 4.9 (gap G9)
states for a case, and the cases are enumerated. `python -m tests.conformance.nested_vmx` prints
the file; a test compares it with the one that is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

HEADER = {
    "format": "apf-conformance",
    "version": 1,
    "family": "nested-vmx",
    "file": "nested-vmx.jsonl",
    "provenance": "truth tables of the rules of Linux 4.13 and later, made by "
    "tests/conformance/nested_vmx.py",
    "fields": {
        "kind": "exit: an exit of the level-2 guest; exception: one queued while it runs",
        "id": "row id",
        "exit_reason": "basic exit reason (0 exception or NMI, 1 interrupt, 10 CPUID, 12 HLT, "
        "48 EPT violation, 49 EPT misconfiguration)",
        "vector": "of the exception",
        "apf_reason": "what the host read in its own shared area as it was told of the exit",
        "ept": "1 if the host uses EPT, 0 if it shadows",
        "nested_apf": "1 if the exception tells the level-1 guest of an absent page",
        "l1": "level-1 controls: exceptions (bit map), pf_mask and pf_match (of the error code of "
        "a page fault), hlt_exiting",
        "expect": "exit: final; exception: vmexit, and with it the qualification",
    },
}
TOKEN, ADDRESS = "0x3001", "0x7f0000402000"

# (apf_reason is set, ept) of a page fault that leaves level 2.
PAGE_FAULT = {
    (False, False): "HOST",  # the host's own shadow pages
    (False, True): "DONE",
    (True, False): "HOST",
    (True, True): "HOST",  # the host itself is a guest, and is told of a page
}
UNCONDITIONAL = {1: "HOST", 10: "DONE", 48: "HOST", 49: "HOST"}

# (bit 14 of the bit map, error code under the mask equals the match) of an ordinary page fault.
LEAVES = {(1, True): True, (1, False): False, (0, True): False, (0, False): True}


def exits() -> Iterator[dict[str, Any]]:
    for reason, ept, bitmap in product((0, 1, 2, 7), (0, 1), (0, 1 << 14)):
        yield _exit(0, PAGE_FAULT[reason != 0, bool(ept)], vector=14, apf_reason=reason, ept=ept,
                    l1={"exceptions": bitmap})  # fmt: skip
    for vector, bitmap, reason in product((2, 1, 6, 13), (0, 0xFFFFFFFF), (0, 1)):
        final = "DONE" if vector != 2 and bitmap else "HOST"
        yield _exit(0, final, vector=vector, apf_reason=reason, ept=1, l1={"exceptions": bitmap})
    for (code, final), ept, reason in product(UNCONDITIONAL.items(), (0, 1), (0, 1)):
        yield _exit(code, final, apf_reason=reason, ept=ept)
    for hlt in (0, 1):
        yield _exit(12, "DONE" if hlt else "HOST", ept=1, l1={"hlt_exiting": hlt})


def exceptions() -> Iterator[dict[str, Any]]:
    for bit, mask, match, code in product((0, 1), (0, 1, 0xF), (0, 1, 0x15), (0, 1, 0x15, 0x10001)):
        l1 = {"exceptions": bit << 14, "pf_mask": mask, "pf_match": match}
        low = code % 0x10000  # the upper half is dropped
        ordinary = LEAVES[bit, _masked(low, mask) == match]
        yield _exception(14, code, 0, l1, ordinary, ADDRESS)
        yield _exception(14, code, 1, l1, True, TOKEN)
    for vector, bitmap in product((1, 6, 13), (0, 0xFFFFFFFF)):
        yield _exception(vector, 0, 0, {"exceptions": bitmap}, bitmap != 0, "0x0")


def _masked(code: int, mask: int) -> int:
    """Bit by bit, as the manual words it."""
    return sum(1 << bit for bit in range(16) if code >> bit & 1 and mask >> bit & 1)


def _exit(reason: int, final: str, **given: Any) -> dict[str, Any]:
    return {"kind": "exit", "exit_reason": reason, **given, "expect": {"final": final}}


def _exception(
    vector: int, code: int, nested_apf: int, l1: dict[str, int], vmexit: bool, qualification: str
) -> dict[str, Any]:
    expect: dict[str, Any] = {"vmexit": vmexit}
    if vmexit:
        expect["qualification"] = qualification
    return {
        "kind": "exception", "vector": vector, "error_code": code, "nested_apf": nested_apf,
        "token": TOKEN, "cr2": ADDRESS, "l1": l1, "expect": expect,
    }  # fmt: skip


def lines() -> list[str]:
    """The file, line by line."""
    rows = [*exits(), *exceptions()]
    numbered = [{"id": f"{row['kind']}-{n}", **row} for n, row in enumerate(rows, 1)]
    return [json.dumps(each, separators=(",", ":")) for each in (HEADER, *numbered)]


if __name__ == "__main__":
    print("\n".join(lines()))  # noqa: T201
