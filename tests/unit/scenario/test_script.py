"""The step language of script tasks, both ways."""

from __future__ import annotations

import pytest

from pagewake.guest_kernel.config import ScriptStep
from pagewake.scenario.keys import BadValueError
from pagewake.scenario.script import STEP_FORMS, format_step, parse_step
from tests.support.abi import MSR_ACK, MSR_EN


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("touch 3", ScriptStep("touch", page=3)),
        ("touch 0x10 write", ScriptStep("touch", page=16, write=True)),
        ("at 5ms hlt", ScriptStep("hlt", at_ns=5_000_000)),
        ("at 1us run 2us", ScriptStep("run", at_ns=1_000, ns=2_000)),
        ("wrmsr apf-en 0x1001", ScriptStep("wrmsr", msr=MSR_EN, value=0x1001)),
        ("wrmsr 0x4b564d07 1", ScriptStep("wrmsr", msr=MSR_ACK, value=1)),
        ("preempt-off", ScriptStep("preempt-off")),
        ("  sleep   1ms ", ScriptStep("sleep", ns=1_000_000)),
    ],
)
def test_a_step_says_what_to_do_and_when(text: str, step: ScriptStep) -> None:
    assert parse_step(text) == step
    assert parse_step(format_step(step)) == step


@pytest.mark.parametrize("form", STEP_FORMS.values(), ids=list(STEP_FORMS))
def test_the_example_of_every_step_is_one(form: object) -> None:
    step = parse_step(form.example)  # type: ignore[attr-defined]
    assert parse_step(format_step(step)) == step


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("", ["touch 3 write"]),
        ("tuch 3", ['"tuch"', '"touch"']),
        ("touch", ["touch PAGE"]),
        ("touch x", ['"x"']),
        ("touch -1", ['"-1"']),
        ("touch 3 wrte", ['"wrte"', '"write"']),
        ("run", ["run DURATION"]),
        ("run 5", ['"5"', '"5us"']),
        ("cli now", ['"cli now"']),
        ("at 5ms", ['"at 5ms hlt"']),
        ("at soon hlt", ['"soon"', '"5us"']),
        ("wrmsr apf-em 1", ['"apf-em"', '"apf-en"']),
        ("wrmsr apf-en 0x1ffffffffffffffff", ["0xffffffffffffffff"]),
    ],
)
def test_a_bad_step_is_named_with_a_good_one(text: str, needles: list[str]) -> None:
    with pytest.raises(BadValueError) as caught:
        parse_step(text)
    for needle in needles:
        assert needle in str(caught.value)
