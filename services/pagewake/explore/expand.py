"""From one state to all that can follow it."""

from __future__ import annotations

import marshal
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

from pagewake.events.types import Event
from pagewake.explore.machine import KINDS, MUST, Choice, SmallMachine, explore_of
from pagewake.explore.properties import (
    Broken,
    Tally,
    broken_at_rest,
    broken_by,
    expression_of,
)
from pagewake.explore.reduction import first
from pagewake.explore.state import Values
from pagewake.scenario.model import Scenario

Copy: TypeAlias = bytes
"""A state as `marshal` writes it, in its oldest format: in later ones equal states differ."""
FORMAT: Final = 0
NUMBERS: Final = 4096
KEY_BYTES: Final = 8
"""64 bits: among ten million states two have the same key with a chance of 3 in a million."""


def code_of(choice: Choice) -> int:
    """A choice as a number."""
    return KINDS.index(choice.kind) * NUMBERS + choice.number


def choice_at(code: int) -> Choice:
    """The inverse of `code_of`."""
    return Choice(KINDS[code // NUMBERS], code % NUMBERS)


def key_of(copy: Copy) -> int:
    """What a state is known by among those seen."""
    return int.from_bytes(blake2b(copy, digest_size=KEY_BYTES).digest(), "little")


class Expansion(NamedTuple):
    """What can follow a state: by the code of each choice, a copy of the state, or what broke.

    `at_rest`: nothing more is under way; `rest` is what does not hold there.
    """

    following: list[tuple[int, Copy]]
    broken: list[tuple[int, Broken]]
    at_rest: bool
    rest: list[Broken]


class Walker:
    """A machine that is put into states and asked what can follow; `reached` counts events."""

    def __init__(
        self, scenario: Scenario, properties: Sequence[str] = (), *, reduce: bool = True
    ) -> None:
        self.machine = SmallMachine(scenario)
        self.tally = Tally([expression_of(text) for text in properties])
        self.reduce = reduce
        self.reached: Counter[str] = Counter()
        self.tally.add(self.machine.written())

    def boot(self, written: list[Event] | None = None) -> list[Choice]:
        """Have every CPU start, if that is not explored; the choices made.

        What is written down from the start of the machine on goes into `written`.
        """
        if written is not None:
            written += self.machine.written()
        self.machine.forget_written()
        made = [] if explore_of(self.machine.scenario).boot else self.machine.boot()
        events = self.machine.written()
        self.tally.add(events)
        if written is not None:
            written += events
        return made

    def copy(self) -> Copy:
        """The present state."""
        return marshal.dumps((self.machine.out(), tuple(self.tally.numbers)), FORMAT)

    def fill(self, values: Values) -> None:
        """Go on from a state."""
        self.machine.fill(values[0])
        self.tally.numbers = list(values[1])

    def step(self, choice: Choice) -> Broken | None:
        """Make this choice; what it breaks."""
        machine, tally, reached = self.machine, self.tally, self.reached
        machine.forget_written()
        try:
            events = machine.take(choice)
        except AssertionError as error:
            return Broken("assertion", str(error))
        for event in events:
            reached[type(event).__name__] += 1
        if tally.expressions:
            tally.add(events)
            for each, holds in tally.holding("sometimes"):
                reached[each.text] += holds
        return broken_by(events) or next(tally.broken("always"), None)

    def expand(self, copy: Copy) -> Expansion:
        """All that can follow a state."""
        values = marshal.loads(copy)  # noqa: S302 - written by this process
        self.fill(values)
        machine = self.machine
        choices = machine.choices()
        if self.reduce and (alone := first(machine)) is not None:
            choices = [alone]
        following: list[tuple[int, Copy]] = []
        broken: list[tuple[int, Broken]] = []
        moves = False
        for number, choice in enumerate(choices):
            if number:
                self.fill(values)
            found = self.step(choice)
            if found is not None:
                broken.append((code_of(choice), found))
            elif (after := self.copy()) != copy:
                following.append((code_of(choice), after))
            else:
                continue
            moves |= choice.kind in MUST
        rest: list[Broken] = []
        if not moves:
            self.fill(values)
            rest = self.at_rest()
        return Expansion(following, broken, not moves, rest)

    def at_rest(self) -> list[Broken]:
        """What does not hold although nothing more is under way."""
        if self.machine.vm.frozen_ns is not None:
            return []
        self.machine.state.forget()  # to look at an area is to have one
        return [*broken_at_rest(self.machine), *self.tally.broken("finally")]
