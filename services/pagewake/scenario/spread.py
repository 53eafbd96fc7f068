"""Times that are drawn: "40us" is always that long, "exponential 40us" that long on average."""

from __future__ import annotations

from pagewake.guest_kernel.config import Spread
from pagewake.scenario.keys import BadValueError, Duration, show

EXPONENTIAL = "exponential"


class SpreadReader:
    """A duration, or the mean of an exponential distribution."""

    textual = True

    def __init__(self, minimum_ns: int = 0) -> None:
        self.duration = Duration(minimum_ns)

    def read(self, raw: object) -> Spread:
        if not isinstance(raw, str):
            raise BadValueError(
                f'{show(raw)} is no time; write a string such as "40us" or "exponential 40us"'
            )
        words = raw.split(maxsplit=1)
        drawn = words[:1] == [EXPONENTIAL]
        if drawn and len(words) == 1:
            raise BadValueError(f'{show(raw)} lacks its mean; write for example "exponential 40us"')
        return Spread(self.duration.read(words[1] if drawn else raw), drawn)

    def write(self, value: Spread) -> object:
        mean = self.duration.write(value.mean_ns)
        return f"{EXPONENTIAL} {mean}" if value.exponential else mean
