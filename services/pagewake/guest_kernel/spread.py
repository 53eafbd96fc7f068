"""How long something takes each time: always the same, or drawn."""

from __future__ import annotations

import msgspec

from pagewake.simtime.randomness import Draws


class Spread(msgspec.Struct, frozen=True):
    """A time that is always the same, or exponentially distributed with that mean."""

    mean_ns: int
    exponential: bool = False

    def draw(self, draws: Draws, counter: int) -> int:
        """Whole ns, rounded to the nearest."""
        if self.exponential:
            return round(draws.exponential(counter) * self.mean_ns)
        return self.mean_ns
