"""How many copies a run has, and who is told of a single one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
import structlog

from pagewake.bus.kafka import Copies
from pagewake.cluster.copies import CopiesWatch, copies_of, lone_copy
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load

PLAN = RunPlan.of("first", load("row-01-user-fault"), 1)
TOPICS = list(PLAN.topics())


class Brokers:
    """A bus that knows the copies of topics."""

    def __init__(self, found: dict[str, Copies], brokers: int = 3) -> None:
        self.found = found
        self.there = brokers

    async def copies(self, names: Iterable[str]) -> dict[str, Copies]:
        return {name: self.found[name] for name in names if name in self.found}

    async def brokers(self) -> int:
        return self.there


def test_a_run_has_as_many_copies_as_its_poorest_topic() -> None:
    found = dict.fromkeys(TOPICS, Copies(3, 3)) | {TOPICS[0]: Copies(2, 2), TOPICS[1]: Copies(3, 1)}
    copies = asyncio.run(copies_of(Brokers(found), [PLAN]))  # type: ignore[arg-type]
    assert copies == {"first": Copies(2, 1)}


def test_nothing_is_said_of_a_run_whose_topics_are_gone() -> None:
    assert asyncio.run(copies_of(Brokers({}), [PLAN])) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("copies", "brokers", "warned"),
    [
        (Copies(1, 1), 3, True),
        (Copies(1, 1), 2, False),
        (Copies(2, 1), 5, False),
    ],
)
def test_one_copy_among_three_brokers_is_warned_about(
    copies: Copies, brokers: int, warned: bool
) -> None:
    bus = Brokers({}, brokers)
    said = asyncio.run(lone_copy(bus, "first", copies))  # type: ignore[arg-type]
    assert bool(said) == warned
    if warned:
        assert said.startswith("run first has one copy of its topics on 3 brokers")
        assert "PAGEWAKE_KAFKA_REPLICATION=3" in said


def test_a_service_warns_once_and_says_what_there_is() -> None:
    watch, bus = CopiesWatch(), Brokers(dict.fromkeys(TOPICS, Copies(1, 1)))
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            asyncio.run(watch.look(bus, [PLAN]))  # type: ignore[arg-type]
    assert [line["run"] for line in logs] == ["first"]
    assert watch.lines() == ["run first: 1 copy, 1 in sync"]
    asyncio.run(watch.look(bus, []))  # type: ignore[arg-type]
    assert watch.lines() == []
