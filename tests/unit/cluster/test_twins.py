"""Two processes of one name are told of once that is certain."""

from __future__ import annotations

from pagewake.cluster.twins import CERTAIN_S, Twins
from tests.support.clock import FakeClock


class Counted:
    """A group with so many members of the name."""

    count = 1

    async def members_called(self, *_: str) -> int:
        return self.count


async def test_who_is_alone_hears_nothing_and_neither_does_who_replaced_a_dead_one() -> None:
    group, clock = Counted(), FakeClock()
    twins = Twins(group, "pagewake-guest", "a", clock)
    for count in (1, 2, 1, 2):
        group.count = count
        clock.advance(CERTAIN_S - 1)
        await twins.look()
        assert twins.lines() == []


async def test_another_of_the_name_is_named_until_it_is_gone() -> None:
    group, clock = Counted(), FakeClock()
    twins = Twins(group, "pagewake-guest", "a", clock)
    group.count = 2
    await twins.look()
    clock.advance(CERTAIN_S)
    await twins.look()
    (line,) = twins.lines()
    assert "pagewake-guest is called a too" in line
    group.count = 1
    await twins.look()
    assert twins.lines() == []
