"""What was done to a VM has words, whatever it was."""

from __future__ import annotations

import re

import pytest

from pagewake.events import types as ev
from pagewake.timeline.interventions import in_words

VALUES = {
    "vcpu": 3,
    "count": 2,
    "where": "guest",
    "medium": "nvme",
    "msr": 0x10,
    "for_ns": 10**6,
    "on": True,
    "how": "crash",
    "saves": ["lapic", "en"],
}


@pytest.mark.parametrize("kind", ev.CONTROL, ids=lambda kind: kind.__name__)
def test_every_intervention_is_told_in_words(kind: type[ev.Control]) -> None:
    given = {key: value for key, value in VALUES.items() if key in kind.__struct_fields__}
    if kind is ev.VcpuStalled:
        given["where"] = "latch"
    text = in_words(kind(at_ns=1, vm="v", n=1, **given))

    assert kind.__name__ not in text
    assert re.search("[a-z]{3}", text)
    assert ("vcpu 3" in text) == ("vcpu" in given)


def test_a_count_is_a_sentence() -> None:
    def said(count: int) -> str:
        return in_words(ev.AreaWriteFails(at_ns=1, vm="v", n=1, vcpu=0, count=count))

    assert said(1) == "the next host write to the shared area of vcpu 0 fails"
    assert said(3) == "the next 3 host writes to the shared area of vcpu 0 fail"
    assert said(-1) == "all host writes to the shared area of vcpu 0 fail from now on"
