"""From a message to a record: who appends it, and who answers what is wrong."""

from __future__ import annotations

import pytest

from pagewake.cluster.commander import COMMAND_BYTES_MAX, Commander
from pagewake.cluster.owner import Owner
from pagewake.events.codec import FAULTS
from pagewake.participants.commands import Answer, decode_command
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from tests.support.owners import Owners

PLAN = RunPlan.of("r", load("overcommit", ["host.count=2", "scenario.duration=5ms"]), 1)


class Side:
    """A service that owns some of the two simulated hosts of a run."""

    def __init__(self, *hosts: int) -> None:
        self.owners = Owners(PLAN)
        self.answers: list[tuple[str, Answer]] = []
        owned: list[Owner] = [self.owners.new(PLAN, FAULTS, host) for host in hosts]
        self._commander = Commander(
            self.owners.bus, lambda: owned, lambda *answer: self.answers.append(answer)
        )

    async def take(self, payload: bytes, run: str = "r") -> None:
        await self._commander.take(run, payload)

    def written(self) -> dict[int, list[str]]:
        """Ids of commands by partition."""
        name = self.owners.name(FAULTS)
        return {
            host: [decode_command(record).id for record in self.owners.bus.values(name, host)]
            for host in range(2)
        }


async def test_a_command_for_all_hosts_goes_to_those_that_are_owned() -> None:
    for hosts, written in (((0, 1), {0: ["a"], 1: ["a"]}), ((1,), {0: [], 1: ["a"]})):
        side = Side(*hosts)
        await side.take(b'{"id": "a", "do": "pause"}')
        assert side.written() == written
        assert side.answers == []


async def test_a_command_for_one_host_goes_to_its_owner_alone() -> None:
    message = b'{"id": "a", "do": "medium", "host": 1, "medium": "nvme"}'
    for hosts, ids in (((0,), []), ((0, 1), ["a"])):
        side = Side(*hosts)
        await side.take(message)
        assert side.written() == {0: [], 1: ids}


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b'{"id": "a", "do": "fly"}', "fly"),
        (b'{"id": "a", "do": "pause"' + b" " * COMMAND_BYTES_MAX + b"}", "bytes are more than"),
    ],
)
async def test_what_is_wrong_is_answered_by_the_owner_of_host_0_alone(
    payload: bytes, error: str
) -> None:
    first, second = Side(0), Side(1)
    for side in (first, second):
        await side.take(payload)
        assert side.written() == {0: [], 1: []}
    ((run, answer),) = first.answers
    assert run == "r"
    assert not answer.ok
    assert error in (answer.error or "")
    assert second.answers == []


async def test_commands_of_runs_that_are_not_owned_are_none_of_ours() -> None:
    side = Side(0, 1)
    await side.take(b"nonsense", run="other")
    assert (side.written(), side.answers) == ({0: [], 1: []}, [])


async def test_a_command_that_could_not_be_written_is_answered() -> None:
    side = Side(0)
    side.owners.bus.losing = True
    await side.take(b'{"id": "a", "do": "pause"}')
    ((_, answer),) = side.answers
    assert (answer.id, answer.ok) == ("a", False)
    assert (answer.error or "").startswith("not written")
