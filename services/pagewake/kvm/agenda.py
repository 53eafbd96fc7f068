"""The steps to come of one VM, in the order in which it executes them.

That order is (at_ns, rank, vcpu, insertion): control first, then what comes from the host, then the
VM's own steps (design, "Time").  The first three make one number, so one comparison of whole
numbers decides; where it is equal, what was planned first stands first.  A VM has some three steps
for each vcpu, and of so few a sorted list is faster than a heap.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final

from mypy_extensions import mypyc_attr

from pagewake.kvm.ports import Op
from pagewake.simtime.ports import NEVER_NS
from pagewake.simtime.state import Saved

RANK_CONTROL: Final = 0
RANK_HOST: Final = 1
RANK_OWN: Final = 2

VCPU_BITS: Final = 16
"""Of -1, for a step of no vcpu, and all vcpus that a VM may have."""
PLACE_BITS: Final = 18
"""Rank and vcpu.  Up to 2^44 ns, almost five simulated hours, a number fits a register of the
compiled core; later ones are slower."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Agenda(Saved):
    """See the module.  `next_ns`: the instant of the first step; `NEVER_NS` if there is none."""

    __slots__ = ("_places", "_steps", "next_ns")

    def __init__(self) -> None:
        self.next_ns = NEVER_NS
        self._places: list[int] = []
        self._steps: list[tuple[int, int, int, Op, Any]] = []

    def push(self, at_ns: int, rank: int, vcpu: int, gen: int, op: Op, arg: object) -> None:
        """Plan a step; `gen` and `arg` are what `Vcpu.execute` is told of it."""
        place = (at_ns << PLACE_BITS) + (rank << VCPU_BITS) + vcpu + 1
        places = self._places
        at = bisect_right(places, place)
        places.insert(at, place)
        self._steps.insert(at, (at_ns, vcpu, gen, op, arg))
        if at == 0:
            self.next_ns = at_ns

    def pop(self) -> tuple[int, int, int, Op, Any]:
        """Take the first step: (at_ns, vcpu, gen, op, arg)."""
        self._places.pop(0)
        steps = self._steps
        step = steps.pop(0)
        self.next_ns = steps[0][0] if steps else NEVER_NS
        return step

    def forget_own(self, until_ns: int) -> None:
        """Leave only what comes from the host, from this instant on."""
        first, own = until_ns << PLACE_BITS, RANK_OWN << VCPU_BITS
        kept = [at for at, place in enumerate(self._places) if place >= first and not place & own]
        self._places = [self._places[at] for at in kept]
        self._steps = [self._steps[at] for at in kept]
        self.next_ns = self._steps[0][0] if kept else NEVER_NS
