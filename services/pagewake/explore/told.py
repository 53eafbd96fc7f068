"""A story told as a run: its choices are executed, and both sides of the window protocol say so.

`explore.choices` of a scenario are the steps of one order, one after another.  The machine makes
them as the scenario is built; the shard then hands out window by window what was written down, and
the host what it delivered.  So a story has a log like any run, and what reads logs works on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pagewake.errors import ConfigError
from pagewake.events.types import Control, ToHost, ToShard
from pagewake.explore.machine import Choice, SmallMachine, choice_of
from pagewake.guest_kernel.shard import Shard
from pagewake.host_memory.manager import HostMemory
from pagewake.participants.build import HostPart, host_config, plan_vms, vm_memory
from pagewake.scenario.model import Scenario
from pagewake.simtime.ports import UNKNOWN, Calm, ShardOutput


class Handed(NamedTuple):
    """What the host delivered, and when it was asked for it; -1: nobody asked."""

    event: ToShard
    asked_ns: int


class Told:
    """The choices made, and what came of each."""

    def __init__(self, scenario: Scenario, choices: Sequence[Choice]) -> None:
        config = host_config(scenario, 0, ())
        self.machine = SmallMachine(scenario, config.lookahead_ns)
        self.outputs: list[tuple[int, ShardOutput]] = []
        self.handed: list[Handed] = []
        self._collect()
        for number, choice in enumerate(choices):
            if choice not in self.machine.choices():
                raise ConfigError(
                    f'explore.choices: choice {number} is "{choice}", which cannot happen there'
                )
            self._make(choice)

    def _make(self, choice: Choice) -> None:
        machine = self.machine
        asked = machine.asked.get(choice.number) if choice.kind == "page" else None
        machine.take(choice)
        for event in machine.vm.consumed:
            self.handed.append(Handed(event, -1 if asked is None else asked.at_ns))
        self._collect()

    def _collect(self) -> None:
        vm = self.machine.vm
        if vm.to_host or vm.journal_out or vm.consumed:
            output = ShardOutput(vm.to_host, vm.journal_out, vm.consumed)
            self.outputs.append((self.machine.now, output))
        vm.to_host, vm.journal_out, vm.consumed = [], [], []

    @property
    def end_ns(self) -> int:
        """The first instant behind the story."""
        return self.machine.now + 1


class ToldShard(Shard):
    """Hands out what was written down."""

    __slots__ = ("_at", "_story")

    def __init__(self, story: Told) -> None:
        super().__init__(story.machine.shard.kernels)
        self._story = story
        self._at = 0

    def advance(self, until_ns: int, deliveries: Sequence[ToShard]) -> ShardOutput:
        output = ShardOutput()
        self.until_ns = until_ns
        outputs = self._story.outputs
        while self._at < len(outputs) and outputs[self._at][0] < until_ns:
            output = output.joined(outputs[self._at][1])
            self._at += 1
        return output

    def next_ns(self) -> int | None:
        outputs = self._story.outputs
        return outputs[self._at][0] if self._at < len(outputs) else None

    def frozen_ns(self) -> int | None:
        frozen_ns = self._story.machine.vm.frozen_ns
        return frozen_ns if frozen_ns is not None and frozen_ns < self.until_ns else None


class ToldHost(HostMemory):
    """Delivers what it delivered in the story, once it has been asked."""

    def __init__(self, story: Told, scenario: Scenario) -> None:
        plans = plan_vms(scenario, scenario.instances())
        super().__init__(host_config(scenario, 0, ()), [vm_memory(scenario, plans[0])])
        self._handed = story.handed
        self._heard_ns = -1

    def handle(self, events: Sequence[ToHost]) -> None:
        self._heard_ns = events[-1].at_ns

    def _due(self) -> list[Handed]:
        return [each for each in self._handed if each.asked_ns <= self._heard_ns]

    def take(self, from_ns: int, until_ns: int) -> list[ToShard]:
        due = [each for each in self._due() if each.event.at_ns < until_ns]
        self._handed = [each for each in self._handed if each not in due]
        return [msgspec.structs.replace(each.event, n=0) for each in due]

    def next_ns(self) -> int | None:
        return min((each.event.at_ns for each in self._due()), default=None)

    def calm(self) -> Calm:
        return UNKNOWN

    def intervene(self, control: Control) -> None:
        """The story has all that happens."""


def told_parts(scenario: Scenario) -> list[HostPart]:
    """The domains of a run that tells the scenario's choices."""
    assert scenario.explore is not None
    story = Told(scenario, [choice_of(text) for text in scenario.explore.choices])
    return [HostPart(ToldHost(story, scenario), [ToldShard(story)])]
