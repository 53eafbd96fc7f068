"""The #PF trap: the reason word picks the handler, once."""

from __future__ import annotations

import pytest

from pagewake.guest_kernel.apf_area import ApfArea
from pagewake.guest_kernel.traps import dispatch


def area(reason: int, enabled: int = 1) -> ApfArea:
    made = ApfArea()
    made.reason = reason
    made.enabled = enabled
    return made


@pytest.mark.parametrize(
    ("reason", "handler", "value"),
    [
        (0, "page_fault", 0x6),
        (1, "wait", 0x12345678),
        (2, "wake", 0x12345678),
        (3, "page_fault", 0x6),
        (0xFFFFFFFF, "page_fault", 0x6),
    ],
)
def test_the_reason_picks_the_handler_and_is_gone(reason: int, handler: str, value: int) -> None:
    shared = area(reason)
    assert dispatch(shared, 0xFFFF888012345678, 0x6) == (handler, value)
    assert shared.reason == 0
    assert dispatch(shared, 0xFFFF888012345678, 0x6) == ("page_fault", 0x6)


def test_a_cpu_that_is_not_enabled_sees_an_ordinary_fault_and_leaves_the_word() -> None:
    shared = area(1, enabled=0)
    assert dispatch(shared, 0x1000, 0x2) == ("page_fault", 0x2)
    assert shared.reason == 1


def test_disabling_says_whether_there_is_something_to_write() -> None:
    shared = area(0)
    assert [shared.disable(), shared.disable()] == [True, False]
    assert shared.enabled == 0
