"""Recordings of a real kernel, edited: each edit breaks the rule that it is about.

What is missed lies at an edge: nothing before the first start of a vcpu, and little behind its last
READY, says what must have been there.
"""

from __future__ import annotations

from functools import cache

import pytest

from pagewake.recorded.opening import opened
from tests.support.edited import EDITS, breaches_of, tried
from tests.support.recordings import recording

EDITED = ("burst.txt.gz", "seq.txt.gz", "hotplug.txt.xz", "crash.txt.zst")
SAMPLE = 12
"""Places per edit and recording, drawn by a seed."""
MISSED_MAX = 2
"""Of these, at the edges of the recording."""


@cache
def lines_of(name: str) -> list[str]:
    with opened(str(recording(name))) as source:
        return "".join(source.blocks()).splitlines()


@pytest.mark.parametrize("what", EDITS)
@pytest.mark.parametrize("name", EDITED)
def test_an_edit_is_named(name: str, what: str) -> None:
    made, missed = tried(lines_of(name), EDITS[what], SAMPLE, seed=7)
    assert len(missed) <= MISSED_MAX, f"{what}: missed {missed} of {made}"
    if made:
        assert len(missed) < len(made)


def test_a_breach_says_its_line_and_what_led_to_it() -> None:
    lines = list(lines_of("burst.txt.gz"))
    at = [i for i, line in enumerate(lines) if "kvm_async_pf_ready" in line][20]
    first = breaches_of([*lines[: at + 1], lines[at], *lines[at + 1 :]])[0]
    assert (first.rule, first.line) == ("I1", at + 2)
    assert any(f"edited.txt:{at + 1}:" in one for one in first.lead)
