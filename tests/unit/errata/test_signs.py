"""A sign is found where its events are, and nowhere else."""

from __future__ import annotations

import pytest

from pagewake.errata.signs import Next, Sign, beside, find
from pagewake.events.ids import Token
from pagewake.events.types import Event, TaskSlept, TaskWoken

SLEPT = TaskSlept(at_ns=1_000, vm="vm-0", n=1, vcpu=0, task="a", token=Token(1))
OTHER = TaskSlept(at_ns=1_500, vm="vm-0", n=2, vcpu=0, task="b", token=Token(2))
WOKEN = TaskWoken(
    at_ns=5_000, vm="vm-0", n=3, vcpu=0, task="a", token=Token(1), how="token", waited_ns=4_000
)
ELSEWHERE = TaskWoken(
    at_ns=6_000, vm="vm-1", n=1, vcpu=0, task="b", token=Token(2), how="token", waited_ns=4_500
)
EVENTS: list[Event] = [SLEPT, OTHER, WOKEN, ELSEWHERE]
WAKE = Next("TaskWoken", same=["token"])
SOON = Next("TaskWoken", same=["token"], within="3us")


@pytest.mark.parametrize(
    ("sign", "shown"),
    [
        (Sign("", "TaskSlept"), [SLEPT]),
        (Sign("", "TaskSlept", {"task": "b"}), [OTHER]),
        (Sign("", "TaskSlept", {"task": "c"}), []),
        (Sign("", "TaskFinished"), []),
        (Sign("", "TaskSlept", then=[WAKE]), [SLEPT, WOKEN]),
        (Sign("", "TaskSlept", {"task": "b"}, then=[WAKE]), []),
        (Sign("", "TaskSlept", then=[SOON]), []),
        (Sign("", "TaskSlept", never=WAKE), [OTHER]),
        (Sign("", "TaskSlept", {"task": "a"}, never=SOON), [SLEPT]),
        (Sign("", "TaskSlept", {"task": "a"}, never=WAKE), []),
        (Sign("", "TaskSlept", then=[Next("TaskSlept"), WAKE]), [SLEPT, OTHER, WOKEN]),
        (Sign("", "TaskSlept", then=[WAKE, Next("TaskSlept")]), []),
        (Sign("", "TaskSlept", times=2), [SLEPT]),
        (Sign("", "TaskSlept", times=3), []),
    ],
)
def test_find(sign: Sign, shown: list[Event]) -> None:
    assert find(sign, EVENTS) == shown


def test_what_no_line_shows_is_said() -> None:
    assert beside(Sign("", "TaskSlept", then=[WAKE])) == []
    assert beside(Sign("", "TaskSlept", never=WAKE, times=1000)) == [
        "1,000 times or more",
        "no TaskWoken of the same token, to the end of the run",
    ]
    soon = Next("TaskWoken", {"how": "token"}, within="3us")
    assert beside(Sign("", "TaskSlept", never=soon)) == ["no TaskWoken, how token, within 3us"]
