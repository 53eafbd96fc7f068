"""The chooser: an agenda whose next step is not the earliest but the one that was chosen.

`Machine.run` takes its next step from its agenda.  The agenda of a simulation is in order of time
(`kvm/agenda.py`), and knows nothing of this one, so it costs a simulation nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pagewake.kvm.agenda import Agenda
from pagewake.kvm.ports import OP_DELIVER, Op
from pagewake.simtime.ports import NEVER_NS

NO_VCPU = -1


class Planned(NamedTuple):
    """A step as it was pushed; `gen` below 0: it comes whatever the vcpu does meanwhile."""

    at_ns: int
    vcpu: int
    gen: int
    op: Op
    arg: Any


class ChosenAgenda(Agenda):
    """Hands out one step, the chosen one, and collects what is pushed meanwhile.

    The dispatcher is run up to the instant of that step, so it executes nothing else.
    """

    __slots__ = ("chosen", "pushed")

    def __init__(self) -> None:
        super().__init__()
        self.chosen: Planned | None = None
        self.pushed: list[Planned] = []

    def push(self, at_ns: int, rank: int, vcpu: int, gen: int, op: Op, arg: object) -> None:
        """A delivery is what is to happen now; anything else is to be chosen from later."""
        step = Planned(at_ns, vcpu, gen, op, arg)
        if op is OP_DELIVER:
            self.choose(step)
        else:
            self.pushed.append(step)

    def choose(self, step: Planned) -> None:
        """This is the next step, whatever its instant."""
        assert self.chosen is None
        self.chosen = step
        self.next_ns = -1

    def pop(self) -> tuple[int, int, int, Op, Any]:
        chosen, self.chosen = self.chosen, None
        self.next_ns = NEVER_NS
        assert chosen is not None, "nothing was chosen"
        return chosen.at_ns, chosen.vcpu, chosen.gen, chosen.op, chosen.arg

    def take_pushed(self) -> list[Planned]:
        """What was pushed since this was asked last."""
        pushed, self.pushed = self.pushed, []
        return pushed
